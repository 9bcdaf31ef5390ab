"""Element-wise ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from irc.graph import Constant, Node
from irc.ops.elementwise import Add, Clip, Mul, Relu, Sub
from irc.ops.quantization import MultiplyShift, Threshold
from irc.ops.stream_add import StreamAdd
from irc.ops.stream_map import Map, MapAdd, MapClip, MapScale, MapThreshold
from irc.types import Array, Integer, TensorType
from passes.lower.streams.layout import Layout
from passes.lower.streams.lowering import Lowering, lowers


def _map(low: Lowering, node: Node, layout: Layout, make: Callable[[int], Map],
         parameters: Sequence[tuple[Constant, Array]] = ()) -> None:
    """Emit an element-wise actor. Each parameter comes with its value, shaped to broadcast over the tensor."""
    channels = low.stream(layout.channel).elements
    roms = [low.parameter(layout, value, rom.name, rom.type, channels) for rom, value in parameters]
    channel = low.emit(node.name, make(channels), [layout.channel, *roms], low.format(node))
    low.place(node, channel, layout.order)


def _on_axis(layout: Layout, value: Array, axis: int) -> Array:
    """A per-tensor or per-channel parameter (first axis) shaped to broadcast over the tensor."""
    tail = value.shape[1:] if value.ndim > 1 else ()
    shape = [1] * len(layout.shape)
    if value.shape and value.shape[0] > 1:
        shape[axis] = value.shape[0]
    return value.reshape(*shape, *tail)


@lowers(Add)
def _add(low: Lowering, node: Node, op: Add) -> None:
    if not any(o in low.graph.constants for o in node.operands):
        _add_streams(low, node)
        return
    streamed, constant = node.operands if node.operands[1] in low.graph.constants else node.operands[::-1]
    _add_constant(low, node, streamed, low.rom(constant), 1)


def _add_streams(low: Lowering, node: Node) -> None:
    a, b = (low.layout(o) for o in node.operands)
    if a.shape != b.shape or not np.array_equal(a.order, b.order):
        raise low.refuse("the operands do not arrive in the same order",
                         "remove the broadcast, transpose or reshape before it")
    channels = low.stream(a.channel).elements
    channel = low.emit(node.name, StreamAdd(channels), [a.channel, b.channel], low.format(node))
    low.place(node, channel, a.order)


@lowers(Mul)
def _mul(low: Lowering, node: Node, op: Mul) -> None:
    """A constant factor is a requantization without a shift."""
    streamed, constant = node.operands if node.operands[1] in low.graph.constants else node.operands[::-1]
    layout, rom = low.layout(streamed), low.rom(constant)
    value = rom.data.reshape((1,) * (len(layout.shape) - rom.data.ndim) + rom.data.shape)
    zero = np.zeros((1,) * len(layout.shape), np.int64)
    none = Constant(f"{rom.name}_none", TensorType(Integer(False, 1), zero.shape), zero)
    _map(low, node, layout, lambda channels: MapScale(channels, low.format(node), 0), [(rom, value), (none, zero)])


@lowers(Sub)
def _sub(low: Lowering, node: Node, op: Sub) -> None:
    _add_constant(low, node, node.operands[0], low.rom(node.operands[1]), -1)


def _add_constant(low: Lowering, node: Node, streamed: str, rom: Constant, sign: int) -> None:
    layout = low.layout(streamed)
    value = sign * rom.data.reshape((1,) * (len(layout.shape) - rom.data.ndim) + rom.data.shape)
    form = rom.type.format if sign > 0 else Integer(True, min(64, rom.type.format.bits + 1))
    signed = Constant(rom.name, TensorType(form, value.shape), value)
    _map(low, node, layout, lambda channels: MapAdd(channels, low.format(node)), [(signed, value)])


@lowers(Relu)
def _relu(low: Lowering, node: Node, op: Relu) -> None:
    layout = low.layout(node.operands[0])
    high = low.stream(layout.channel).format.maximum
    _map(low, node, layout, lambda channels: MapClip(channels, 0, high))


@lowers(Clip)
def _clip(low: Lowering, node: Node, op: Clip) -> None:
    layout = low.layout(node.operands[0])
    form = low.stream(layout.channel).format
    low_end, high_end = int(max(op.low, form.minimum)), int(min(op.high, form.maximum))
    _map(low, node, layout, lambda channels: MapClip(channels, low_end, high_end))


@lowers(MultiplyShift)
def _multiply_shift(low: Lowering, node: Node, op: MultiplyShift) -> None:
    layout = low.layout(node.operands[0])
    roms = [low.rom(o) for o in node.operands[1:]]
    parameters = [(rom, _on_axis(layout, rom.data, op.axis)) for rom in roms]
    _map(low, node, layout, lambda channels: MapScale(channels, op.to, op.shift), parameters)


@lowers(Threshold)
def _threshold(low: Lowering, node: Node, op: Threshold) -> None:
    layout, table = low.layout(node.operands[0]), low.rom(node.operands[1])
    parameters = [(table, _on_axis(layout, table.data, op.axis))]
    _map(low, node, layout, lambda channels: MapThreshold(channels, op.to, op.low), parameters)
