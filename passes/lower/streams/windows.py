"""Windows over feature maps, pooling and other reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from irc.graph import Node
from irc.ops.linear import Conv
from irc.ops.pooling import ArgMax, MaxPool, ReduceMax, ReduceSum
from irc.ops.stream_reduce import Reduce, StreamArgMax
from irc.ops.window import Window
from passes.lower.streams.layout import Layout, channels_last, raster
from passes.lower.streams.lowering import Lowering, lowers


def _channels_last_or_refuse(low: Lowering, layout: Layout) -> None:
    expected = raster(layout.shape).transpose(channels_last(len(layout.shape))).ravel()
    if not np.array_equal(layout.order, expected):
        raise low.refuse("the feature map does not arrive in raster order, channels innermost",
                         "remove the transpose or reshape before it")


def _plane(values: Sequence[int], fill: int) -> tuple[int, int]:
    """Spatial attributes of a 1-D or 2-D op as (rows, columns)."""
    return (fill, values[0]) if len(values) == 1 else (values[0], values[1])


def _plane_pads(pads: Sequence[int]) -> tuple[int, int, int, int]:
    return (0, pads[0], 0, pads[1]) if len(pads) == 2 else (pads[0], pads[1], pads[2], pads[3])


def window_of(low: Lowering, layout: Layout, kernel: Sequence[int], op: Conv | MaxPool, pad_value: int,
            **more: int) -> Window:
    _channels_last_or_refuse(low, layout)
    if len(kernel) > 2:
        raise low.refuse("hardware has 1-D and 2-D windows only")
    return Window(_plane(layout.shape[2:], 1), layout.shape[1], _plane(kernel, 1), _plane(op.strides, 1),
                  _plane_pads(op.pads), _plane(op.dilations, 1), pad_value, **more)


@lowers(MaxPool)
def _max_pool(low: Lowering, node: Node, op: MaxPool) -> None:
    layout = low.layout(node.operands[0])
    form = low.stream(layout.channel).format
    window = window_of(low, layout, op.kernel, op, form.minimum, block=1)
    patches = low.emit(f"{node.name}_window", window, [layout.channel])
    taps = int(np.prod(op.kernel))
    channel = low.emit(node.name, Reduce(taps, 1), [patches], low.format(node))
    shape = low.graph.tensor(node.name).shape
    low.place(node, channel, raster(shape).transpose(channels_last(len(shape))))


@lowers(ReduceMax)
def _reduce_max(low: Lowering, node: Node, op: ReduceMax) -> None:
    _reduce(low, node, op.axes, "max")


@lowers(ReduceSum)
def _reduce_sum(low: Lowering, node: Node, op: ReduceSum) -> None:
    _reduce(low, node, op.axes, "sum")


def _reduce(low: Lowering, node: Node, axes: Sequence[int], function: Literal["max", "sum"]) -> None:
    layout = low.layout(node.operands[0])
    kept = tuple(1 if i in axes else n for i, n in enumerate(layout.shape))
    target = np.broadcast_to(raster(kept), layout.shape).ravel()[layout.order]
    channels = int(np.prod(kept))
    rows = target.reshape(-1, channels)
    if (rows != rows[:1]).any():
        raise low.refuse("the reduced axes do not travel outermost", "remove the transpose before it")
    channel = low.emit(node.name, Reduce(len(rows), channels, function), [layout.channel], low.format(node))
    low.place(node, channel, rows[0])


@lowers(ArgMax)
def _argmax(low: Lowering, node: Node, op: ArgMax) -> None:
    layout = low.layout(node.operands[0])
    classes = layout.shape[op.axis]
    place = np.unravel_index(layout.order, layout.shape)
    kept = tuple(1 if i == op.axis else n for i, n in enumerate(layout.shape))
    target = np.broadcast_to(raster(kept), layout.shape).ravel()[layout.order].reshape(-1, classes)
    if (target != target[:, :1]).any() or (place[op.axis].reshape(-1, classes) != np.arange(classes)).any():
        raise low.refuse("the compared axis does not travel innermost", "remove the transpose before it")
    low.place(node, low.emit(node.name, StreamArgMax(classes), [layout.channel]), target[:, 0])
