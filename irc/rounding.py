"""How reals become integers: the rounding modes, as functions and as exact step edges.

Every mode is a monotone step function, so it is known completely by where it first reaches each integer j: at an edge,
which itself belongs to the step or not. That is what lowering to thresholds needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]  # types.py, which has this name too, stands above this module

HALF_EVEN = "half_even"


def _half_odd(x: Array) -> Array:
    return np.asarray(np.rint(x + 1) - 1)


def _away_from_zero(x: Array) -> Array:
    return np.asarray(np.copysign(np.ceil(np.abs(x)), x))


def _half_away_from_zero(x: Array) -> Array:
    return np.asarray(np.copysign(np.floor(np.abs(x) + 0.5), x))


def _half_toward_zero(x: Array) -> Array:
    return np.asarray(np.copysign(np.ceil(np.abs(x) - 0.5), x))


ROUNDING: Mapping[str, Callable[[Array], Array]] = {
    HALF_EVEN: np.rint,
    "half_odd": _half_odd,
    "floor": np.floor,
    "ceil": np.ceil,
    "toward_zero": np.trunc,
    "away_from_zero": _away_from_zero,
    "half_away_from_zero": _half_away_from_zero,
    "half_toward_zero": _half_toward_zero,
}
# the same whatever integer is added before; `half_even` and `half_odd` change places when it is odd
SHIFT_INVARIANT = frozenset({"floor", "ceil"})
_HALF = Fraction(1, 2)


def shifted(mode: str, by: int) -> str | None:
    """The mode m with m(x) = mode(x + by) - by; None when there is none."""
    if by == 0 or mode in SHIFT_INVARIANT:
        return mode
    if mode in (HALF_EVEN, "half_odd"):
        return mode if by % 2 == 0 else {HALF_EVEN: "half_odd", "half_odd": HALF_EVEN}[mode]
    return None


def edge(mode: str, j: int) -> tuple[Fraction, bool]:
    """Where `mode` first reaches j: at this number when the second part is true, else just above it."""
    match mode:
        case "half_even":
            return j - _HALF, j % 2 == 0
        case "half_odd":
            return j - _HALF, j % 2 == 1
        case "half_away_from_zero":
            return j - _HALF, j > 0
        case "half_toward_zero":
            return j - _HALF, j <= 0
        case "floor":
            return Fraction(j), True
        case "ceil":
            return Fraction(j - 1), False
        case "toward_zero":
            return (Fraction(j), True) if j > 0 else (Fraction(j - 1), False)
        case _:  # away_from_zero
            return (Fraction(j - 1), False) if j > 0 else (Fraction(j), True)
