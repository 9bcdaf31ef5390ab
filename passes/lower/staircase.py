"""A quantizer as the step function of an integer that it is: any rounding, any affine map before it, exactly.

Method: result j is reached where the real does (`irc.rounding.edge`), so each threshold is one division of rationals
(Umuroglu et al. 2017, "FINN", section 4.2.2, for batch normalization in front of a binary activation).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from irc.types import Array, IntArray, Integer

MOST_STEPS = 1023  # thresholds of one channel, a comparator each


@dataclass(frozen=True, slots=True)
class Affine:
    """real = scale * q + shift, in one channel; the scale is not negative."""

    scale: Fraction
    shift: Fraction

    def reached(self, edges: Edges, form: Integer) -> IntArray:
        """For each edge the smallest q of `form` whose real is there or, if it is not included, above it; one more
        than all if none."""
        if self.scale == 0:
            at = self.shift * edges.bottom
            always = np.where(edges.included, edges.tops <= at, edges.tops < at)
            return np.where(always, form.minimum, form.maximum + 1)
        bottom = edges.bottom * self.shift.denominator * self.scale.numerator
        moved = edges.tops * self.shift.denominator - self.shift.numerator * edges.bottom
        q = (moved * self.scale.denominator + bottom - edges.included.astype(object)) // bottom  # up, or to the next
        return np.asarray(np.clip(q, form.minimum, form.maximum + 1), np.int64)


@dataclass(frozen=True, slots=True)
class Edges:
    """Reals over one denominator, in Python's integers of any size; whether each belongs to the step behind it."""

    tops: Array
    bottom: int
    included: Array

    @classmethod
    def of(cls, edges: Sequence[tuple[Fraction, bool]]) -> Edges:
        bottom = math.lcm(*(real.denominator for real, _ in edges))
        tops = [real.numerator * (bottom // real.denominator) for real, _ in edges]
        return cls(np.array(tops, object), bottom, np.array([included for _, included in edges]))


@dataclass(frozen=True, slots=True)
class Steps:
    """What a quantizer makes of reals: results `low` to `high`, and where it reaches those above `low`."""

    low: int
    high: int
    edges: tuple[tuple[Fraction, bool], ...]

    def thresholds(self, channels: Iterable[Affine], form: Integer) -> IntArray:
        """[channels, high - low] smallest integers of `form` that reach each result, at least one column."""
        edges, lines = Edges.of(self.edges or ((Fraction(0), True),)), tuple(channels)
        rows = {line: line.reached(edges, form) for line in dict.fromkeys(lines)}
        found = np.array([rows[line] for line in lines])
        return found if self.edges else np.full_like(found, form.maximum + 1)
