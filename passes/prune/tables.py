"""Embedding tables: an entry matters as often as it is read, a column as much as the layers that read it weigh it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from irc.graph import Constant, Graph
from irc.types import Array
from passes.prune.parts import Part, readings
from passes.reconstruction.compensate import damped
from passes.reconstruction.sparse import Keep, sparse
from passes.reconstruction.tables import table_gram

_DAMPING = 0.01


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose entries are read `counts` times; an error e of an entry costs e `gram` e' each time."""

    part: Part
    counts: Array
    gram: Array

    @property
    def weighted(self) -> Array:
        """The entries, by the root of how often they are read; those that never were count as read once."""
        return np.asarray(self.part.matrix * np.sqrt(1 + self.counts[:, None]))

    def worth(self, criterion: str) -> Array:
        """What each weight is worth, by its use or by the error without it."""
        if criterion == "activation":
            return np.square(self.weighted)
        inverse = np.linalg.inv(damped(self.gram[None], _DAMPING)[0])
        return np.asarray(np.square(self.weighted) / np.diag(inverse))

    @property
    def energy(self) -> float:
        """The error without the table."""
        return max(float(((self.weighted @ self.gram) * self.weighted).sum()), 1e-30)

    def solved(self, keep: Keep) -> Constant:
        """The table with zeros, the other weights of an entry making good for them."""
        found = sparse(self.weighted[None], self.gram[None], lambda worth: keep(worth[0])[None], _DAMPING)[0]
        return self.part.changed(found / np.sqrt(1 + self.counts[:, None]))


def read_tables(graph: Graph, parts: Iterable[Part], criterion: str, feeds: Mapping[str, Array]) -> list[Table]:
    """The tables as calibration data read them. Where no linear layer reads the entries, all columns weigh the same."""
    found = []
    for part, counts in zip(parts, readings(graph, list(parts), feeds), strict=True):
        plain = part.axis == 0 and part.constant.data.ndim == 2
        gram = table_gram(graph, part.node) if criterion == "second_order" and plain else None
        found.append(Table(part, counts, np.eye(part.matrix.shape[1]) if gram is None else gram))
    return found
