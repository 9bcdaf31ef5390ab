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

from irc.types import Array, IntArray, Integer, PowerOfTwo

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


def is_bipolar(form: Integer | PowerOfTwo) -> bool:
    """Whether a format means -1 and +1: one signed bit."""
    return form == Integer(True, 1)


def largest_value(form: Integer | PowerOfTwo) -> int:
    """The largest magnitude that weights of a format take on the positive side."""
    return 1 if is_bipolar(form) else form.maximum


def round_to(rows: Array, scale: Array, form: Integer | PowerOfTwo) -> IntArray:
    """The integer of `form` nearest to rows / scale, one scale a row."""
    steps = rows / scale[:, None]
    if is_bipolar(form):
        return np.where(steps < 0, np.int64(-1), np.int64(1))
    if isinstance(form, Integer):
        return np.clip(np.rint(steps), form.minimum, form.maximum).astype(np.int64)
    table = form.values()
    middles = (table[1:] + table[:-1]) / 2
    return table[np.searchsorted(middles, steps)]


@dataclass(frozen=True, slots=True)
class Grid:
    """Which scales may be chosen: multiples of `unit` with `bits` significant bits, none smaller than `least`."""

    bits: int
    unit: float = 1.0
    least: float = 0.0

    def nearest(self, scale: Array) -> Array:
        """The scale of the grid nearest to each one given."""
        return snap(np.maximum(scale, self.least), self.bits, self.unit)


def largest_scale(rows: Array, form: Integer, grid: Grid) -> Array:
    """One scale a row that represents the largest magnitude without clipping."""
    wanted = peaks(rows) / largest_value(form)
    found = grid.nearest(wanted)
    return np.where(found < wanted, grid.nearest(wanted * (1 + 2.0**-grid.bits)), found)


def best_scale(rows: Array, form: Integer | PowerOfTwo, grid: Grid) -> Array:
    """One scale a row, of least squared error over a grid of candidates."""
    base = peaks(rows) / largest_value(form)
    best, least = grid.nearest(base), np.full(len(rows), np.inf)
    for shrink in _candidates(form):
        scale = grid.nearest(base * shrink)
        loss = np.square(round_to(rows, scale, form) * scale[:, None] - rows).sum(axis=1)
        best, least = np.where(loss < least, scale, best), np.minimum(loss, least)
    return best


def _candidates(form: Integer | PowerOfTwo) -> Array:
    """A sum of powers of two looks alike in every octave, so one octave above the first is enough for it."""
    return _SHRINK if isinstance(form, Integer) else np.geomspace(0.8, 2.4, 64)
