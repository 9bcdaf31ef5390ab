"""`fold`: compute what is constant now, and merge per-channel scales and shifts into the layers beside them.

Before::

    c: f32[1, 8, 14, 14] = conv(x, w, ...)
    s: f32[1, 8, 14, 14] = mul(c, scale)
    y: f32[1, 8, 14, 14] = add(s, shift)
    t: f32[64, 10] = transpose(v, perm=[1, 0])
    h: f32[1, 10] = matmul(f, t)
    z: f32[1, 10] = sub(h, b)

After::

    c: f32[1, 8, 14, 14] = conv(x, w, shift, ...)    # w scaled per output channel
    h: f32[1, 10] = matmul(f, t)                     # t is a constant
    z: f32[1, 10] = add(h, b)                        # b negated

A dense layer is `matmul`, then `add` of a constant; a convolution takes the constant as its bias. Quantized weights,
`dequantize(constant)`, stay: only transposes move through them. So do shared ones, `gather(codebook, indices)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from irc.graph import MISSING, Graph, Node
from irc.interpreter import run_node
from irc.ops.elementwise import Add, Clip, Div, Mul, Sub
from irc.ops.linear import Conv, MatMul
from irc.ops.quantization import Dequantize, Quantize
from irc.ops.shape import Gather, Pad, Transpose
from irc.pipeline.step import Context, Contract, Exact, Pass
from irc.rounding import ROUNDING
from irc.types import Array, Integer, TensorType
from passes.simplify.affine import Affine, affine, channels
from passes.simplify.clean import without_dead_code
from passes.simplify.walk import Walk


@dataclass(frozen=True, slots=True)
class Fold(Pass):
    """Fold constants, and batch norm, scales and biases into the layers beside them."""

    keeps: ClassVar[Contract] = Exact()

    def run(self, graph: Graph, context: Context) -> Graph:
        walk = Walk(graph)
        for original in graph.nodes:
            node = walk.current(original)
            _visit(walk, node) if context.selected(original) else walk.put(node)
        folded = walk.finish()
        return graph if folded is graph else without_dead_code(folded)


def _visit(walk: Walk, node: Node) -> None:
    if all(o in walk.constants for o in node.operands if o != MISSING):
        _evaluate(walk, node)
        return
    match node.op:
        case Transpose():
            _transpose(walk, node)
        case Conv():
            _conv(walk, node)
        case MatMul():
            _matmul(walk, node)
        case Quantize():
            walk.put(_unclipped(walk, node, node.op))
        case _:
            _arithmetic(walk, node)


def _evaluate(walk: Walk, node: Node) -> None:
    """A node of constants becomes a constant, unless it is a stored weight or has no finite value."""
    if isinstance(node.op, Dequantize) or _is_lookup(walk, node):
        walk.put(node)
        return
    operands = {o: np.asarray(walk.data(o))[None] for o in node.operands if o != MISSING}
    (value,) = run_node(node, operands)
    if np.isfinite(value).all():
        walk.evaluated(node, value[0])
    else:
        walk.put(node)


def _is_lookup(walk: Walk, node: Node) -> bool:
    """Whether the node picks elements of a codebook that has fewer."""
    if not isinstance(node.op, Gather):
        return False
    codebook, index = (walk.type(o) for o in node.operands)
    return len(codebook.shape) == 1 and codebook.size < index.size


def _transpose(walk: Walk, node: Node) -> None:
    """transpose(dequantize(constant)) becomes dequantize(transposed constant)."""
    below = walk.nodes.get(node.operands[0])
    data = walk.data(below.operands[0]) if below and isinstance(below.op, Dequantize) else None
    if below is None or data is None or not isinstance(below.op, Dequantize) or not isinstance(node.op, Transpose):
        walk.put(node)
        return
    if walk.uses[below.name] == 1:
        walk.remove(below)
    else:
        walk.uses[below.operands[0]] += 1  # so the constant that stays keeps its name
    per_channel = walk.type(below.operands[1]).size > 1
    axis = node.op.perm.index(below.op.axis) if per_channel else below.op.axis
    moved = walk.constant(below.operands[0], data.transpose(node.op.perm))
    walk.put(replace(node, op=Dequantize(axis), operands=(moved, *below.operands[1:])))


def _unclipped(walk: Walk, node: Node, op: Quantize) -> Node:
    """quantize(clip(x)) to 8 bits is a quantize to fewer bits, when the bounds are those of a narrower format: that is
    how files say it whose types have no such format."""
    below, parameters = walk.sole(node.operands[0]), [walk.data(o) for o in node.operands[1:]]
    if below is None or not isinstance(below.op, Clip) or any(p is None or p.size != 1 for p in parameters):
        return node
    scale, zero = (float(p.reshape(-1)[0]) for p in (*parameters, np.zeros(1))[:2] if p is not None)
    bounds = np.array([below.op.low, below.op.high]) / scale
    low, high = np.clip(ROUNDING[op.rounding](bounds) + zero, *op.limits).astype(np.int64).tolist()
    found = next((made for made in _narrower(op) if made.limits == (low, high)), None)
    if found is None:
        return node
    walk.remove(below)
    kind = TensorType(found.to, walk.shape(node.name))
    return replace(node, op=found, operands=(below.operands[0], *node.operands[1:]), types=(kind,))


def _narrower(op: Quantize) -> Iterator[Quantize]:
    """The same quantizer to every format of as many bits or fewer."""
    for bits in range(1, op.to.bits + 1):
        for signed, narrow in itertools.product((False, True), (False, True)):
            yield replace(op, to=Integer(signed, bits), narrow=narrow)


# --- what stands before a layer


def _conv(walk: Walk, node: Node) -> None:
    while (below := walk.sole(node.operands[0])) and (merged := _conv_of(walk, node, below)):
        walk.remove(below)
        node = merged
    walk.put(node)


def _conv_of(walk: Walk, conv: Node, below: Node) -> Node | None:
    """The convolution of what `below` reads that equals `conv`."""
    if isinstance(below.op, Pad):
        return _conv_of_pad(conv, below, below.op)
    found = affine(below, walk.constants, walk.exact)
    weight = walk.data(conv.operands[1])
    assert isinstance(conv.op, Conv)
    factor = _channels_below(walk, found, below, 1)
    if found is None or weight is None or factor is None:
        return None
    groups = weight.reshape(conv.op.group, -1, weight.shape[1], *weight.shape[2:])
    by_input = factor.reshape(conv.op.group, 1, -1, *(1,) * (weight.ndim - 2))
    scaled = (groups * by_input).reshape(weight.shape)
    if found.scale is not None:
        return _with_operands(conv, found.x, walk.constant(conv.operands[1], scaled), *conv.operands[2:])
    # padding is zero before the shift, not after it
    bias = None if any(conv.op.pads) else _bias(walk, conv)
    if bias is None:
        return None
    moved = bias + scaled.reshape(len(weight), -1).sum(axis=1)
    return _with_operands(conv, found.x, conv.operands[1], walk.constant(_bias_name(conv, found), moved))


def _conv_of_pad(conv: Node, below: Node, pad: Pad) -> Node | None:
    """Zero padding of spatial axes is padding of the convolution."""
    rank = len(pad.pads) // 2
    begins, ends = pad.pads[:rank], pad.pads[rank:]
    if pad.value != 0 or any(begins[:2]) or any(ends[:2]) or not isinstance(conv.op, Conv):
        return None
    pads = np.add(conv.op.pads, begins[2:] + ends[2:])
    op = replace(conv.op, pads=tuple(pads.tolist()))
    return replace(conv, op=op, operands=(below.operands[0], *conv.operands[1:]))


def _matmul(walk: Walk, node: Node) -> None:
    shift: Array = np.zeros(())
    source = ""
    while below := walk.sole(node.operands[0]):
        found = affine(below, walk.constants, walk.exact)
        weight = walk.data(node.operands[1])
        factor = _channels_below(walk, found, below, len(walk.shape(below.name)) - 1)
        if found is None or factor is None or weight is None or weight.ndim != 2:
            break
        walk.remove(below)
        if found.shift is not None:
            shift, source = shift + factor @ weight, found.constant
            node = _with_operands(node, found.x, *node.operands[1:])
        else:
            scaled = walk.constant(node.operands[1], weight * factor[:, None])
            node = _with_operands(node, found.x, scaled)
    walk.put(node)
    if source:
        bias = walk.constant(source, shift)
        walk.insert(replace(node, results=(walk.fresh(f"{node.name}_add"),), op=Add(), operands=(node.name, bias)),
                    node.name)


def _channels_below(walk: Walk, found: Affine | None, below: Node, axis: int) -> Array | None:
    """The factor as a vector along `axis`, provided that the arithmetic is per channel and broadcasts nothing else."""
    if found is None or walk.type(found.x) != below.type:
        return None
    return channels(found.factor, walk.shape(below.name), axis)


# --- what stands behind a layer


def _arithmetic(walk: Walk, node: Node) -> None:
    """A scale or shift goes into the node before it, else takes the form `mul` or `add`."""
    found = affine(node, walk.constants, walk.exact)
    below = walk.sole(found.x) if found else None
    if found and below and walk.type(below.name) == node.type and _absorbs(walk, below, found):
        walk.drop(node, below.name)
    elif found and isinstance(node.op, Sub | Div):
        op = Add() if isinstance(node.op, Sub) else Mul()
        walk.put(replace(node, op=op, operands=(found.x, walk.constant(found.constant, found.factor))))
    else:
        walk.put(node)


def _absorbs(walk: Walk, below: Node, outer: Affine) -> bool:
    """Whether `below` can take over what `outer` does; if so, it has."""
    match below.op:
        case Conv():
            return _conv_absorbs(walk, below, outer)
        case MatMul():
            return outer.scale is not None and _matmul_absorbs(walk, below, outer.scale)
        case Add() | Mul():
            return _arithmetic_absorbs(walk, below, outer)
        case _:
            return False


def _conv_absorbs(walk: Walk, conv: Node, outer: Affine) -> bool:
    factor = channels(outer.factor, walk.shape(conv.name), 1)
    weight, bias = walk.data(conv.operands[1]), _bias(walk, conv)
    if factor is None or bias is None:
        return False
    if outer.shift is not None:
        moved = walk.constant(_bias_name(conv, outer), bias + factor)
        walk.put(_with_operands(conv, *conv.operands[:2], moved))
        return True
    if weight is None:
        return False
    scaled = walk.constant(conv.operands[1], weight * factor.reshape(-1, *(1,) * (weight.ndim - 1)))
    biases = [walk.constant(name, bias * factor) for name in conv.operands[2:] if name != MISSING]
    walk.put(_with_operands(conv, conv.operands[0], scaled, *biases))
    return True


def _matmul_absorbs(walk: Walk, matmul: Node, scale: Array) -> bool:
    weight = walk.data(matmul.operands[1])
    factor = channels(scale, walk.shape(matmul.name), len(walk.shape(matmul.name)) - 1)
    if weight is None or weight.ndim != 2 or factor is None:
        return False
    walk.put(_with_operands(matmul, matmul.operands[0], walk.constant(matmul.operands[1], weight * factor)))
    return True


def _arithmetic_absorbs(walk: Walk, below: Node, outer: Affine) -> bool:
    """Two shifts are one, two scales are one, and a scale goes through the bias of a dense layer."""
    inner = affine(below, walk.constants, walk.exact)
    if inner is None:
        return False
    if inner.shift is not None and outer.scale is not None:
        layer = walk.sole(inner.x)
        if layer is None or not isinstance(layer.op, MatMul) or not _matmul_absorbs(walk, layer, outer.scale):
            return False
        factor = inner.shift * outer.scale
    elif inner.shift is not None:
        factor = inner.shift + outer.factor
    elif outer.scale is not None:
        factor = inner.factor * outer.scale
    else:
        return False
    walk.put(_with_operands(below, inner.x, walk.constant(inner.constant, factor)))
    return True


def _bias(walk: Walk, conv: Node) -> Array | None:
    """The bias of a convolution, zeros when it has none; None when it is not a constant of reals."""
    if len(conv.operands) < 3 or conv.operands[2] == MISSING:
        return np.zeros(walk.shape(conv.name)[1])
    return walk.data(conv.operands[2])


def _bias_name(conv: Node, other: Affine) -> str:
    """The constant whose name the new bias takes."""
    return conv.operands[2] if len(conv.operands) > 2 and conv.operands[2] != MISSING else other.constant


def _with_operands(node: Node, *operands: str) -> Node:
    return replace(node, operands=operands)
