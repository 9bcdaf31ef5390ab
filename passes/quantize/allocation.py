"""Which choice for each row, when all choices together have a budget: the multiple-choice knapsack problem.

Solved exactly by dynamic programming over sizes (Dudzinski & Walukiewicz 1987, "Exact Methods for the Knapsack Problem
and its Generalizations"): the least cost of the first rows within every size follows from that of one row fewer.
"""

from __future__ import annotations

import math

import numpy as np

from irc.types import Array, IntArray

_STATES = 1 << 16  # sizes told apart, at most


def allocate(costs: Array, sizes: IntArray, bound: int) -> IntArray:
    """The choice of each row, by least sum of `costs` [rows, choices] whose sum of `sizes` is at most `bound`.

    A choice that a row does not have costs infinity; its size does not matter. Raises ValueError when the smallest
    choices together exceed the bound. Sizes are counted in their common divisor. Where the bound is so large that the
    table would be, they are counted in a larger unit and rounded up: what is chosen then still fits the bound, and is
    at least as good as all that fits one smaller by a unit a row and one more (a unit is 1/65536 of the bound).
    """
    possible = np.isfinite(costs)
    least = np.where(possible, sizes, np.iinfo(np.int64).max).min(axis=1, keepdims=True)
    extra = np.where(possible, sizes - least, 0)
    room = int(bound - least.sum())
    if room < 0:
        raise ValueError(f"the smallest choices take {least.sum()}, more than {bound}")
    divisor = math.gcd(*extra.ravel().tolist()) or 1
    unit = divisor * max(1, -(-min(room, int(extra.max(axis=1).sum())) // (divisor * _STATES)))
    steps = -(-extra // unit)
    return _traced(costs, steps, min(room // unit, int(steps.max(axis=1).sum())))


def _traced(costs: Array, steps: IntArray, room: int) -> IntArray:
    """The choices of least cost with at most `room` steps; each row has a choice of no steps."""
    best, taken = np.zeros(room + 1), np.empty((len(costs), room + 1), np.int8)
    for row, (cost, step) in enumerate(zip(costs, steps, strict=True)):
        tries = np.stack([_behind(best, s) + c for c, s in zip(cost, step, strict=True)])
        taken[row] = tries.argmin(axis=0)
        best = tries.min(axis=0)
    chosen = np.empty(len(costs), np.int64)
    for row in reversed(range(len(costs))):
        chosen[row] = taken[row, room]
        room -= steps[row, chosen[row]]
    return chosen


def _behind(best: Array, step: int) -> Array:
    """The least cost within each size less `step`."""
    moved = np.full_like(best, np.inf)
    moved[step:] = best[: max(len(best) - step, 0)]
    return moved
