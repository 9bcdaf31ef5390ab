"""Ops that only move elements, and look-ups."""

from __future__ import annotations

import numpy as np

from irc.graph import Node
from irc.ops.routing import StreamConcat
from irc.ops.shape import Concat, Gather, Reshape, Transpose
from irc.ops.stream_reduce import Embed
from passes.lower.streams.layout import raster
from passes.lower.streams.lowering import Lowering, lowers


@lowers(Reshape)
def _reshape(low: Lowering, node: Node, op: Reshape) -> None:
    layout = low.layout(node.operands[0])
    low.place(node, layout.channel, layout.order)


@lowers(Transpose)
def _transpose(low: Lowering, node: Node, op: Transpose) -> None:
    layout = low.layout(node.operands[0])
    moved = np.empty(len(layout.order), np.int64)
    moved[raster(layout.shape).transpose(op.perm).ravel()] = np.arange(len(moved))
    low.place(node, layout.channel, moved[layout.order])


@lowers(Concat)
def _concat(low: Lowering, node: Node, op: Concat) -> None:
    layouts = [low.layout(o) for o in node.operands]
    positions = {low.stream(part.channel).positions for part in layouts}
    count = positions.pop() if len(positions) == 1 else 1
    ends = np.cumsum([part.shape[op.axis] for part in layouts])[:-1]
    pieces = np.split(raster(low.graph.tensor(node.name).shape), ends, axis=op.axis)
    orders = [piece.ravel()[part.order].reshape(count, -1) for piece, part in zip(pieces, layouts, strict=True)]
    join = StreamConcat(tuple(o.shape[1] for o in orders))
    channel = low.emit(node.name, join, [part.channel for part in layouts])
    low.place(node, channel, np.concatenate(orders, axis=1))


@lowers(Gather)
def _gather(low: Lowering, node: Node, op: Gather) -> None:
    table, layout = low.rom(node.operands[0]), low.layout(node.operands[1])
    if table.data.ndim != 2 or op.axis != 0:
        raise low.refuse("hardware looks up rows of a two-dimensional table only")
    rom = low.constant(table.name, table.type, table.data)
    channel = low.emit(node.name, Embed(), [layout.channel, rom], low.format(node))
    columns = table.data.shape[1]
    low.place(node, channel, layout.order[:, None] * columns + np.arange(columns))
