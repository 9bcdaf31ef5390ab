"""Choice of quantization scales, by search for the least mean squared error.

The search is the one of Nahshan et al. 2021 (LAPQ) and Choukroun et al. 2019 with exponent 2: the best symmetric scale
is nearly always smaller than the one that the largest weight asks for, because clipping a few weights costs less than
coarser steps for all.

Scales have few significant bits. Nothing is lost by that (the search compares the candidates as they will be), and the
requantization of a layer, sx * sw / so, becomes a short multiplier and a shift: with so = p * 2^e, p odd, the weight
scale sw is sought among the multiples of p, so that p cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from irc.types import Array, IntArray
from passes.rounding.alphabet import Alphabet

_AT_ONCE = 1 << 14  # weights that are compared together: what fits a cache
_SHRINK = np.geomspace(2.0, 0.08, 120)  # from 2, because a short scale may have to be rounded up that far


def snap(scale: Array, bits: int, unit: float = 1.0) -> Array:
    """The nearest unit * m * 2^e with m of `bits` significant bits; 1 bit and unit 1 give a power of two."""
    mantissa, exponent = np.frexp(scale / unit)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits) * unit)


def odd_part(scale: float) -> float:
    """The odd integer p of scale = p * 2^e."""
    top = Fraction(scale).numerator
    return float(top // (top & -top))


def peaks(rows: Array) -> Array:
    """Largest magnitude of each row; rows of zeros take the largest of all (1 when all is zero)."""
    peak = np.abs(rows).max(axis=1, initial=0)
    return np.where(peak > 0, peak, peak.max(initial=0) or 1.0)


def round_to(rows: Array, scale: Array, letters: Alphabet) -> IntArray:
    """The letter nearest to rows / scale, one scale a row."""
    return letters.nearest(rows / scale[:, None]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Grid:
    """Which scales may be chosen: multiples of `unit` with `bits` significant bits, none smaller than `least`."""

    bits: int
    unit: float = 1.0
    least: float = 0.0

    def nearest(self, scale: Array) -> Array:
        """The scale of the grid nearest to each one given."""
        return snap(np.maximum(scale, self.least), self.bits, self.unit)


def largest_scale(rows: Array, letters: Alphabet, grid: Grid) -> Array:
    """One scale a row that represents the largest magnitude without clipping."""
    wanted = peaks(rows) / letters.high
    found = grid.nearest(wanted)
    return np.where(found < wanted, grid.nearest(wanted * (1 + 2.0**-grid.bits)), found)


def best_scale(rows: Array, letters: Alphabet, grid: Grid, weights: Array | None = None) -> Array:
    """One scale a row, of least squared error over a grid of candidates; `weights` say what each error counts."""
    base = peaks(rows) / letters.high
    found, step = np.empty(len(rows)), max(1, _AT_ONCE // max(rows.shape[1], 1))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        found[part] = _best(rows[part], base[part], letters, grid, None if weights is None else weights[part])
    return found


def _best(rows: Array, base: Array, letters: Alphabet, grid: Grid, weights: Array | None) -> Array:
    best, least = grid.nearest(base), np.full(len(rows), np.inf)
    for shrink in _SHRINK:
        scale = grid.nearest(base * shrink)
        squares = np.square(letters.nearest(rows / scale[:, None]) * scale[:, None] - rows)
        loss = squares.sum(axis=1) if weights is None else (squares * weights).sum(axis=1)
        best, least = np.where(loss < least, scale, best), np.minimum(loss, least)
    return best
