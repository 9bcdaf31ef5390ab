"""Prunes a network when it is known how much of each weight constant goes, and says what weights are worth.

What a weight is worth: its magnitude (`magnitude`, `l1`) or square (`l2`); `activation`, its square times the mean
square of its input (Sun et al. 2024, "A Simple and Effective Pruning Approach for Large Language Models", Wanda);
`second_order`, the output error without it when all others make good for it (Hassibi & Stork 1993, the optimal brain
surgeon). The last two walk through the network layer by layer, on calibration data as the pruned layers before hand
them on, and correct biases; `second_order` also solves for the weights that stay. An entry of a table is worth more the
more often it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from irc.graph import Graph
from irc.types import Array
from passes.prune.granularity import Granularity
from passes.prune.parts import Part, readings
from passes.reconstruction.apply import with_refits
from passes.reconstruction.compensate import aligned, damped
from passes.reconstruction.sparse import Keep, sparse
from passes.reconstruction.statistics import Statistics
from passes.reconstruction.walk import Visit, reconstruct

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
        direct = self.tables if self.criterion in CALIBRATED else self.parts
        made = {p.name: p.masked(self.granularity.keeper(self._worth[p.name], removed[p.name])(self._worth[p.name]))
                for p in direct}
        graph = self.graph.map_constants(lambda c: made.get(c.name, c))
        if self.criterion not in CALIBRATED:
            return graph
        nodes = {p.node.name for p in self.layers}
        refits = reconstruct(self.graph, graph, self.feeds, lambda visit: self._chosen(visit, removed),
                             lambda node: node.name in nodes)
        return with_refits(graph, refits)

    @cached_property
    def _worth(self) -> dict[str, Array]:
        """What each weight is worth without looking at inputs; of a table, by how often its entries are read."""
        power = 1 if self.criterion in ("magnitude", "l1") else 2
        found = {p.name: np.abs(p.matrix) ** power for p in self.parts}
        if self.criterion in CALIBRATED:
            for part, counts in zip(self.tables, readings(self.graph, list(self.tables), self.feeds), strict=True):
                found[part.name] *= 1 + counts[:, None]  # those that were never read by their size
        return found

    @cached_property
    def relative(self) -> dict[str, Array]:
        """What each weight is worth beside those of other constants: for calibrated criteria the error that it makes,
        relative to the variance of what its layer computes."""
        if self.criterion not in CALIBRATED:
            return self._worth
        found = {p.name: self._worth[p.name] / max(float(self._worth[p.name].sum()), 1e-30) for p in self.tables}
        nodes = {p.node.name for p in self.layers}

        def observed(visit: Visit) -> Array:
            energy = max(float(visit.statistics.error(visit.target).sum()), 1e-30)
            worth = worth_of(self.criterion, visit.target, visit.statistics) / energy
            found.update(zip(visit.product.weights, _split(worth, visit), strict=True))
            return visit.target

        reconstruct(self.graph, self.graph, self.feeds, observed, lambda node: node.name in nodes)
        return found

    def _chosen(self, visit: Visit, removed: Removed) -> Array:
        """New weights of one layer."""
        names, matrix, statistics = visit.product.weights, visit.matrix, visit.statistics
        if not self.granularity.fixed and not any(removed[name] for name in names):
            return matrix
        worth = worth_of(self.criterion, matrix, statistics)
        keeps = [self.granularity.keeper(part, removed[name])
                 for name, part in zip(names, _split(worth, visit), strict=True)]
        keep = _side_by_side(keeps, visit)
        if self.criterion == "activation":
            return np.where(keep(worth), matrix, 0)
        return sparse(aligned(visit.target, matrix, statistics, _DAMPING), statistics.gram, keep, _DAMPING)


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
    return np.split(flat, np.cumsum([shape[-1] for shape in visit.product.shapes])[:-1], axis=1)


def _side_by_side(keeps: Sequence[Keep], visit: Visit) -> Keep:
    """What stays of a whole layer, given what stays of each of its constants."""
    return lambda worth: np.concatenate(
        [keep(part) for keep, part in zip(keeps, _split(worth, visit), strict=True)], axis=1).reshape(worth.shape)
