"""Convolutions and matrix products."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from irc.graph import Constant, Node
from irc.ops.depthwise import Depthwise
from irc.ops.linear import Conv, MatMul
from irc.ops.matvec import MatVec
from irc.ops.window import Window
from irc.types import IntArray, PowerOfTwo, TensorType
from passes.lower.streams.layout import Layout, channels_last, raster
from passes.lower.streams.lowering import Lowering, lowers
from passes.lower.streams.windows import window_of


@lowers(Conv)
def _conv(low: Lowering, node: Node, op: Conv) -> None:
    layout, weight = low.layout(node.operands[0]), low.rom(node.operands[1])
    if len(node.operands) > 2:
        raise low.refuse("hardware takes a convolution with its bias behind it",
                         "lower with the `integer` pass, which splits the bias off")
    rows, taps = weight.data.shape[0], weight.data.shape[2:]
    if op.group == rows == layout.shape[1] > 1:
        _depthwise(low, node, op, layout, weight)
        return
    window = window_of(low, layout, taps, op, op.pad_value, repeat=rows)
    flat = np.moveaxis(_ungrouped(weight.data, op.group), 1, -1).reshape(rows, -1)
    form = weight.type.format
    if op.group > 1 and isinstance(form, PowerOfTwo):
        form = replace(form, zero=True)  # where there was no connection
    rom = low.constant(weight.name, TensorType(form, flat.shape), flat)
    patches = low.emit(f"{node.name}_window", window, [layout.channel])
    channel = low.emit(node.name, MatVec(), [patches, rom], low.format(node))
    shape = low.graph.tensor(node.name).shape
    low.place(node, channel, raster(shape).transpose(channels_last(len(shape))))


def _ungrouped(weight: IntArray, groups: int) -> IntArray:
    """The weight [O, C, ...] of the same convolution without groups: zeros where there was no connection. It costs as
    many multiplications as if there were no groups; only depthwise convolutions have an actor of their own."""
    rows, inner = weight.shape[:2]
    if groups == 1:
        return weight
    dense = np.zeros((groups, rows // groups, groups, inner, *weight.shape[2:]), weight.dtype)
    each = np.arange(groups)
    dense[each, :, each] = weight.reshape(groups, rows // groups, *weight.shape[1:])
    return dense.reshape(rows, groups * inner, *weight.shape[2:])


def _depthwise(low: Lowering, node: Node, op: Conv, layout: Layout, weight: Constant) -> None:
    """A filter for each channel: windows in blocks of channels, as for pooling."""
    window = window_of(low, layout, weight.data.shape[2:], op, op.pad_value, block=1)
    flat = weight.data.reshape(len(weight.data), -1)
    rom = low.constant(weight.name, TensorType(weight.type.format, flat.shape), flat)
    patches = low.emit(f"{node.name}_window", window, [layout.channel])
    channel = low.emit(node.name, Depthwise(), [patches, rom], low.format(node))
    shape = low.graph.tensor(node.name).shape
    low.place(node, channel, raster(shape).transpose(channels_last(len(shape))))


@lowers(MatMul)
def _matmul(low: Lowering, node: Node, op: MatMul) -> None:
    layout, weight = low.layout(node.operands[0]), low.rom(node.operands[1])
    inner = layout.shape[-1]
    rows = layout.rows(inner)
    base = rows.min(axis=1, keepdims=True)
    if weight.data.ndim != 2 or (rows - base != rows[:1] - base[:1]).any() or (np.diff(base.ravel()) < 0).any():
        raise low.refuse("the operands do not arrive vector by vector", "remove the transpose before it")
    positions = len(rows)
    matrix = weight.data[rows[0] - base[0]].T
    rom = low.constant(weight.name, TensorType(weight.type.format, matrix.shape), matrix)
    again = Window((1, positions), inner, (1, 1), repeat=len(matrix))
    vectors = low.emit(f"{node.name}_window", again, [layout.channel])
    channel = low.emit(node.name, MatVec(), [vectors, rom], low.format(node))
    low.place(node, channel, raster(low.graph.tensor(node.name).shape))
