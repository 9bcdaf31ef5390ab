"""`prune_channels`: whole channels go, the layers that read them make good for it, and the network is smaller.

What is one channel is found from the graph: filters, biases, the weights that read them, and everything tied to them by
additions, concatenations, slices, flattening and depthwise convolutions lives or dies together (Fang et al. 2023,
"DepGraph: Towards Any Structural Pruning"; rules in `ties.py`). Channels go one by one, each time the one that costs
least for what it saves. By `second_order` the cost is the output error of the layers that read it, once their other
weights have made good for it as far as they can (Hassibi & Stork 1993, the optimal brain surgeon, for a block of
columns); `l1` and `l2` are norms (Li et al. 2017, "Pruning Filters for Efficient ConvNets").

With `compensate`, the weights that are left are then fitted by least squares on calibration data, layer by layer from
the input, on what the pruned layers before compute, so that outputs stay what they were (He et al. 2017, "Channel
Pruning for Accelerating Very Deep Neural Networks"). Before::

    const w: f32[3, 1, 3, 3] = "w"
    const b: f32[3] = [0.1, 0.5, -0.2]
    const v: f32[8, 3, 3, 3] = "v"
    c: f32[1, 3, 26, 26] = conv(x, w, b, ...)
    r: f32[1, 3, 26, 26] = relu(c)
    y: f32[1, 8, 24, 24] = conv(r, v, ...)

and after `prune_channels{sparsity=0.4}`, with other values in `v`, and the mean of what channel 1 gave in a bias::

    const w: f32[2, 1, 3, 3] = "w"
    const b: f32[2] = [0.1, -0.2]
    const v: f32[8, 2, 3, 3] = "v"
    const y_bias: f32[8] = "y_bias"
    c: f32[1, 2, 26, 26] = conv(x, w, b, ...)
    r: f32[1, 2, 26, 26] = relu(c)
    y: f32[1, 8, 24, 24] = conv(r, v, y_bias, ...)

The pruned network equals the masked one, in which the filters and biases of these channels are zero. Run it behind
`fold`, which merges batch norms into the filters, and before `quantize`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from irc.diagnostics import error
from irc.graph import Graph
from irc.pipeline.step import Context, Lossy, Pass, option
from irc.types import Level
from passes.prune.structured import CRITERIA, Target, pruned
from passes.reconstruction.products import demand_real_weights


@dataclass(frozen=True, slots=True)
class PruneChannels(Pass):
    """Remove the channels that matter least."""

    keeps: ClassVar[Lossy] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    sparsity: float = field(default=0.0, metadata=option("fraction of the filters that goes", low=0, high=1))
    macs: float = field(default=0.0, metadata=option(
        "fraction of the multiply-accumulates that goes, in place of sparsity", low=0, high=1))
    criterion: str = field(default="second_order", metadata=option("what makes a channel matter", choices=CRITERIA))
    scope: str = field(default="layer", metadata=option(
        "sparsity holds in each layer, or over all", choices=("layer", "global")))
    compensate: bool = field(default=True, metadata=option("fit what is left to the outputs on calibration data"))
    min_channels: int = field(default=1, metadata=option("channels that every layer keeps", low=1))

    def run(self, graph: Graph, context: Context) -> Graph:
        if (self.sparsity > 0) == (self.macs > 0):
            raise error("E304", "how much is to go is said by either sparsity or macs", operator="prune_channels",
                        remedy="Write prune_channels{macs=0.3}, or prune_channels{sparsity=0.3}.")
        demand_real_weights(graph, "prune_channels")
        calibrated = self.compensate or self.criterion == "second_order"
        feeds = context.calibration_for("prune_channels{criterion=second_order}" if self.criterion == "second_order"
                                        else "prune_channels{compensate=true}") if calibrated else None
        target = Target(self.sparsity, self.macs, self.scope, self.min_channels)
        if context.trial:  # whether the target can be reached does not depend on which channels go first
            return pruned(graph, target, "l1", None, False, context.selected).graph
        found = pruned(graph, target, self.criterion, feeds, self.compensate, context.selected)
        for name, left, before in found.filters():
            context.note("filters", f"{left} of {before}", node=name)
        return found.graph
