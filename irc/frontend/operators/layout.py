"""Operators that split, repeat and rearrange, and constants that are made of shapes."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from irc.diagnostics import error
from irc.frontend.builder import LARGEST_FOLDED
from irc.frontend.call import Call
from irc.frontend.operators.conversion import zero
from irc.frontend.table import operator
from irc.frontend.tensors import element_format
from irc.ops.bits import WIDEST
from irc.ops.comparison import TRUTH, Where
from irc.ops.contraction import BroadcastTo, Einsum
from irc.ops.shape import Reshape, Slice, Transpose
from irc.types import Array

_NONE = cast("tuple[int, ...]", ())
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@operator("Size")
def size_of(call: Call) -> str:
    return call.make(np.int64(math.prod(call.shape())), WIDEST)


@operator("Split", until=12)
def split_by_attribute(call: Call) -> tuple[str, ...]:
    return _split(call, call.attribute("split", _NONE))


@operator("Split", since=13)
def split_by_input(call: Call) -> tuple[str, ...]:
    return _split(call, call.integers(1) or ())


def _split(call: Call, sizes: tuple[int, ...]) -> tuple[str, ...]:
    """One slice for each output; without sizes, parts as equal as can be."""
    shape, count = call.shape(), len(call.node.output)
    axis = call.axis(call.attribute("axis", 0), len(shape))
    if call.attribute("num_outputs", count) != count:
        raise error("E106", f"{count} outputs are not num_outputs")
    part = -(-shape[axis] // count)
    sizes = sizes or (*(part,) * (count - 1), shape[axis] - part * (count - 1))
    if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes) < 0:
        raise error("E106", f"{shape[axis]} indices cannot be split into {list(sizes)}")
    starts = np.cumsum((0, *sizes[:-1])).tolist()
    return tuple(_part(call, axis, start, size) for start, size in zip(starts, sizes, strict=True))


def _part(call: Call, axis: int, start: int, size: int) -> str:
    shape, rank = call.shape(), len(call.shape())
    op = Slice(tuple(start if i == axis else 0 for i in range(rank)),
               tuple(size if i == axis else n for i, n in enumerate(shape)), (1,) * rank)
    return call.emit(op, call.operand(0))


@operator("Expand")
def expand(call: Call) -> str:
    wanted, value = call.integers(1) or (), call.operand(0)
    try:
        shape = np.broadcast_shapes(call.shape(), wanted)
    except ValueError:
        raise error("E106", f"shapes {list(call.shape())} and {list(wanted)} do not broadcast") from None
    if math.prod(shape) > LARGEST_FOLDED:
        raise call.refusal(f"the result {list(shape)} is too large")
    return value if shape == call.shape() else call.emit(BroadcastTo(shape), value)


@operator("Tile")
def tile(call: Call) -> str:
    """Each axis with an axis of copies before it."""
    shape, repeats = call.shape(), call.integers(1) or ()
    if len(repeats) != len(shape) or min(repeats, default=1) < 1:
        raise error("E106", f"repeats {list(repeats)} do not fit {list(shape)}")
    whole = tuple(n * r for n, r in zip(shape, repeats, strict=True))
    if math.prod(whole) > LARGEST_FOLDED:
        raise call.refusal(f"the result {list(whole)} is too large")
    single = tuple(size for n in shape for size in (1, n))
    copied = tuple(size for n, r in zip(shape, repeats, strict=True) for size in (r, n))
    spread = call.emit(Reshape(single), call.operand(0), part="spread")
    return call.emit(Reshape(whole), call.emit(BroadcastTo(copied), spread, part="copied"))


@operator("Trilu")
def triangle(call: Call) -> str:
    """Zero outside the upper or the lower triangle."""
    shape, (k,) = call.shape(), call.integers(1) or (0,)
    if len(shape) < 2:
        raise error("E106", f"{list(shape)} is no matrix")
    ones = np.ones(shape[-2:], np.int64)
    kept = np.triu(ones, k) if call.attribute("upper", 1) else np.tril(ones, k)
    value = call.operand(0)
    return call.emit(Where(), call.make(kept, TRUTH, "kept"), value, zero(call, call.type(value).format))


@operator("EyeLike")
def eye_like(call: Call) -> str:
    shape, value, wanted = call.shape(), call.operand(0), call.attribute("dtype", 0)
    if len(shape) != 2:
        raise error("E106", f"{list(shape)} is no matrix")
    form = element_format(wanted) if wanted else call.type(value).format
    return call.make(np.eye(*shape, k=call.attribute("k", 0)), form)


@operator("Range")
def counted(call: Call) -> str:
    call.attribute("stash_type", 1)
    start, limit, delta = (cast(Array, call.constant(i)).item() for i in range(3))
    if delta == 0 or (limit - start) / delta > LARGEST_FOLDED:
        raise call.refusal("the range never ends, or is too long")
    numbers = start + np.arange(max(math.ceil((limit - start) / delta), 0)) * delta
    return call.make(numbers, call.type(call.operand(0)).format)


@operator("DepthToSpace")
def depth_to_space(call: Call) -> str:
    """Blocks of channels become blocks of pixels."""
    batch, channels, height, width = _image(call)
    block, mode = call.attribute("blocksize", 0), call.attribute("mode", "DCR")
    if block < 1 or channels % (block * block) or mode not in ("DCR", "CRD"):
        raise call.refusal(f"blocksize {block} and mode '{mode}' do not fit {channels} channels")
    depth = channels // block**2
    split, perm = (((block, block, depth), (0, 3, 4, 1, 5, 2)) if mode == "DCR" else
                   ((depth, block, block), (0, 1, 4, 2, 5, 3)))
    parts = call.emit(Reshape((batch, *split, height, width)), call.operand(0), part="blocks")
    moved = call.emit(Transpose(perm), parts, part="moved")
    return call.emit(Reshape((batch, depth, height * block, width * block)), moved)


@operator("SpaceToDepth")
def space_to_depth(call: Call) -> str:
    """Blocks of pixels become blocks of channels."""
    batch, channels, height, width = _image(call)
    block, mode = call.attribute("blocksize", 0), call.attribute("mode", "DCR")
    if block < 1 or height % block or width % block or mode not in ("DCR", "CRD"):
        raise call.refusal(f"blocksize {block} and mode '{mode}' do not fit {height} x {width} pixels")
    split = (batch, channels, height // block, block, width // block, block)
    perm = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    moved = call.emit(Transpose(perm), call.emit(Reshape(split), call.operand(0), part="blocks"), part="moved")
    return call.emit(Reshape((batch, channels * block * block, height // block, width // block)), moved)


def _image(call: Call) -> tuple[int, ...]:
    if len(call.shape()) != 4:
        raise error("E106", f"{list(call.shape())} is not [N, C, H, W]")
    return call.shape()


@operator("Einsum")
def einsum(call: Call) -> str:
    """The equation with the letters of `...` and of the result written out."""
    equation = call.attribute("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != call.count or not set(equation) <= {*_LETTERS, *",.->"}:
        raise call.refusal(f"the equation '{equation}' is not understood")
    free = [letter for letter in _LETTERS if letter not in equation]
    widths = [len(call.shape(i)) - len(term.replace("...", "")) if "..." in term else 0 for i, term in enumerate(terms)]
    rest = "".join(free[: max(widths)])
    full = [term.replace("...", rest[len(rest) - width :]) for term, width in zip(terms, widths, strict=True)]
    if not arrow:
        right = "..." + "".join(sorted(c for c in set(left) - set(",.") if left.count(c) == 1))
    op = Einsum(f"{','.join(full)}->{right.replace('...', rest)}")
    return call.emit(op, *(call.operand(i) for i in range(call.count)))
