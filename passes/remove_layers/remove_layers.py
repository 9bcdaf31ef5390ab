"""`remove_layers`: a residual network with fewer blocks, without training.

A residual block computes `x + F(x)`. Where `F(x)` adds little, `x` does instead. Before::

    r: f32[1, 4, 8, 8] = relu(s)
    h: f32[1, 4, 8, 8] = relu(c1)
    c2: f32[1, 4, 8, 8] = conv(h, w2, b2, strides=[1, 1], pads=[1, 1, 1, 1], dilations=[1, 1])
    t: f32[1, 4, 8, 8] = add(c2, r)
    y: f32[1, 4, 8, 8] = relu(t)
    z: f32[1, 2, 8, 8] = conv(y, w3, b3, strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1])

After (`c1` read `r`)::

    r: f32[1, 4, 8, 8] = relu(s)
    z: f32[1, 2, 8, 8] = conv(r, w3, b3, strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1])

Ling, Zhang, Tao & Zhou 2021, "ResNet layer removal with a priority term" (Scientific Programming 4054435), without
the training between removals. Blocks are found by the shape of the graph; one goes at a time, the one of lowest
priority, and the others are ranked again. A block with a projection in its skip stays, and so does the last block of
every stage (a run of blocks with the same tensor shape). The selector takes a block when it takes all its layers.

With `compensate=refit` the layers around the gap take over what the block did, by least squares on the calibration
data; this needs batch norms folded (`fold` before). With `compensate=mean` the mean of `F(x)` in each channel is
added instead of it. In every form the result equals the network whose block is masked, `F(x)` times zero, with the
same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from irc.cost import macs
from irc.diagnostics import IrcError, error
from irc.graph import Graph
from irc.pipeline.step import Context, Contract, Lossy, Pass, option
from irc.samples import take
from irc.types import Array, Level
from passes.remove_layers.blocks import Block, Stage, stages
from passes.remove_layers.priority import activation_ratios, gains, output_changes
from passes.remove_layers.refit import feeds_only, refitted, stream_end
from passes.remove_layers.removal import with_mean, without

PRIORITIES = ("activation", "gain", "output")
COMPENSATIONS = ("none", "mean", "refit")


@dataclass(frozen=True, slots=True)
class RemoveLayers(Pass):
    """Remove the residual blocks that matter least."""

    keeps: ClassVar[Contract] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    blocks: int = field(default=0, metadata=option("blocks to remove; 0: as many as `floor` allows", low=0))
    floor: float = field(default=1.0, metadata=option("largest loss, in the unit of the metric, for blocks=0", low=0))
    priority: str = field(default="activation", metadata=option("what makes a block matter", choices=PRIORITIES))
    compensate: str = field(default="refit", metadata=option("what makes good for a block", choices=COMPENSATIONS))
    samples: int = field(default=128, metadata=option("calibration samples that blocks are ranked on", low=1))

    def run(self, graph: Graph, context: Context) -> Graph:
        judge = context.judge if self.blocks else context.judge_for("remove_layers without a number of blocks")
        possible = sum(min(stage.most, len(_chosen(stage, context))) for stage in stages(graph))
        if possible < max(self.blocks, 1):
            raise _too_few(possible, self.blocks)
        state = Shortened(graph, graph)
        while not self.blocks or state.count < self.blocks:
            ranked = self._ranked(state.graph, context)
            if not ranked:
                break
            priority, block = min(ranked, key=lambda entry: entry[0])
            shorter = self._without(state, block, context)
            loss = judge.loss(shorter.graph) if judge else None
            if not self.blocks and loss is not None and loss > self.floor:
                context.note("stops before a loss of", loss, block.name)
                break
            _record(context, shorter, block, priority, loss)
            state = shorter
        return state.finished(self.blocks)

    def _ranked(self, graph: Graph, context: Context) -> list[tuple[float, Block]]:
        """The blocks that may go, with their priorities, in the order of the graph."""
        found = [block for stage in stages(graph) for block in _chosen(stage, context)]
        return list(zip(self._priorities(graph, found, context), found, strict=True)) if found else []

    def _priorities(self, graph: Graph, found: Sequence[Block], context: Context) -> list[float]:
        if self.priority == "gain":
            return gains(graph, found)
        feeds = take(context.calibration_for(f"priority={self.priority}"), self.samples)
        ranking = activation_ratios if self.priority == "activation" else output_changes
        return ranking(graph, found, feeds)

    def _without(self, state: Shortened, block: Block, context: Context) -> Shortened:
        if self.compensate == "none":
            return state.without(block)
        feeds = context.calibration_for(f"compensate={self.compensate}")
        if self.compensate == "mean":
            return state.with_mean(block, feeds)
        shorter = state.without(block)
        fitted = shorter.refitted(feeds)
        if fitted.graph is shorter.graph:
            context.note("not compensated", "no layer ends in the sum before the gap; 'fold' goes first", block.name)
        return fitted


@dataclass(frozen=True, slots=True)
class Shortened:
    """A network without some of its blocks. `stands_for`: which sums of the original others stand for by now."""

    original: Graph
    graph: Graph
    count: int = 0
    stands_for: Mapping[str, str] = field(default_factory=dict)

    def without(self, block: Block) -> Shortened:
        known = {value: goal for value, goal in self.stands_for.items() if value != block.name}
        end = stream_end(self.graph, block)
        alone = feeds_only(self.graph, end, block)
        known[end] = self.stands_for.get(block.name, block.name) if alone else known.get(end, end)
        return Shortened(self.original, without(self.graph, block), self.count + 1, known)

    def with_mean(self, block: Block, feeds: Mapping[str, Array]) -> Shortened:
        return replace(self, graph=with_mean(self.graph, block, feeds), count=self.count + 1)

    def refitted(self, feeds: Mapping[str, Array]) -> Shortened:
        return replace(self, graph=refitted(self.original, self.graph, self.stands_for, feeds))

    def finished(self, wanted: int) -> Graph:
        """The graph, provided that as many blocks went as were wanted."""
        if self.count < wanted:
            raise _too_few(self.count, wanted)
        return self.graph


def _chosen(stage: Stage, context: Context) -> tuple[Block, ...]:
    """The blocks of a stage of which one may go, if the user's selector takes them."""
    return tuple(b for b in stage.removable if all(context.selected(layer.node) for layer in b.layers))


def _record(context: Context, shorter: Shortened, block: Block, priority: float, loss: float | None) -> None:
    """The curve: what went, why, and what is left."""
    context.note("removed block", shorter.count, block.name)
    context.note("priority", priority, block.name)
    context.note("multiplications left", sum(macs(shorter.graph, node) for node in shorter.graph.nodes), block.name)
    if loss is not None:
        context.note("loss", loss, block.name)


def _too_few(possible: int, wanted: int) -> IrcError:
    if not possible:
        return error("E306", "remove_layers finds no residual block that it may remove",
                     remedy="blocks are additions x + F(x) with the same shape on both sides; projections and the last "
                            "block of a stage stay")
    return error("E304", f"remove_layers is to remove {wanted} blocks, but only {possible} can be removed",
                 remedy=f"ask for at most {possible}; projections and the last block of a stage stay")
