"""A quantizer as the step function of an integer that it is: any rounding, any affine map before it, exactly.

Method: result j is reached where the real does (`irc.rounding.edge`), so each threshold is one division of rationals
(Umuroglu et al. 2017, "FINN", section 4.2.2, for batch normalization in front of a binary activation).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from irc.types import IntArray, Integer

MOST_STEPS = 1023  # thresholds of one channel, a comparator each


@dataclass(frozen=True, slots=True)
class Affine:
    """real = scale * q + shift, in one channel; the scale is not negative."""

    scale: Fraction
    shift: Fraction

    def reached(self, real: Fraction, included: bool, form: Integer) -> int:
        """The smallest q of `form` whose real is at least (`included`) or above `real`; one more than all if none."""
        if self.scale == 0:
            always = self.shift >= real if included else self.shift > real
            return form.minimum if always else form.maximum + 1
        at = (real - self.shift) / self.scale
        q = math.ceil(at) if included else math.floor(at) + 1
        return min(max(q, form.minimum), form.maximum + 1)


@dataclass(frozen=True, slots=True)
class Steps:
    """What a quantizer makes of reals: results `low` to `high`, and where it reaches those above `low`."""

    low: int
    high: int
    edges: tuple[tuple[Fraction, bool], ...]

    def thresholds(self, channels: Iterable[Affine], form: Integer) -> IntArray:
        """[channels, high - low] smallest integers of `form` that reach each result, at least one column."""
        edges = self.edges or ((Fraction(0), True),)
        rows = [[line.reached(*at, form) for at in edges] for line in channels]
        found = np.array(rows, np.int64)
        return found if self.edges else np.full_like(found, form.maximum + 1)
