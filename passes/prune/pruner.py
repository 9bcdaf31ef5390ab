"""Prunes a network when it is known how much of each weight constant goes, and says what weights are worth.

What a weight is worth: its magnitude (`magnitude`, `l1`) or square (`l2`); `activation`, its square times the mean
square of its input (Sun et al. 2024, "A Simple and Effective Pruning Approach for Large Language Models", Wanda);
`second_order`, the output error without it when all others make good for it (Hassibi & Stork 1993, the optimal brain
surgeon). The last two walk through the network layer by layer, on calibration data as the pruned layers before hand
them on, and correct biases; `second_order` also solves for the weights that stay. An entry of a table is worth more the
more often it is read (`tables.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from irc.graph import Constant, Graph
from irc.types import Array
from passes.prune.granularity import Granularity
from passes.prune.parts import Part
from passes.prune.tables import Table, read_tables
from passes.reconstruction.apply import with_refits
from passes.reconstruction.compensate import aligned, damped
from passes.reconstruction.sparse import Keep, sparse
from passes.reconstruction.statistics import Statistics
from passes.reconstruction.walk import Refit, Visit, reconstruct

CALIBRATED = ("activation", "second_order")
_DAMPING = 0.01
Removed = Mapping[str, int]
"""How many units of each weight constant go."""


@dataclass(frozen=True)
class Pruner:
    """A network, what is pruned of it, and how. `feeds` are calibration data, when the criterion needs them."""

    graph: Graph
    layers: Sequence[Part]
    tables: Sequence[Part]
    granularity: Granularity
    criterion: str
    feeds: Mapping[str, Array] = field(default_factory=dict, repr=False)

    @property
    def parts(self) -> list[Part]:
        """All that is pruned."""
        return [*self.layers, *self.tables]

    @cached_property
    def units(self) -> dict[str, int]:
        """How many units each constant has."""
        return {p.name: len(self.granularity.units(np.abs(p.matrix))) for p in self.parts}

    def pruned(self, removed: Removed) -> Graph:
        """The network without so many units of each constant."""
        calibrated = self.criterion in CALIBRATED
        made = [self._without(t, removed) for t in self._read] if calibrated else [
            p.masked(self._keep(p.name, self._sizes[p.name], removed)(self._sizes[p.name])) for p in self.parts]
        by_name = {constant.name: constant for constant in made}
        graph = self.graph.map_constants(lambda c: by_name.get(c.name, c))
        if not calibrated:
            return graph
        return with_refits(graph, self._walk(graph, lambda visit: self._chosen(visit, removed)))

    @cached_property
    def relative(self) -> dict[str, Array]:
        """What each weight is worth beside those of other constants: for calibrated criteria the error that it makes,
        relative to the variance of what its layer computes."""
        if self.criterion not in CALIBRATED:
            return self._sizes
        found = {t.part.name: t.worth(self.criterion) / t.energy for t in self._read}

        def observed(visit: Visit) -> Array:
            energy = max(float(visit.statistics.error(visit.target).sum()), 1e-30)
            worth = worth_of(self.criterion, visit.target, visit.statistics) / energy
            found.update(zip(visit.product.weights, _split(worth, visit), strict=True))
            return visit.target

        self._walk(self.graph, observed)
        return found

    @cached_property
    def _sizes(self) -> dict[str, Array]:
        """What each weight is worth by itself."""
        power = 2 if self.criterion == "l2" else 1
        return {p.name: np.abs(p.matrix) ** power for p in self.parts}

    @cached_property
    def _read(self) -> list[Table]:
        return read_tables(self.graph, self.tables, self.criterion, self.feeds) if self.tables else []

    def _walk(self, compressed: Graph, choose: Callable[[Visit], Array]) -> list[Refit]:
        nodes = {p.node.name for p in self.layers}
        return reconstruct(self.graph, compressed, self.feeds, choose, lambda node: node.name in nodes,
                           shortcuts=self.criterion == "second_order")

    def _keep(self, name: str, worth: Array, removed: Removed) -> Keep:
        return self.granularity.keeper(worth, removed[name])

    def _without(self, table: Table, removed: Removed) -> Constant:
        """A table without so many units."""
        if not self.granularity.fixed and not removed[table.part.name]:
            return table.part.constant
        worth = table.worth(self.criterion)
        keep = self._keep(table.part.name, worth, removed)
        return table.part.masked(keep(worth)) if self.criterion == "activation" else table.solved(keep)

    def _chosen(self, visit: Visit, removed: Removed) -> Array:
        """New weights of one layer."""
        names, matrix, statistics = visit.product.weights, visit.matrix, visit.statistics
        if not self.granularity.fixed and not any(removed[name] for name in names):
            return matrix
        worth = worth_of(self.criterion, visit.target, statistics)
        keeps = [self._keep(*part, removed) for part in zip(names, _split(worth, visit), strict=True)]
        keep = _side_by_side(keeps, visit)
        if self.criterion == "activation":
            return np.where(keep(worth), matrix, 0)
        drift = visit.drift.cross if visit.drift else 0.0
        wanted = aligned(visit.target, matrix, statistics, _DAMPING, drift)
        return sparse(wanted, statistics.gram, keep, _DAMPING)


def worth_of(criterion: str, matrix: Array, statistics: Statistics) -> Array:
    """What the weights [groups, rows, columns] of a layer are worth, given its inputs."""
    if criterion == "activation":
        moments = np.einsum("gii->gi", statistics.gram) + np.square(statistics.mean)
        return np.asarray(np.square(matrix) * moments[:, None])
    inverse = np.linalg.inv(damped(statistics.gram, _DAMPING))
    return np.asarray(np.square(matrix) / np.einsum("gii->gi", inverse)[:, None])


def _split(matrix: Array, visit: Visit) -> list[Array]:
    """A layer's [groups, rows, columns] as one matrix [rows, columns] for each weight constant."""
    flat = matrix.reshape(-1, matrix.shape[-1])
    return np.split(flat, np.cumsum(visit.product.widths)[:-1], axis=1)


def _side_by_side(keeps: Sequence[Keep], visit: Visit) -> Keep:
    """What stays of a whole layer, given what stays of each of its constants."""
    return lambda worth: np.concatenate(
        [keep(part) for keep, part in zip(keeps, _split(worth, visit), strict=True)], axis=1).reshape(worth.shape)
