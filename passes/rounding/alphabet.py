"""Alphabets: the integers that a weight, divided by its scale, may become."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from irc.types import Array, IntArray, Integer, PowerOfTwo


@dataclass(frozen=True, slots=True)
class Alphabet:
    """All integers from `low` to `high`, or only the ascending `levels`; stored in `form`."""

    form: Integer | PowerOfTwo
    low: int
    high: int
    levels: IntArray | None = field(default=None, compare=False)

    @property
    def uniform(self) -> bool:
        """Whether the integers have no gaps."""
        return self.levels is None

    def nearest(self, steps: Array) -> Array:
        """The letter nearest to each number, as float64."""
        if self.levels is None:
            return np.clip(np.rint(steps), self.low, self.high)
        middles = (self.levels[1:] + self.levels[:-1]) / 2
        return self.levels[np.searchsorted(middles, steps)].astype(np.float64)


def is_bipolar(form: Integer | PowerOfTwo) -> bool:
    """Whether a format means -1 and +1: one signed bit."""
    return form == Integer(True, 1)


def alphabet(form: Integer | PowerOfTwo) -> Alphabet:
    """The values of a format. One signed bit means -1 and +1, and is stored in the two bits that hold +1."""
    if is_bipolar(form):
        return Alphabet(Integer(True, 2), -1, 1, np.array([-1, 1]))
    return Alphabet(form, form.minimum, form.maximum, form.values() if isinstance(form, PowerOfTwo) else None)
