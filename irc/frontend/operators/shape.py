"""Operators that move elements, and the shape arithmetic of exporters (folded while reading)."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from irc.diagnostics import error
from irc.frontend.builder import LARGEST_FOLDED
from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.ops.contraction import BroadcastTo
from irc.ops.shape import Concat, Gather, Reshape, Slice, Transpose
from irc.types import Float, Integer

_NONE = cast("tuple[int, ...]", ())
_INDEX = Integer(True, 64)
_LARGEST_SPREAD = 1 << 28  # elements


def _reshape(call: Call, shape: tuple[int, ...]) -> str:
    return call.operand(0) if shape == call.shape() else call.emit(Reshape(shape), call.operand(0))


@operator("Reshape")
def reshape(call: Call) -> str:
    wanted, have = call.integers(1), call.shape()
    if wanted is None:
        raise call.refusal("the new shape is missing")
    if not call.attribute("allowzero", 0):
        wanted = tuple(have[i] if n == 0 and i < len(have) else n for i, n in enumerate(wanted))
    return _reshape(call, _resolved(wanted, math.prod(have)))


def _resolved(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """`shape` with its one -1 worked out; what does not fit is left for the type rule to refuse."""
    rest = math.prod(n for n in shape if n != -1)
    if shape.count(-1) > 1 or min(shape, default=0) < -1 or (-1 in shape and (rest == 0 or size % rest)):
        raise error("E106", f"{size} elements cannot be reshaped to {list(shape)}")
    return tuple(size // rest if n == -1 else n for n in shape)


@operator("Flatten")
def flatten(call: Call) -> str:
    shape, axis = call.shape(), call.attribute("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise error("E106", f"axis {axis} is not within a tensor of {len(shape)} axes")
    axis = axis + len(shape) if axis < 0 else axis
    return _reshape(call, (math.prod(shape[:axis]), math.prod(shape[axis:])))


@operator("Squeeze", until=12)
def squeeze_by_attribute(call: Call) -> str:
    return _squeeze(call, call.attribute("axes", _NONE))


@operator("Squeeze", since=13)
def squeeze_by_input(call: Call) -> str:
    return _squeeze(call, call.integers(1) or ())


def _squeeze(call: Call, axes: tuple[int, ...]) -> str:
    shape = call.shape()
    dropped = {call.axis(a, len(shape)) for a in axes} or {i for i, n in enumerate(shape) if n == 1}
    return _reshape(call, tuple(n for i, n in enumerate(shape) if i not in dropped))


@operator("Unsqueeze", until=12)
def unsqueeze_by_attribute(call: Call) -> str:
    return _unsqueeze(call, call.attribute("axes", _NONE))


@operator("Unsqueeze", since=13)
def unsqueeze_by_input(call: Call) -> str:
    return _unsqueeze(call, call.integers(1) or ())


def _unsqueeze(call: Call, axes: tuple[int, ...]) -> str:
    rank = len(call.shape()) + len(axes)
    added, rest = {call.axis(a, rank) for a in axes}, iter(call.shape())
    if len(added) != len(axes):
        raise error("E106", f"axes {list(axes)} name the same axis twice")
    return _reshape(call, tuple(1 if i in added else next(rest) for i in range(rank)))


@operator("Transpose")
def transpose(call: Call) -> str:
    identity = tuple(range(len(call.shape())))
    perm = call.attribute("perm", identity[::-1])
    return call.operand(0) if perm == identity else call.emit(Transpose(perm), call.operand(0))


@operator("Concat")
def concat(call: Call) -> str:
    axis = call.axis(call.attribute("axis", 1), len(call.shape()))
    operands = [call.operand(i) for i in range(call.count)]
    filled = [operand for operand in operands if call.type(operand).size] or operands
    return filled[0] if len(filled) == 1 < len(operands) else call.emit(Concat(axis), *filled)


@operator("Gather")
def gather(call: Call) -> str:
    axis = call.axis(call.attribute("axis", 0), len(call.shape()))
    return call.emit(Gather(axis), call.operand(0), call.operand(1))


@operator("Slice", until=9)
def slice_by_attribute(call: Call) -> str:
    starts, ends = call.attribute("starts", _NONE), call.attribute("ends", _NONE)
    return _slice(call, starts, ends, call.attribute("axes", _NONE), ())


@operator("Slice", since=10)
def slice_by_input(call: Call) -> str:
    starts, ends, axes, steps = (call.integers(i) or () for i in range(1, 5))
    return _slice(call, starts, ends, axes, steps)


def _slice(call: Call, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...],
           steps: tuple[int, ...]) -> str:
    axes, steps = axes or tuple(range(len(starts))), steps or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise call.refusal("starts, ends, axes and steps do not match")
    shape = call.shape()
    picked = [range(n) for n in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        at = call.axis(axis, len(shape))
        picked[at] = range(*slice(start, end, step).indices(shape[at]))
    if all(p == range(n) for p, n in zip(picked, shape, strict=True)):
        return call.operand(0)
    op = Slice(tuple(p.start for p in picked), tuple(len(p) for p in picked), tuple(p.step for p in picked))
    return call.emit(op, call.operand(0))


@operator("Shape")
def shape_of(call: Call) -> str:
    rank = len(call.shape())
    start, end = call.attribute("start", 0), call.attribute("end", rank)
    return call.make(np.array(call.shape()[start:end], np.int64), _INDEX)


@operator("ConstantOfShape", since=9)
def constant_of_shape(call: Call) -> str:
    """A constant; a large one is spread where it is used."""
    shape, value = call.integers(0) or (), call.tensor("value")
    form, data = value if value is not None else (Float(32), np.zeros(1))
    if min(shape, default=0) < 0 or math.prod(shape) > _LARGEST_SPREAD or data.size != 1:
        raise call.refusal(f"a constant of shape {list(shape)} cannot be made")
    if math.prod(shape) > LARGEST_FOLDED:
        return call.emit(BroadcastTo(shape), call.make(data.reshape(()), form, "value"))
    return call.make(np.full(shape, data.reshape(())), form)
