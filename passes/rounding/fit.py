"""Letters and scales of a whole weight matrix, fitted together to the layer's output.

Three steps in turn, each of which lowers the squared output error: rounding with compensation
(`passes.reconstruction.compensate`), every weight chosen again given all others, and the scale of least squares for the
letters chosen. Matrices are [groups, rows, columns] as in `passes.reconstruction.products`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from irc.types import Array, IntArray
from passes.reconstruction.compensate import Nearest, compensated, damped, descended
from passes.rounding.alphabet import Alphabet
from passes.rounding.scales import Grid, best_scale, largest_scale

_ROUNDS = 5  # of letters and scales in turn
_SWEEPS = 4
_WORK = 1e11  # multiply-accumulates that refinement may cost; a layer of 4096 x 4096 gets one sweep
_DAMPING = 1e-4


@dataclass(frozen=True, slots=True)
class Letters:
    """A matrix in an alphabet: value = letter * scale. `scale` is [groups, rows, 1 for each segment of columns]."""

    letters: Array
    scale: Array
    segment: IntArray

    @property
    def values(self) -> Array:
        return np.asarray(self.letters * self.scale[:, :, self.segment])


@dataclass(frozen=True, slots=True)
class Rounding:
    """How a matrix is to be rounded. Columns of one constant are a segment of `widths` with scales of its own, one a
    row, or a single one with `shared`. Weights that are not `kept` become zero."""

    alphabet: Alphabet
    grid: Grid
    widths: Sequence[int]
    shared: bool = False
    search: bool = True  # scales of least squared error to start from; else such that nothing is clipped
    kept: Array | None = None

    @property
    def segment(self) -> IntArray:
        """The segment of each column."""
        return np.repeat(np.arange(len(self.widths)), self.widths)

    def start(self, wanted: Array, importance: Array | None = None) -> Letters:
        """Nearest letters, with the scales of least squared error; `importance` [groups, columns] weighs columns."""
        groups, rows, _ = wanted.shape
        edges = np.cumsum((0, *self.widths))
        scale = np.empty((groups, rows, len(self.widths)))
        for i, part in enumerate(slice(*edge) for edge in pairwise(edges)):
            flat = wanted[:, :, part].reshape(1 if self.shared else groups * rows, -1)
            weights = None if importance is None else np.broadcast_to(
                importance[:, None, part], wanted[:, :, part].shape).reshape(flat.shape)
            found = (best_scale(flat, self.alphabet, self.grid, weights) if self.search else
                     largest_scale(flat, self.alphabet, self.grid))
            scale[:, :, i] = found.reshape((1, 1) if self.shared else (groups, rows))
        return self.nearest_letters(wanted, scale)

    def nearest_letters(self, wanted: Array, scale: Array) -> Letters:
        """The nearest letters with given scales."""
        letters = self.alphabet.nearest(wanted / scale[:, :, self.segment])
        return Letters(letters if self.kept is None else letters * self.kept, scale, self.segment)

    def fit(self, wanted: Array, gram: Array) -> Letters:
        """Letters and scales with which (wanted - values) gram (wanted - values)' of every row is small."""
        found = self.start(wanted, np.einsum("gii->gi", gram))
        values = compensated(wanted, gram, self._nearest(found.scale))
        return self.refined(wanted, gram, Letters(np.rint(values / found.scale[:, :, found.segment]), found.scale,
                                                  found.segment))

    def refined(self, wanted: Array, gram: Array, found: Letters) -> Letters:
        """Letters and scales in turn, each the best for the other, until nothing changes."""
        sweeps = int(min(_ROUNDS * _SWEEPS, _WORK // (wanted.size * wanted.shape[2] + 1)))
        if not sweeps:
            return found
        hessian = damped(gram, _DAMPING)
        goal = wanted @ hessian
        for _ in range(-(-sweeps // _SWEEPS)):
            scale, pull = self._least_squares(goal, wanted, hessian, found)
            start = Letters(found.letters, scale, found.segment).values
            values = descended(wanted, start, hessian, self._nearest(scale), min(sweeps, _SWEEPS), pull)
            letters = np.rint(values / scale[:, :, found.segment])
            if np.array_equal(letters, found.letters) and np.array_equal(scale, found.scale):
                break
            found, sweeps = Letters(letters, scale, found.segment), sweeps - _SWEEPS
        return found

    def _nearest(self, scale: Array) -> Nearest:
        def nearest(values: Array, columns: IntArray) -> Array:
            steps = scale[:, :, self.segment[columns]]
            found = self.alphabet.nearest(values / steps) * steps
            return np.asarray(found if self.kept is None else found * self.kept[:, :, columns])

        return nearest

    def _least_squares(self, goal: Array, wanted: Array, hessian: Array, found: Letters) -> tuple[Array, Array]:
        """The scale of each row and segment with the least squared error, the others as they are; and with it
        (wanted - values) hessian, where `goal` is wanted hessian."""
        scale, pull = found.scale.copy(), goal
        pulled = [np.where(found.segment == i, found.letters, 0.0) @ hessian for i in range(len(self.widths))]
        for i, part in enumerate(pulled):
            pull = pull - part * scale[:, :, i, None]
        for i, part in enumerate(pulled):
            mine = found.segment == i
            gain, norm = ((a * found.letters)[:, :, mine].sum(axis=2) for a in (pull, part))
            if self.shared:
                gain, norm = (np.broadcast_to(a.sum(), gain.shape) for a in (gain, norm))
            old = scale[:, :, i]
            best = old + gain / np.where(norm > 0, norm, 1.0)
            new = np.where(best > 0.1 * old, self.grid.nearest(np.maximum(best, 0.1 * old)), old)
            pull = pull - part * (new - old)[:, :, None]
            scale[:, :, i] = new
        return scale, pull


def zeros_kept(matrix: Array, target: Array, alphabet: Alphabet) -> Array | None:
    """What is not zero in `target`, the weights before any was rounded: zeros stay zero, as those that were pruned,
    where the alphabet has a zero. None when there are none to keep."""
    kept = np.asarray(target != 0)
    if kept.all() or kept.shape != matrix.shape or np.any(alphabet.nearest(np.zeros(1))):
        return None
    return kept
