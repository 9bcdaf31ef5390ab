"""The exact step function behind a requantization, and its cheapest multiplier, offset and shift.

acc -> clip(round_half_even(acc * n / d) + zero) is monotone, so it is known completely by its thresholds: T[k] is the
smallest acc whose result is at least k. A multiplier m, offset b and shift s compute the same function iff

    m * T[k] + b >= k * 2^s    and    m * (T[k] - 1) + b < k * 2^s

for every k that a reachable acc tells apart. For given m and s that is an interval of b; when it is not empty,
equality is proven for every reachable accumulator, not tested. If (m, b, s) works so does (2m, 2b, s + 1): shifts can
be bisected.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from irc.types import Array, IntArray, Integer, signed_digit_mask

_WIDTH = 60  # bits that m * acc + b may take, so that int64 arithmetic is exact everywhere
_NEAR = np.arange(-3, 4)
_WIDE = np.arange(-48, 49)
_LIKELY = 16  # bits of multipliers that are not searched for
_EXTRA = 8  # shifts beyond the smallest one in which multipliers of few digits are looked for


@dataclass(frozen=True, slots=True)
class Steps:
    """The function of one channel on [low, high]: results `first` .. `first + len(thresholds)`.

    `thresholds[i]` is the smallest acc with a result of at least `first + 1 + i`. `free_low` and `free_high` say that
    clipping takes care of everything below or above."""

    low: int
    high: int
    first: int
    thresholds: IntArray
    free_low: bool
    free_high: bool


def result(acc: int, top: int, bottom: int, zero: int, to: Integer) -> int:
    """clip(round_half_even(acc * top / bottom) + zero), exactly."""
    down, rest = divmod(acc * top, bottom)
    up = 2 * rest > bottom or (2 * rest == bottom and down % 2 == 1)
    return min(max(down + up + zero, to.minimum), to.maximum)


def exact_steps(ends: tuple[int, int], line: Line, zero: int, to: Integer) -> Steps:
    """The thresholds within the range in integer arithmetic: round(y) >= j means y >= j - 1/2, or > when j is odd."""
    low, high = (line.gain * end + line.constant for end in ends)
    first, last = (result(end, line.top, line.bottom, zero, to) for end in (low, high))
    exact = _exact_dtype(line, 2 * (to.maximum - to.minimum) + 2 * abs(zero))
    j: Array = np.arange(first + 1, last + 1).astype(exact) - zero
    edge = (2 * j - 1) * line.bottom  # y = x * top / bottom reaches j - 1/2 where 2 * top * x reaches this
    x = np.where(j % 2 == 0, -((-edge) // (2 * line.top)), edge // (2 * line.top) + 1)
    thresholds = -((line.constant - x) // line.gain)  # smallest acc with gain * acc + constant >= x
    return Steps(*ends, first, thresholds.astype(np.int64), first == to.minimum, last == to.maximum)


def _exact_dtype(line: Line, largest: int) -> type:
    """int64 where it holds all products, Python integers elsewhere."""
    fits = largest * line.bottom < 1 << 62 and 2 * line.top < 1 << 62 and abs(line.constant) < 1 << 61
    return np.int64 if fits else object


@dataclass(frozen=True, slots=True)
class Line:
    """What is rounded: (gain * acc + constant) * top / bottom, gain positive."""

    gain: int
    constant: int
    top: int
    bottom: int

    @property
    def slope(self) -> float:
        return self.gain * (self.top / self.bottom)


@dataclass(frozen=True, slots=True)
class Search:
    """Multipliers and offsets of one channel: rows `m * at + b >= level * 2^s` and `m * at + b < level * 2^s`."""

    slope: float
    at: IntArray
    level: IntArray
    upper_at: IntArray
    upper_level: IntArray

    @classmethod
    def of(cls, steps: Steps, slope: float) -> Search:
        """Where no clip helps, the ends of the range count too."""
        level = steps.first + 1 + np.arange(len(steps.thresholds), dtype=np.int64)
        at, upper_at, upper_level = steps.thresholds, steps.thresholds - 1, level
        if not steps.free_low:
            at, level = np.append(at, steps.low), np.append(level, steps.first)
        if not steps.free_high:
            upper_at = np.append(upper_at, steps.high)
            upper_level = np.append(upper_level, steps.first + len(steps.thresholds) + 1)
        return cls(slope, at, level, upper_at, upper_level)

    def last_shift(self, largest: int) -> int:
        """The largest shift at which no sum of the search leaves 64 bits, for accumulators up to `largest`."""
        levels = max(int(np.abs(a).max(initial=1)) for a in (self.level, self.upper_level))
        factor = math.log2(max(self.slope * (largest + 1), levels + 1, 1))
        near = math.log2(64 * (largest + 1))
        return min(int(_WIDTH - 1 - factor), 62) if near < _WIDTH - 2 else -1

    def solve(self, shift: int, wide: bool = False) -> tuple[IntArray, IntArray, IntArray]:
        """All multipliers near the slope that are right at this shift, with the interval of their offsets."""
        near = np.int64(round(self.slope * 2.0**shift)) + (_WIDE if wide else _NEAR)
        m = near[near >= 0]
        widest = 1 << _WIDTH
        least = ((self.level << shift) - m[:, None] * self.at).max(axis=1, initial=-widest)
        most = ((self.upper_level << shift) - 1 - m[:, None] * self.upper_at).min(axis=1, initial=widest)
        right = least <= most
        return m[right], least[right], most[right]

    def smallest_shift(self, least: int, last: int) -> int | None:
        """The first shift from `least` to `last` with a solution, found by bisection; None when there is none."""
        if least > last or len(self.solve(least)[0]):
            return least if least <= last else None
        if not len(self.solve(last)[0]):
            return None
        return bisect.bisect_left(range(last), True, least + 1, key=lambda s: len(self.solve(s)[0]) > 0)

    def cheapest(self, shift: int, wide: bool) -> tuple[int, int, int]:
        """Digits, multiplier and offset of the solution with the fewest nonzero digits (then the smallest)."""
        m, least, most = self.solve(shift, wide)
        if not len(m):
            return 64, 0, 0
        digits = nonzero_digits(m)
        i = int(np.lexsort((m, digits))[0])
        return int(digits[i]), int(m[i]), roundest(int(least[i]), int(most[i]))


def roundest(low: int, high: int) -> int:
    """The integer in [low, high] with the most trailing zeros."""
    if low <= 0 <= high:
        return 0
    differing = (low ^ high).bit_length()
    return low if low % (1 << differing) == 0 else high & -(1 << (differing - 1))


def nonzero_digits(values: IntArray) -> IntArray:
    """Nonzero digits of the canonical signed-digit form."""
    return np.bitwise_count(signed_digit_mask(values)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Multipliers:
    """(acc * multiplier + offset) >> shift, channel by channel."""

    shift: int
    multiplier: IntArray
    offset: IntArray
    digits: int


def multipliers(searches: Sequence[Search], largest: int, terms: int | None) -> Multipliers | None:
    """The solution of smallest common shift; None when there is none.

    With `terms`, larger shifts are tried too, until every multiplier has at most that many nonzero digits (0: as few
    as can be found)."""
    first, last = 0, min(s.last_shift(largest) for s in searches)
    for search in searches:  # what solves the channels before is where this one starts: most need no bisection
        shift = search.smallest_shift(first, last)
        if shift is None:
            return None
        first = shift
    if terms is None:
        return _at(searches, first, False)
    tried = []
    for shift in range(first, min(first + _EXTRA, last) + 1):
        tried.append(_at(searches, shift, True))
        if tried[-1].digits <= max(terms, 1):
            break
    return min(tried, key=lambda t: t.digits)


def _at(searches: Sequence[Search], shift: int, wide: bool) -> Multipliers:
    rows = np.array([s.cheapest(shift, wide) for s in searches], np.int64)
    return Multipliers(shift, rows[:, 1], rows[:, 2], int(rows[:, 0].max()))


def likely(lines: Sequence[Line], zero: int) -> Multipliers:
    """The ratios rounded to _LIKELY bits, which nearly always is enough; nothing is proven."""
    slopes = np.array([line.slope for line in lines])
    shift = min(max(_LIKELY - math.frexp(float(slopes.max()))[1], 0), 62)
    unit = 2.0**shift
    constants = np.array([line.constant * (line.top / line.bottom) for line in lines])
    widest = 2.0**_WIDTH
    multiplier = np.rint(np.minimum(slopes * unit, widest)).astype(np.int64)
    offset = np.clip(np.rint((constants + zero + 0.5) * unit), -widest, widest).astype(np.int64)
    return Multipliers(shift, multiplier, offset, int(nonzero_digits(multiplier).max()))
