"""How each op ties the channels of its operands and results: one rule an op.

A rule gives the numbers of the result's axes and ties those of the operands. An op without a rule pins everything it
touches, so a network with an op that is new here loses chances, never its meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import numpy as np

from irc.graph import MISSING, Graph, Node
from irc.operation import Op
from irc.ops.activation import Sigmoid, Softmax, Tanh
from irc.ops.bits import Magnitude
from irc.ops.comparison import Comparison, Extremum, Where
from irc.ops.contraction import BroadcastTo
from irc.ops.elementary import Elementary
from irc.ops.elementwise import Add, Binary, Clip, Relu, Sub
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import ArgMax, AvgPool, MaxPool, ReduceMax, ReduceMean, ReduceSum
from irc.ops.quantization import Bipolar, Dequantize, Quantize
from irc.ops.rectifier import Elu, LeakyRelu, LogSoftmax
from irc.ops.reduction import ReduceLogSumExp, ReduceMin, ReduceProd
from irc.ops.shape import Concat, Pad, Reshape, Slice, Transpose
from irc.types import IntArray, Shape
from passes.prune.channels import Axes, Channels, Numbering, numbered, pinned

Rule: TypeAlias = Callable[[Numbering, Node, list[Axes]], Axes]


def usual(graph: Graph, node: Node) -> Rule | None:
    """How a node ties what lives and dies together; None when it pins all that it touches."""
    return next((rule for kinds, rule in RULES if isinstance(node.op, kinds)), None)


def channels_of(graph: Graph, rule_for: Callable[[Graph, Node], Rule | None] = usual) -> Channels:
    """The channels of a network at model level: one walk, linear in the number of indices."""
    numbering = Numbering(graph)
    numbering.axes.update((port.name, _all_pinned(graph, port.name)) for port in graph.inputs)
    for constant in graph.constants.values():
        numbering.axes[constant.name] = tuple(map(numbering.fresh, constant.type.shape))
    for node in graph.nodes:
        _visit(numbering, node, rule_for(graph, node))
    numbering.pin(axis for port in graph.outputs for axis in numbering.axes[port.value])
    return numbered(numbering)


def _all_pinned(graph: Graph, value: str) -> Axes:
    return tuple(map(pinned, graph.tensor(value).shape))


def _visit(numbering: Numbering, node: Node, rule: Rule | None) -> None:
    operands = [numbering.axes[o] for o in node.operands if o != MISSING]
    if rule is not None and not _unusual(numbering, node):
        numbering.axes[node.name] = rule(numbering, node, operands)
        return
    numbering.pin(axis for axes in operands for axis in axes)
    numbering.axes.update((result, _all_pinned(numbering.graph, result)) for result in node.results)


def _unusual(numbering: Numbering, node: Node) -> bool:
    """A convolution with computed weights, a product of vectors or of constants: nothing there is worth a rule."""
    match node.op:
        case Conv():
            return node.operands[1] not in numbering.weights or node.operands[0] in numbering.weights
        case MatMul():
            return any(len(numbering.axes[o]) < 2 for o in node.operands) or node.operands[0] in numbering.weights
        case _:
            return False


# --- element by element


def _pointwise(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    """Operands broadcast: an axis of size 1 beside a longer one belongs to all its channels."""
    rank = max(map(len, operands))
    columns = [[axes[i - rank + len(axes)] for axes in operands if i >= rank - len(axes)] for i in range(rank)]
    if isinstance(node.op, Add | Sub):  # a constant that is added makes the channel as well
        numbering.rows += [axis for o in node.operands if o in numbering.weights for axis in numbering.axes[o]]
    return tuple(_joined(numbering, column) for column in columns)


def _joined(numbering: Numbering, axes: Sequence[IntArray]) -> IntArray:
    """Several axes that broadcast become one."""
    widest = max(axes, key=len)
    for axis in axes:
        numbering.tie(axis, widest if len(axis) == len(widest) else pinned())
    return widest


def _quantizer(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    x, *parameters = operands
    assert isinstance(node.op, Quantize | Dequantize)
    for axes in parameters:
        numbering.pin(axis for axis in axes if len(axis) == 1)
        if axes and len(axes[0]) > 1:
            numbering.tie(axes[0], x[node.op.axis])
    return x


# --- sums of products


def _conv(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    op, (x, weight, *bias) = cast(Conv, node.op), operands
    numbering.pin((*x[2:], *weight[2:]))
    columns = x[1].reshape(op.group, -1)
    rows = weight[0].reshape(op.group, -1)
    if op.group > 1 and columns.shape[1] == 1:  # a group is a channel: it goes with all that is made of it
        numbering.tie(rows, columns)
        numbering.pin(weight[1:2])
    else:  # groups stay equally large: channels at the same place in their group go together
        numbering.tie(columns, weight[1])
        numbering.tie(rows, rows[0])
    for axes in bias:
        numbering.tie(axes[0], weight[0])
        numbering.rows.append(axes[0])
    numbering.rows.append(weight[0])
    return (x[0], weight[0], *_all_pinned(numbering.graph, node.name)[2:])


def _matmul(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    a, b = operands
    if node.operands[1] in numbering.weights and len(b) == 2:
        numbering.tie(a[-1], b[-2])
        numbering.rows.append(b[-1])
    else:  # what a product of two computed values loses is in no weights
        numbering.pin((a[-1], b[-2]))
    rank = max(len(a), len(b))
    leading = [[axes[i - rank] for axes in (a, b) if len(axes) >= rank - i] for i in range(rank - 2)]
    return (*(_joined(numbering, column) for column in leading), a[-2], b[-1])


# --- windows and reductions


def _pool(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    (x,) = operands
    numbering.pin(x[2:])
    return (*x[:2], *_all_pinned(numbering.graph, node.name)[2:])


def _reduce(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    (x,) = operands
    axes = (node.op.axis,) if isinstance(node.op, ArgMax) else getattr(node.op, "axes", ())
    numbering.pin(x[i] for i in axes)
    kept = tuple(pinned() if i in axes else axis for i, axis in enumerate(x))
    return kept if getattr(node.op, "keepdims", False) else tuple(a for i, a in enumerate(kept) if i not in axes)


def _normalized(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    (x,) = operands
    assert isinstance(node.op, Softmax | LogSoftmax)
    numbering.pin(x[i] for i in node.op.axes)
    return x


# --- elements that move


def _transpose(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    return tuple(operands[0][i] for i in cast(Transpose, node.op).perm)


def _concat(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    joined = cast(Concat, node.op).axis
    return tuple(np.concatenate(column) if i == joined else _joined(numbering, column)
                 for i, column in enumerate(zip(*operands, strict=True)))


def _slice(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    op, (x,) = cast(Slice, node.op), operands
    numbering.pin(axis for axis, step in zip(x, op.steps, strict=True) if step != 1)
    return tuple(axis[start : start + size] if step == 1 else pinned(size)
                 for axis, start, size, step in zip(x, op.starts, op.sizes, op.steps, strict=True))


def _pad(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    pads, (x,) = cast(Pad, node.op).pads, operands
    return tuple(_padded(numbering, *parts) for parts in zip(x, pads[: len(x)], pads[len(x) :], strict=True))


def _padded(numbering: Numbering, axis: IntArray, begin: int, end: int) -> IntArray:
    """New channels around; around a spatial axis, nothing that could go."""
    if not (begin or end):
        return axis
    return np.concatenate((numbering.fresh(begin), axis, numbering.fresh(end))) if axis.any() else (
        pinned(begin + len(axis) + end))


def _broadcast_to(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    (x,), shape = operands, cast(BroadcastTo, node.op).shape
    old = (*(pinned() for _ in shape[len(x) :]), *x)
    numbering.pin(axis for axis, size in zip(old, shape, strict=True) if len(axis) != size)
    return tuple(axis if len(axis) == size else numbering.fresh(size) for axis, size in zip(old, shape, strict=True))


def _reshape(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    """Axes fall into blocks of equal size before and after; within a block, one axis carries the channels."""
    (x,), shape = operands, cast(Reshape, node.op).shape
    found = list(map(pinned, shape))
    if 0 in shape:
        numbering.pin(x)
        return tuple(found)
    before, after = (np.cumprod(sizes) for sizes in (np.array([len(a) for a in x], np.int64), np.array(shape)))
    ends = np.intersect1d(before, after)
    blocks = [np.searchsorted(ends, products) for products in (before, after)]
    for block in range(len(ends)):
        old, new = (np.flatnonzero(number == block) for number in blocks)
        flat = _flattened(numbering, [x[i] for i in old])
        carrier = next((i for i in new if shape[i] > 1), None)
        if carrier is not None:
            found[carrier] = _unflattened(numbering, flat, shape[carrier])
    return tuple(found)


def _flattened(numbering: Numbering, axes: Sequence[IntArray]) -> IntArray:
    """Merged axes carry the channels of the first one that is not pinned."""
    carrier = next((i for i, axis in enumerate(axes) if len(axis) > 1 and axis.any()), None)
    numbering.pin(axis for i, axis in enumerate(axes) if i != carrier)
    sizes: Shape = tuple(map(len, axes))
    if carrier is None:
        return pinned(math.prod(sizes))
    along = axes[carrier].reshape(-1, *(1,) * (len(axes) - carrier - 1))
    return np.broadcast_to(along, sizes).reshape(-1)


def _unflattened(numbering: Numbering, flat: IntArray, size: int) -> IntArray:
    """The first of the axes that `flat` is split into: what shares an index of it goes together."""
    rows = flat.reshape(size, -1)
    numbering.tie(rows, rows[:, :1])
    return rows[:, 0]


POINTWISE: tuple[type[Op], ...] = (
    Binary, Comparison, Extremum, Where, Relu, Clip, LeakyRelu, Elu, Sigmoid, Tanh, Elementary, Magnitude, Bipolar)

RULES: tuple[tuple[tuple[type[Op], ...], Rule], ...] = (
    (POINTWISE, _pointwise),
    ((Quantize, Dequantize), _quantizer),
    ((Conv,), _conv),
    ((MatMul,), _matmul),
    ((MaxPool, AvgPool), _pool),
    ((ReduceMax, ReduceMin, ReduceSum, ReduceMean, ReduceProd, ReduceLogSumExp, ArgMax), _reduce),
    ((Softmax, LogSoftmax), _normalized),
    ((Transpose,), _transpose),
    ((Concat,), _concat),
    ((Slice,), _slice),
    ((Pad,), _pad),
    ((BroadcastTo,), _broadcast_to),
    ((Reshape,), _reshape),
)
