"""The four quantizers of weight sharing: which values, and which of them a weight becomes.

The definitions are those of Marinò, Ghidoli, Frasca & Malchiodi 2021 ("Compression strategies and space-conscious
representations for deep neural networks", arXiv:2108.12704) and of the code published with it:

- `cws`: k-means. In one dimension the optimum is found by dynamic programming (Wang & Song 2011, "Ckmeans.1d.dp").
- `pws`: the quantiles i / (k - 1); a weight between two of them becomes either, so that its expectation is itself.
- `uq`: delta * round(w / delta), with the smallest delta of a grid of steps of 5e-4 that leaves k distinct values.
- `ecsq`: argmin |w - c| - lambda * ln p over 3 k cells that start equally full, until k are left (Chou, Lookabaugh &
  Gray 1989, "Entropy-Constrained Vector Quantization").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias

import numpy as np

from irc.types import Array, IntArray

_CELLS = 512  # equally full, and as many equally wide: what the dynamic programme divides among the clusters
_LLOYD = 100
_FIRST_DELTA, _DELTA_STEP = 1e-4, 5e-4
_PROBE = 4096  # weights that tell for most deltas that they leave too many values
_START, _ROUNDS, _TOLERANCE = 3, 30, 1e-9
_LEAST_LAMBDA, _MOST_LAMBDA, _HALVINGS = 1e-13, 16.0, 48


@dataclass(frozen=True, slots=True)
class Codebook:
    """Ascending values. A weight becomes the nearest one; `offsets` move the borders between neighbours."""

    values: Array
    offsets: Array = field(default_factory=lambda: np.zeros(1))  # one a border, or one for all

    @property
    def edges(self) -> Array:
        """The borders between neighbours."""
        return np.asarray((self.values[1:] + self.values[:-1]) / 2 + self.offsets)

    def index(self, weights: Array) -> IntArray:
        """Which value each weight becomes."""
        return np.searchsorted(self.edges, weights)

    def nearest(self, weights: Array) -> Array:
        """The value that each weight becomes."""
        return np.asarray(self.values[self.index(weights)])


Method: TypeAlias = Callable[[Array, int, Array | None], Codebook]
"""The codebook of at most so many values for weights [n], with how much each weight matters."""


def cws(weights: Array, most: int, importance: Array | None = None) -> Codebook:
    """The values of least squared error: exact for 1,024 distinct weights, beyond that from there by Lloyd's steps."""
    found, place = np.unique(weights, return_inverse=True)
    if len(found) <= most:
        return Codebook(found)
    sums = _Sums(found, np.bincount(place, importance))
    cuts = _best_cuts(sums, _cells(found), most)
    values = sums.means(cuts)
    for _ in range(_LLOYD):
        moved = np.searchsorted(found, (values[1:] + values[:-1]) / 2)
        if np.array_equal(moved, cuts):
            break
        cuts, values = moved, sums.means(moved)
    return Codebook(values)


class _Sums:
    """Running sums over ascending weights, about their mean: whatever lies between two of them is a difference."""

    def __init__(self, weights: Array, mass: Array) -> None:
        mass = mass + 1e-9 * max(float(mass.mean()), 1e-30)  # a weight that does not matter has a place all the same
        self.centre = float(np.average(weights, weights=mass))
        self.moments = np.zeros((3, len(weights) + 1))
        for power, sums in enumerate(self.moments):
            np.cumsum(mass * (weights - self.centre) ** power, out=sums[1:])

    def means(self, cuts: IntArray) -> Array:
        """The mean of each part between cuts, empty ones left out."""
        mass, first, _ = np.diff(self.moments[:, [0, *cuts, -1]])
        return np.asarray(first[mass > 0] / mass[mass > 0] + self.centre)

    def errors(self, places: IntArray) -> Array:
        """The squared error of a single value for the weights from place i to place j, infinite for i > j."""
        mass, first, second = self.moments[:, None, places] - self.moments[:, places, None]
        spread = second - first**2 / np.where(mass > 0, mass, 1)
        return np.where(np.tri(len(places), k=-1, dtype=np.bool_), np.inf, np.maximum(spread, 0))


def _cells(weights: Array) -> IntArray:
    """Places between which the ascending weights are kept together."""
    if len(weights) <= 2 * _CELLS:
        return np.arange(len(weights) + 1)
    full = np.linspace(0, len(weights), _CELLS + 1).astype(np.int64)
    wide = np.searchsorted(weights, np.linspace(weights[0], weights[-1], _CELLS + 1))
    return np.unique(np.concatenate((full, wide)))


def _best_cuts(sums: _Sums, places: IntArray, parts: int) -> IntArray:
    """Where to cut at the places for the least total error of so many parts."""
    errors = sums.errors(places)
    best, origins = errors[0], []
    for _ in range(parts - 1):
        totals = best[:, None] + errors
        origins.append(totals.argmin(axis=0))
        best = totals[origins[-1], np.arange(len(places))]
    cuts = [len(places) - 1]
    for origin in reversed(origins):
        cuts.append(int(origin[cuts[-1]]))
    return places[np.array(cuts[:0:-1], np.int64)]


