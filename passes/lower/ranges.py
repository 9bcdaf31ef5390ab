"""Ranges of all values of an integer graph, proven by interval arithmetic.

An interval is kept for each channel where channels differ: its arrays have the axes of the value, each of full length
or of length 1. Products use the constant weights, so the range of an accumulator is the tightest one that holds for
every operand within its own range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from irc.graph import Graph, Node
from irc.ops.elementwise import Add, Clip, Mul, Relu, Sub
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import ArgMax, MaxPool, ReduceMax, ReduceSum
from irc.ops.quantization import MultiplyShift, Requantize, Threshold
from irc.ops.shape import Concat, Gather, Pad, Reshape, Slice, Transpose
from irc.types import IntArray, Integer, PowerOfTwo, TensorType, smallest_integer


@dataclass(frozen=True, slots=True)
class Interval:
    """Every element of a value lies in [low, high], both shaped to broadcast to the value."""

    low: IntArray
    high: IntArray

    @property
    def format(self) -> Integer:
        """The smallest format that holds the interval."""
        return smallest_integer(int(self.low.min()), int(self.high.max()))

    def channels(self, axis: int, count: int) -> tuple[IntArray, IntArray]:
        """Bounds [count] of the slices along `axis`."""
        others = tuple(i for i in range(self.low.ndim) if i != axis)
        low, high = self.low.min(axis=others), self.high.max(axis=others)
        return np.broadcast_to(low, count), np.broadcast_to(high, count)

    def spread(self, shape: tuple[int, ...]) -> Interval:
        """The same interval with full axes."""
        return Interval(np.broadcast_to(self.low, shape), np.broadcast_to(self.high, shape))


def ranges(graph: Graph) -> Mapping[str, Interval]:
    """The interval of every value of an integer graph; inputs may take any value of their format."""
    found = {p.name: whole(cast(TensorType, p.type)) for p in graph.inputs}
    found |= {c.name: Interval(c.data, c.data) for c in graph.constants.values() if c.data.dtype.kind == "i"}
    for node in graph.nodes:
        proven = _result(node, [found[o] for o in node.operands if o], graph)
        found[node.name] = _within(proven, cast(TensorType, node.type))
    return found


def whole(kind: TensorType) -> Interval:
    """All values of a type."""
    form = cast(Integer | PowerOfTwo, kind.format)
    ones = (1,) * len(kind.shape)
    return Interval(np.full(ones, form.minimum, np.int64), np.full(ones, form.maximum, np.int64))


def _within(interval: Interval, kind: TensorType) -> Interval:
    """A declared format is a promise that the interpreter checks, so it bounds the interval too."""
    limit = whole(kind)
    return Interval(np.maximum(interval.low, limit.low), np.minimum(interval.high, limit.high))


def _result(node: Node, operands: list[Interval], graph: Graph) -> Interval:
    x, shape = operands[0], cast(TensorType, node.type).shape
    match node.op:
        case Add():
            return _sum(*_aligned(operands))
        case Sub():
            a, b = _aligned(operands)
            return Interval(a.low - b.high, a.high - b.low)
        case Mul():
            return _product(*_aligned(operands))
        case Conv():
            return _conv(node.op, x, graph.constants[node.operands[1]].data, operands[2:], len(shape))
        case MatMul():
            return _matmul(x, operands[1], node, graph)
        case Relu() | Clip() | Requantize() | MultiplyShift() | Threshold():
            return _monotone(node, operands, shape)
        case MaxPool():
            return _flat(x)
        case ReduceMax():
            return Interval(_reduced(x.low, node.op), _reduced(x.high, node.op))
        case ReduceSum():
            return _summed(x, node.op, graph.tensor(node.operands[0]).shape)
        case Slice():
            return _sliced(x, node.op)
        case Pad():
            value = np.int64(node.op.value)
            return Interval(np.minimum(_merged(x).low, value), np.maximum(_merged(x).high, value))
        case ArgMax():
            size = graph.tensor(node.operands[0]).shape[node.op.axis]
            return Interval(np.zeros((1,) * len(shape), np.int64), np.full((1,) * len(shape), size - 1))
        case Reshape():
            return _reshaped(x, graph.tensor(node.operands[0]).shape, shape)
        case Transpose():
            return Interval(x.low.transpose(node.op.perm), x.high.transpose(node.op.perm))
        case Concat():
            return _joined(operands, [graph.tensor(o).shape for o in node.operands], node.op.axis)
        case Gather():
            return _gathered(x, node.op.axis, len(graph.tensor(node.operands[1]).shape))
        case _:
            return whole(cast(TensorType, node.type))


def _aligned(operands: list[Interval]) -> tuple[Interval, Interval]:
    """Both intervals with as many axes as the larger one."""
    rank = max(i.low.ndim for i in operands)
    a, b = (Interval(_lift(i.low, rank), _lift(i.high, rank)) for i in operands)
    return a, b


def _sum(a: Interval, b: Interval) -> Interval:
    return Interval(a.low + b.low, a.high + b.high)


def _lift(a: IntArray, rank: int) -> IntArray:
    return a.reshape((1,) * (rank - a.ndim) + a.shape)


def _product(a: Interval, b: Interval) -> Interval:
    corners = np.stack(np.broadcast_arrays(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high))
    return Interval(corners.min(axis=0), corners.max(axis=0))


def _conv(op: Conv, x: Interval, weight: IntArray, bias: list[Interval], rank: int) -> Interval:
    low, high = _flat(x).low, _flat(x).high
    if any(op.pads):
        low, high = np.minimum(low, op.pad_value), np.maximum(high, op.pad_value)
    inputs = weight.shape[1]
    low, high = (np.broadcast_to(a.reshape(-1), inputs * op.group).reshape(op.group, 1, inputs) for a in (low, high))
    taps = tuple(range(2, weight.ndim))
    up, down = (f(weight, 0).sum(axis=taps).reshape(op.group, -1, inputs) for f in (np.maximum, np.minimum))
    least, most = (up * low + down * high).sum(axis=-1), (up * high + down * low).sum(axis=-1)
    if bias:
        least, most = least.reshape(-1) + bias[0].low, most.reshape(-1) + bias[0].high
    shape = (1, -1, *(1,) * (rank - 2))
    return Interval(least.reshape(shape), most.reshape(shape))


def _flat(x: Interval) -> Interval:
    """Spatial axes merged into one bound."""
    spatial = tuple(range(2, x.low.ndim))
    return Interval(x.low.min(axis=spatial, keepdims=True), x.high.max(axis=spatial, keepdims=True))


def _matmul(x: Interval, y: Interval, node: Node, graph: Graph) -> Interval:
    """x times a constant matrix; of anything else the declared format is the range."""
    weight = graph.constants.get(node.operands[1])
    if weight is None or weight.data.ndim != 2:
        return whole(cast(TensorType, node.type))
    up, down = np.maximum(weight.data, 0), np.minimum(weight.data, 0)
    low, high = (np.broadcast_to(a, (*a.shape[:-1], len(up))) for a in (x.low, x.high))
    return Interval(low @ up + high @ down, high @ up + low @ down)


def _monotone(node: Node, operands: list[Interval], shape: tuple[int, ...]) -> Interval:
    """Both ends through the op itself; a channel of negative multiplier swaps them."""
    x = operands[0]
    if isinstance(node.op, Threshold):
        size = tuple(n if i == node.op.axis else m for i, (n, m) in enumerate(zip(shape, x.low.shape, strict=True)))
        x = x.spread(size)
    parameters = [i.low[None] for i in operands[1:]]
    ends = [node.op.evaluate(end[None], *parameters)[0] for end in (x.low, x.high)]
    return Interval(np.minimum(*ends), np.maximum(*ends))


def _reduced(a: IntArray, op: ReduceMax) -> IntArray:
    return cast(IntArray, a.max(axis=op.axes, keepdims=op.keepdims))


def _summed(x: Interval, op: ReduceSum, shape: tuple[int, ...]) -> Interval:
    full = x.spread(tuple(n if i in op.axes else m for i, (n, m) in enumerate(zip(shape, x.low.shape, strict=True))))
    return Interval(*(end.sum(axis=op.axes, keepdims=op.keepdims) for end in (full.low, full.high)))


def _sliced(x: Interval, op: Slice) -> Interval:
    """The part of the interval that is taken; merged axes stay merged."""
    picks = (np.arange(size) * step + start for start, size, step in zip(op.starts, op.sizes, op.steps, strict=True))
    index = np.ix_(*(p if n > 1 else np.zeros(1, int) for p, n in zip(picks, x.low.shape, strict=True)))
    return Interval(x.low[index], x.high[index])


def _merged(x: Interval) -> Interval:
    ones = (1,) * x.low.ndim
    return Interval(x.low.min().reshape(ones), x.high.max().reshape(ones))


def _reshaped(x: Interval, before: tuple[int, ...], after: tuple[int, ...]) -> Interval:
    if x.low.size == 1:
        return Interval(x.low.reshape((1,) * len(after)), x.high.reshape((1,) * len(after)))
    full = x.spread(before)
    return Interval(full.low.reshape(after), full.high.reshape(after))


def _joined(operands: list[Interval], shapes: list[tuple[int, ...]], axis: int) -> Interval:
    """Along the joined axis every operand keeps its own bounds; other axes stay merged where all are."""
    sizes = [max(i.low.shape[a] for i in operands) for a in range(len(shapes[0]))]
    full = [i.spread((*sizes[:axis], s[axis], *sizes[axis + 1 :])) for i, s in zip(operands, shapes, strict=True)]
    return Interval(*(np.concatenate([getattr(i, end) for i in full], axis=axis) for end in ("low", "high")))


def _gathered(x: Interval, axis: int, rank: int) -> Interval:
    """Any row may be picked."""
    ends = (x.low.min(axis=axis, keepdims=True), x.high.max(axis=axis, keepdims=True))
    shape = ends[0].shape
    return Interval(*(e.reshape((*shape[:axis], *(1,) * rank, *shape[axis + 1 :])) for e in ends))


__all__ = ["Interval", "ranges", "whole"]
