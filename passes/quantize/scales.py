"""Choice of quantization scales for constants, by search for the least mean squared error.

The search is the one of Nahshan et al. 2021 (LAPQ) and Choukroun et al. 2019 with exponent 2: the best symmetric scale
is nearly always smaller than the one that the largest weight asks for, because clipping a few weights costs less than
coarser steps for all.
"""

from __future__ import annotations

import numpy as np

from irc.types import Array, Integer, IntArray, PowerOfTwo

MANTISSA = 16  # significant bits of a scale: the product of two is exact, and ratios fit 63-bit fractions
_SHRINK = np.geomspace(1.1, 0.08, 96)


def snap(scale: Array, powers_of_two: bool) -> Array:
    """The scale rounded to 16 significant bits, or to the nearest power of two."""
    if powers_of_two:
        return np.asarray(np.exp2(np.rint(np.log2(scale))))
    mantissa, exponent = np.frexp(scale)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, MANTISSA)), exponent - MANTISSA))


def peaks(rows: Array) -> Array:
    """Largest magnitude of each row; rows of zeros take the largest of all (1 when all is zero)."""
    peak = np.abs(rows).max(axis=1, initial=0)
    return np.where(peak > 0, peak, peak.max(initial=0) or 1.0)


def round_to(rows: Array, scale: Array, form: Integer | PowerOfTwo) -> IntArray:
    """The integer of `form` nearest to rows / scale, one scale a row."""
    steps = rows / scale[:, None]
    if isinstance(form, Integer):
        return np.clip(np.rint(steps), form.minimum, form.maximum).astype(np.int64)
    table = form.values()
    middles = (table[1:] + table[:-1]) / 2
    return table[np.searchsorted(middles, steps)]


def largest_scale(rows: Array, form: Integer, powers_of_two: bool) -> Array:
    """One scale a row that represents the largest magnitude without clipping."""
    scale = peaks(rows) / form.maximum
    return np.exp2(np.ceil(np.log2(scale))) if powers_of_two else snap(scale, False)


def best_scale(rows: Array, form: Integer | PowerOfTwo, powers_of_two: bool = False) -> Array:
    """One scale a row, of least squared error over a grid of candidates."""
    base = peaks(rows) / form.maximum
    best, least = snap(base, powers_of_two), np.full(len(rows), np.inf)
    for shrink in _candidates(form):
        scale = snap(base * shrink, powers_of_two)
        loss = np.square(round_to(rows, scale, form) * scale[:, None] - rows).sum(axis=1)
        best, least = np.where(loss < least, scale, best), np.minimum(loss, least)
    return best


def _candidates(form: Integer | PowerOfTwo) -> Array:
    """A sum of powers of two looks alike in every octave, so one octave above the first is enough for it."""
    return _SHRINK if isinstance(form, Integer) else np.geomspace(0.8, 2.4, 64)