def pws(weights: Array, most: int, importance: Array | None = None) -> Codebook:
    """Quantiles; all of the weights count alike."""
    return Codebook(np.unique(np.quantile(weights, np.linspace(0, 1, most) if most > 1 else [0.5])))


def drawn(codebook: Codebook, weights: Array, rng: np.random.Generator) -> Array:
    """Each weight becomes one of the two values around it, the nearer one more often."""
    values = codebook.values
    if len(values) == 1:
        return np.broadcast_to(values, weights.shape)
    low = np.clip(np.searchsorted(values, weights, side="right") - 1, 0, len(values) - 2)
    share = (weights - values[low]) / (values[low + 1] - values[low])
    return np.asarray(values[low + (rng.random(weights.shape) < share)])


def uq(weights: Array, most: int, importance: Array | None = None) -> Codebook:
    """Multiples of the smallest delta. The grid is that of weights up to 1; it is scaled for larger ones."""
    found = np.unique(weights)
    probe = found[np.linspace(0, len(found) - 1, min(_PROBE, len(found))).astype(np.int64)]
    unit = 2.0 ** max(0, np.ceil(np.log2(max(np.abs(found[[0, -1]]).max(), 1e-30))))
    deltas = (unit * (_FIRST_DELTA + _DELTA_STEP * i) for i in count())
    delta = next(d for d in deltas if _levels(probe, d) <= most and _levels(found, d) <= most)
    return Codebook(delta * np.unique(np.rint(found / delta)))


def _levels(ascending: Array, delta: float) -> int:
    return 1 + int(np.count_nonzero(np.diff(np.rint(ascending / delta))))


def ecsq(weights: Array, most: int, importance: Array | None = None) -> Codebook:
    """Weights that lie evenly keep all their cells whatever lambda is; then fewer are there from the start."""
    found = np.sort(weights)
    tries = (_with_best_lambda(found, most, times * most) for times in (_START, 2, 1))
    return next(c for c in tries if len(c.values) <= most)


def _with_best_lambda(ascending: Array, most: int, cells: int) -> Codebook:
    """Lambda is bisected on a logarithmic scale: the smallest that leaves no more values than asked for."""
    spread = float(ascending[-1] - ascending[0])
    low, high = np.log(_LEAST_LAMBDA), np.log(max(spread, _LEAST_LAMBDA) * _MOST_LAMBDA)
    best = _entropy_constrained(ascending, most, cells, float(np.exp(high)))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        tried = _entropy_constrained(ascending, most, cells, float(np.exp(middle)))
        if len(tried.values) > most:
            low = middle
            continue
        high = middle
        best = tried if len(tried.values) > len(best.values) or len(best.values) > most else best
        if len(best.values) == most:
            break
    return best


def _entropy_constrained(ascending: Array, most: int, cells: int, weighting: float) -> Codebook:
    """What one lambda leaves of so many cells, which are the intervals between `places`."""
    total = np.concatenate(([0.0], np.cumsum(ascending)))
    places = np.unique(np.linspace(0, len(ascending), cells + 1).astype(np.int64))
    cost, found = np.inf, Codebook(np.zeros(0))
    for _ in range(_ROUNDS):
        values, price = _cells_of(total, places, weighting)
        kept = _undominated(values, price)
        values, price = values[kept], price[kept]
        found = Codebook(values, np.diff(price) / 2)
        ends = np.searchsorted(ascending, found.edges)
        places = np.unique(np.concatenate(([0], ends, [len(ascending)])))
        before, cost = cost, _cost(ascending, total, found, price)
        if len(values) <= most or abs(before - cost) <= _TOLERANCE * cost:
            break
    return found


def _cells_of(total: Array, places: IntArray, weighting: float) -> tuple[Array, Array]:
    """The mean of each cell, and what its use costs: -lambda * ln p."""
    sizes = np.diff(places)
    return np.diff(total[places]) / sizes, -weighting * np.log(sizes / places[-1])


def _undominated(values: Array, price: Array) -> Array:
    """The cells that are the best for any weight: |w - c| has one slope, so a neighbour is better everywhere or not."""
    inf = np.array([np.inf])
    left = np.concatenate((inf, np.minimum.accumulate(price - values)[:-1])) + values
    right = np.concatenate((np.minimum.accumulate((price + values)[::-1])[-2::-1], inf)) - values
    return np.asarray((price < left) & (price <= right))


def _cost(ascending: Array, total: Array, codebook: Codebook, price: Array) -> float:
    """The sum of |w - c| - lambda * ln p."""
    values, ends = codebook.values, np.searchsorted(ascending, codebook.edges)
    first, last = np.concatenate(([0], ends)), np.concatenate((ends, [len(ascending)]))
    middle = np.clip(np.searchsorted(ascending, values), first, last)
    below = values * (middle - first) - (total[middle] - total[first])
    above = (total[last] - total[middle]) - values * (last - middle)
    return float((below + above + price * (last - first)).sum())


METHODS: Mapping[str, Method] = {"cws": cws, "pws": pws, "uq": uq, "ecsq": ecsq}
