"""`prune`: the weights that matter least become zero.

Which weights go together is the `granularity`: each by itself (Han et al. 2015, "Learning both Weights and Connections
for Efficient Neural Networks"); of every M consecutive weights of a row at most N stay (`pattern="2:4"`, Mishra et al.
2021, "Accelerating Sparse Deep Neural Networks"); blocks of the matrix [outputs, inputs * kernel]; `blockmax`, of every
b consecutive weights of a row the largest stays, and `darb`, the same with a b of its own for each row, a power of two
(Ren et al. 2020, "DARB: A Density-Adaptive Regular-Block Pruning for Deep Neural Networks"); or whole channels, which
then are not there any more (`prune_channels` has more options).

How much a weight matters is the `criterion`; of a block it is the largest (`magnitude`) or the sum over its weights.
`activation` weighs each with the norm of its input (Sun et al. 2024, "A Simple and Effective Pruning Approach for Large
Language Models"), `second_order` with the error of the layer's output (Hassibi & Stork 1993). There
the weights that stay make good for those that go: the zeros are chosen by ADMM and the others solved for, layer by
layer, on what the pruned layers before compute (Meng et al. 2024, "ALPS"). Before::

    const w: f32[2, 4] = [[0.9, -0.1, 0.4, 0.05], [-0.6, 0.2, -0.01, 0.7]]

and after `prune{sparsity=0.5}`::

    const w: f32[2, 4] = [[0.9, 0, 0.4, 0], [-0.6, 0, 0, 0.7]]

after `prune{granularity=blockmax block=4}`::

    const w: f32[2, 4] = [[0.9, 0, 0, 0], [0, 0, 0, 0.7]]

The fraction holds in each layer, over all layers (`global`), or is searched for each layer so that as much as possible
goes while the loss of the network stays below `floor` (`search`, Pietron & Wielgosz 2020, "Retrain or not retrain?
Efficient pruning methods of deep CNN networks"). A pattern and `blockmax` say by themselves how much goes. Biases stay,
but for the mean of what was lost, and embedding tables unless `tables` is set. Run it before quantize.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from irc.diagnostics import error
from irc.graph import Graph
from irc.pipeline.step import Context, Lossy, Pass, option
from irc.types import Array, Level
from passes.prune.allocation import in_each, over_all
from passes.prune.granularity import AdaptiveWindows, Blocks, Elements, Granularity, Windows
from passes.prune.parts import Part, layer_parts, table_parts
from passes.prune.prune_channels import PruneChannels
from passes.prune.pruner import CALIBRATED, Pruner
from passes.prune.search import Search
from passes.reconstruction.products import demand_real_weights


@dataclass(frozen=True, slots=True)
class Prune(Pass):
    """Set the weights that matter least to zero."""

    keeps: ClassVar[Lossy] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    sparsity: float = field(default=0.5, metadata=option(
        "fraction of the weights that become zero", low=0, high=1,
        when={"granularity": ("element", "block", "darb", "channel")}))
    granularity: str = field(default="element", metadata=option(
        "what goes together", choices=("element", "pattern", "block", "blockmax", "darb", "channel")))
    pattern: str = field(default="2:4", metadata=option(
        "N:M, at most N of M consecutive weights stay", when={"granularity": ("pattern",)}))
    block: int | tuple[int, ...] = field(default=4, metadata=option(
        "size of a block, [rows, columns] or b weights of a row", low=1,
        when={"granularity": ("block", "blockmax")}))
    criterion: str = field(default="magnitude", metadata=option(
        "what makes a weight matter", choices=("magnitude", "l1", "l2", "activation", "second_order")))
    scope: str = field(default="layer", metadata=option(
        "the fraction holds in each layer, over all, or is searched", choices=("layer", "global", "search")))
    tables: bool = field(default=False, metadata=option("prune embedding tables too"))
    search: str = field(default="rmhc", metadata=option(
        "hill climbing or simulated annealing", choices=("rmhc", "sa"), when={"scope": ("search",)}))
    floor: float = field(default=0.5, metadata=option("loss that a search may cost", low=0,
                                                      when={"scope": ("search",)}))
    evaluations: int = field(default=100, metadata=option("networks that a search may try", low=1,
                                                              when={"scope": ("search",)}))
    step: float = field(default=0.05, metadata=option("change of one sparsity in a search", low=0.001, high=1,
                                                        when={"scope": ("search",)}))

    def run(self, graph: Graph, context: Context) -> Graph:
        if not self.tables:
            demand_real_weights(graph, "prune")
        if self.granularity == "channel":
            return self._without_channels(graph, context)
        rule = self._granularity()
        if rule.fixed and self.scope != "layer":
            raise error("E304", f"scope={self.scope} leaves nothing to choose: the pattern says how much goes",
                        operator="prune", remedy="Leave scope out, or prune with granularity=darb.")
        found = layer_parts(graph, context.selected)
        tables = table_parts(graph, context.selected) if self.tables else []
        _fitting(rule, [*found, *tables])
        calibrated = self.criterion in CALIBRATED and bool(found or tables)
        feeds = context.calibration_for(f"prune{{criterion={self.criterion}}}") if calibrated else {}
        pruner = Pruner(graph, found, tables, rule, "magnitude" if context.trial else self.criterion, feeds)
        after = self._pruned(pruner, context)
        _note(pruner.parts, after, context)
        return after

    def _without_channels(self, graph: Graph, context: Context) -> Graph:
        """The network without whole channels, which really go."""
        if self.criterion == "activation" or self.scope == "search":
            raise error("E304", f"channels cannot be pruned with criterion={self.criterion} scope={self.scope}",
                        operator="prune", remedy="Choose l1, l2 or second_order, and scope=layer or global.")
        if not self.sparsity:
            return graph
        exact = self.criterion == "second_order"
        norm = "l2" if self.criterion == "l2" else "l1"
        return PruneChannels(self.sparsity, criterion=self.criterion if exact else norm, scope=self.scope,
                             compensate=exact).run(graph, context)

    def _granularity(self) -> Granularity:
        match self.granularity:
            case "pattern":
                return _windows(self.pattern)
            case "block":
                return Blocks(*self._block(), largest=self.criterion == "magnitude")
            case "blockmax":
                return Windows(1, self._block()[1])
            case "darb":
                return AdaptiveWindows()
            case _:
                return Elements()

    def _block(self) -> tuple[int, int]:
        """Rows and columns; a number is that many weights of a row."""
        sizes = self.block if isinstance(self.block, tuple) else (1, self.block)
        if len(sizes) != 2 or (self.granularity == "blockmax" and sizes[0] != 1):
            wanted = "[rows, columns]" if self.granularity == "block" else "a number of consecutive weights"
            raise error("E304", f"block={list(sizes)} is no block for granularity={self.granularity}",
                        operator="prune", remedy=f"Write {wanted}.")
        return sizes[0], sizes[1]

    def _pruned(self, pruner: Pruner, context: Context) -> Graph:
        match self.scope:
            case "layer":
                return pruner.pruned(in_each(pruner, self.sparsity))
            case "global":
                return pruner.pruned(over_all(pruner, self.sparsity))
            case _:
                return self._searched(pruner, context)

    def _searched(self, pruner: Pruner, context: Context) -> Graph:
        """The sparsest network that the judge lets pass, beginning with the one that `scope=global` makes."""
        judge = context.judge_for("prune{scope=search}")
        sizes = np.array(list(pruner.units.values()), np.float64)
        if context.trial or not len(sizes):
            return pruner.pruned(in_each(pruner, self.sparsity))

        def at(state: Array) -> Graph:
            counts = np.rint(state * sizes).astype(int)
            return pruner.pruned(dict(zip(pruner.units, counts.tolist(), strict=True)))

        start = np.array(list(over_all(pruner, self.sparsity).values())) / sizes
        search = Search(lambda state: judge.loss(at(state)), self.floor, sizes / sizes.sum(), self.step,
                        self.evaluations, self.search == "sa", context.seed)
        best = search.best(start)
        context.note("searched sparsity", float(search.shares @ best))
        return at(best)


def _windows(pattern: str) -> Windows:
    """`N:M` as numbers. Raises E304."""
    found = re.fullmatch(r"(\d{1,6}):(\d{1,6})", pattern)
    kept, size = map(int, found.groups()) if found else (0, 0)
    if not 0 < kept <= size:
        raise error("E304", f"the pattern '{pattern}' is not N:M with 0 < N <= M", operator="prune",
                    remedy='Write pattern="2:4" to keep at most 2 of every 4 weights.')
    return Windows(kept, size)


def _fitting(rule: Granularity, parts: Sequence[Part]) -> None:
    """Raise E306 for a weight that is smaller than what it should be cut into."""
    for part in parts:
        if not rule.fits(part.matrix.shape):
            rows, columns = part.matrix.shape
            raise error("E306", f"the weight '{part.name}' is a matrix of {rows} by {columns}, smaller than a block",
                        node=part.node.name, operator=part.node.op.name,
                        remedy=f'Choose a smaller block, or leave it out: prune{{...}} @ !name("{part.node.name}").')


def _note(parts: Sequence[Part], after: Graph, context: Context) -> None:
    """Record the sparsity of every node."""
    zeros: dict[str, list[Array]] = {}
    for part in parts:
        zeros.setdefault(part.node.name, []).append(after.constants[part.name].data.reshape(-1) == 0)
    for node, marks in zeros.items():
        context.note("sparsity", float(np.mean(np.concatenate(marks))), node=node)
