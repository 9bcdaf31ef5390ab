"""Which weights of a matrix [rows, columns] go together, and how many may stay.

Worth is never negative. A granularity turns the worth of single weights into that of its units, and makes the function
that says which weights stay when so many units have gone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from irc.types import Array, IntArray, Shape
from passes.reconstruction.sparse import Keep


def smallest(worth: Array, count: int) -> Array:
    """Marks exactly `count` of the smallest entries of [n]; of equal ones the first."""
    marked = np.zeros(len(worth), np.bool_)
    if count:
        limit = np.partition(worth, count - 1)[count - 1]
        marked = worth < limit
        marked[np.flatnonzero(worth == limit)[: count - int(marked.sum())]] = True
    return marked


class Granularity(ABC):
    """`fixed`: the pattern itself says how many weights stay."""

    __slots__ = ()
    fixed: ClassVar[bool] = False

    @abstractmethod
    def units(self, worth: Array) -> Array:
        """The worth of every unit [n]."""

    @abstractmethod
    def keeper(self, worth: Array, removed: int) -> Keep:
        """Which weights stay when `removed` units go; `worth` is a first opinion."""

    def fits(self, shape: Shape) -> bool:
        """Whether a matrix is large enough."""
        return True


@dataclass(frozen=True, slots=True)
class Elements(Granularity):
    """Every weight by itself."""

    def units(self, worth: Array) -> Array:
        return worth.reshape(-1)

    def keeper(self, worth: Array, removed: int) -> Keep:
        return lambda worth: ~smallest(worth.reshape(-1), removed).reshape(worth.shape)


@dataclass(frozen=True, slots=True)
class Blocks(Granularity):
    """Blocks of rows x columns; smaller ones at the edges. A block is worth its largest weight, or their sum."""

    rows: int
    columns: int
    largest: bool = False

    def fits(self, shape: Shape) -> bool:
        return self.rows <= shape[0] and self.columns <= shape[1]

    def units(self, worth: Array) -> Array:
        starts = [np.arange(0, size, step) for size, step in zip(worth.shape, (self.rows, self.columns), strict=True)]
        join = np.maximum if self.largest else np.add
        return np.asarray(join.reduceat(join.reduceat(worth, starts[0], axis=0), starts[1], axis=1).reshape(-1))

    def keeper(self, worth: Array, removed: int) -> Keep:
        return lambda worth: self._spread(~smallest(self.units(worth), removed), worth.shape)

    def _spread(self, kept: Array, shape: Shape) -> Array:
        """What holds for blocks, for weights."""
        blocks = kept.reshape(-(-shape[0] // self.rows), -1)
        return blocks.repeat(self.rows, axis=0).repeat(self.columns, axis=1)[: shape[0], : shape[1]]


@dataclass(frozen=True, slots=True)
class Windows(Granularity):
    """Of every `size` consecutive weights of a row at most `kept` stay: N:M, and with one kept BMWM."""

    fixed: ClassVar[bool] = True
    kept: int
    size: int

    def fits(self, shape: Shape) -> bool:
        return self.size <= shape[1]

    def units(self, worth: Array) -> Array:
        return worth.reshape(-1)

    def keeper(self, worth: Array, removed: int) -> Keep:
        return lambda worth: best_of_windows(worth, self.kept, self.size)


def best_of_windows(worth: Array, kept: int, size: int) -> Array:
    """Marks the `kept` largest of every `size` consecutive entries of each row; of equal ones the first."""
    rows, columns = worth.shape
    padded = np.pad(worth, ((0, 0), (0, -columns % size)), constant_values=-1.0).reshape(rows, -1, size)
    order = np.argsort(-padded, axis=2, kind="stable")[:, :, :kept]
    marked = np.zeros(padded.shape, np.bool_)
    np.put_along_axis(marked, order, True, axis=2)
    return marked.reshape(rows, -1)[:, :columns]


LEAST, MOST = 0, 6  # logarithms of the smallest and the largest window of DARB: 3 bits a row


@dataclass(frozen=True, slots=True)
class AdaptiveWindows(Granularity):
    """DARB: of every b consecutive weights of a row one stays; b is a power of two of its own for each row.

    Weights are removed one by one first, which leaves row r the density d(r). Then b(r) is the power of two nearest to
    1 / d(r), all of them moved by one factor, so that as many weights go as should.
    """

    def units(self, worth: Array) -> Array:
        return worth.reshape(-1)

    def keeper(self, worth: Array, removed: int) -> Keep:
        stays = ~smallest(worth.reshape(-1), removed).reshape(worth.shape)
        sizes = adapted(stays.mean(axis=1), worth.shape[1], worth.size - removed)
        return lambda worth: _rows_apart(worth, sizes)


def adapted(density: Array, columns: int, wanted: int) -> IntArray:
    """The window of each row, so that all rows together keep as many weights as they can up to `wanted`.

    The factor only matters where a row changes over to the next power of two, so all that matter are tried.
    """
    ideal = -np.log2(np.maximum(density, 2.0 ** -(MOST + 2)))
    turns = (np.arange(LEAST, MOST)[:, None] + 0.5 - ideal).reshape(-1)  # where a row goes over to the next window
    moves = np.concatenate(([-float(MOST + 2)], np.unique(turns)))
    at = bisect_left(moves, -wanted, key=lambda move: -_kept(_moved(ideal, move), columns))  # larger moves keep fewer
    return _moved(ideal, moves[min(at, len(moves) - 1)])


def _moved(ideal: Array, move: float) -> IntArray:
    """Windows for logarithms `ideal` plus a move; half a step goes up."""
    exponents = np.clip(np.floor(ideal + move + 0.5 + 1e-9), LEAST, MOST)
    return np.asarray(2 ** exponents.astype(np.int64))


def _kept(sizes: IntArray, columns: int) -> int:
    return int((-(-columns // sizes)).sum())


def _rows_apart(worth: Array, sizes: IntArray) -> Array:
    """The largest of every window, rows of equal windows at once."""
    marked = np.zeros(worth.shape, np.bool_)
    for size in np.unique(sizes):
        rows = sizes == size
        marked[rows] = best_of_windows(worth[rows], 1, int(size))
    return marked
