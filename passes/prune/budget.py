"""How much may go and how much has gone: channels of each axis, filters, multiply-accumulates.

Kept up to date channel by channel, at a cost linear in the layers and axes that the channel is part of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irc.graph import Graph
from irc.types import Array, IntArray, TensorType
from passes.prune.channels import Channels, Mixer


@dataclass(frozen=True, slots=True)
class Line:
    """An axis: the components along it and how many indices each has."""

    components: IntArray
    counts: IntArray


def line(axis: IntArray) -> Line:
    """The components along an axis."""
    return Line(*np.unique(axis, return_counts=True))


class Quotas:
    """Of every axis, `least` says how many indices must stay; `open` marks the components that may still go."""

    def __init__(self, channels: Channels, candidates: Array, axes: list[tuple[IntArray, int]]) -> None:
        self.open = candidates.copy()
        self._lines = [line(axis) for axis, _ in axes]
        self._spare = [len(axis) - least for axis, least in axes]
        self._of: list[list[int]] = [[] for _ in range(channels.count)]
        for number, found in enumerate(self._lines):
            for component in found.components:
                self._of[component].append(number)
            self._close(number)

    def take(self, component: int) -> None:
        """The component goes."""
        self.open[component] = False
        for number in self._of[component]:
            found = self._lines[number]
            self._spare[number] -= int(found.counts[np.searchsorted(found.components, component)])
            self._close(number)

    def _close(self, number: int) -> None:
        found = self._lines[number]
        self.open[found.components[found.counts > self._spare[number]]] = False


class Work:
    """`saving` of each component: the multiply-accumulates that go with it, given all that went before."""

    def __init__(self, channels: Channels, mixers: list[Mixer]) -> None:
        self.saving = np.zeros(channels.count)
        self._of: list[list[int]] = [[] for _ in range(channels.count)]
        self._rows = [line(m.outputs.reshape(-1)) for m in mixers]
        self._columns = [line(m.inputs[0] * (not m.depthwise)) for m in mixers]
        self._sizes = [np.array([m.outputs.size, m.inputs.shape[1]]) for m in mixers]
        self._positions = [_positions(channels.graph, m) for m in mixers]
        for number in range(len(mixers)):
            for component in np.union1d(self._rows[number].components, self._columns[number].components):
                self._of[component].append(number)
            self._count(number, 1)

    @property
    def total(self) -> float:
        """Multiply-accumulates of what is left."""
        return float(sum(p * rows * columns for p, (rows, columns) in zip(self._positions, self._sizes, strict=True)))

    def take(self, component: int) -> None:
        """The component goes."""
        for number in self._of[component]:
            self._count(number, -1)
            parts = self._rows[number], self._columns[number]
            self._sizes[number] = self._sizes[number] - [int(p.counts[p.components == component].sum()) for p in parts]
            self._count(number, 1)

    def _count(self, number: int, sign: int) -> None:
        """Add or take away the part of one layer in what the components save: rows, columns, less what is in both."""
        rows, columns = self._sizes[number]
        r, c = self._rows[number], self._columns[number]
        scale = sign * self._positions[number]
        self.saving[r.components] += scale * r.counts * columns
        self.saving[c.components] += scale * c.counts * rows
        both, at, to = np.intersect1d(r.components, c.components, assume_unique=True, return_indices=True)
        self.saving[both] -= scale * r.counts[at] * c.counts[to]


def _positions(graph: Graph, mixer: Mixer) -> int:
    """How often a layer uses every weight in a sample."""
    kind = mixer.node.type
    assert isinstance(kind, TensorType)
    return kind.size // mixer.outputs.size


class Filters:
    """`saving` of each component: the filters (rows of weights) that go with it."""

    def __init__(self, channels: Channels, mixers: list[Mixer]) -> None:
        every = np.concatenate([m.outputs.reshape(-1) for m in mixers] or [np.zeros(0, np.int64)])
        self.saving = np.bincount(every, minlength=channels.count).astype(np.float64)
        self._gone = 0.0

    @property
    def total(self) -> float:
        """Filters left."""
        return float(self.saving.sum()) - self._gone

    def take(self, component: int) -> None:
        """The component goes."""
        self._gone += self.saving[component]
