"""`drop_dead_channels`: channels that cannot change an output are taken out of the graph.

A channel is dead when every layer that reads it has zero weights for it, or when it is the same constant for every
input: a filter of zeros makes its bias everywhere. What such a constant gave is added to the bias of the layer that
read it; behind padding, whose zeros are not that constant, only a channel of zeros goes. Before::

    const w: f32[2, 1, 3, 3] = [[[[0, 0, 0], [0, 0, 0], [0, 0, 0]]], [[[1, 2, 1], [0, 0, 0], [-1, -2, -1]]]]
    const b: f32[2] = [0.5, 0]
    const v: f32[1, 2, 1, 1] = [[[[3]], [[1]]]]
    c: f32[1, 2, 6, 6] = conv(x, w, b, ...)
    r: f32[1, 2, 6, 6] = relu(c)
    y: f32[1, 1, 6, 6] = conv(r, v, ...)

and after::

    const w: f32[1, 1, 3, 3] = [[[[1, 2, 1], [0, 0, 0], [-1, -2, -1]]]]
    const b: f32[1] = [0]
    const v: f32[1, 1, 1, 1] = [[[[1]]]]
    const y_bias: f32[1] = [1.5]
    c: f32[1, 1, 6, 6] = conv(x, w, b, ...)
    r: f32[1, 1, 6, 6] = relu(c)
    y: f32[1, 1, 6, 6] = conv(r, v, y_bias, ...)

One channel of every axis stays, dead or not. Channels that are tied go together or not at all, as in `prune_channels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from irc.graph import Graph
from irc.pipeline.step import Context, Contract, Exact, Pass
from irc.types import Level
from passes.prune.structured import without_dead_channels


@dataclass(frozen=True, slots=True)
class DropDeadChannels(Pass):
    """Remove channels that cannot change an output."""

    keeps: ClassVar[Contract] = Exact()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    def run(self, graph: Graph, context: Context) -> Graph:
        return without_dead_channels(graph, context.selected)
