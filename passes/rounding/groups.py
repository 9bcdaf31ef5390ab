"""Rounding in groups: the weights that are left make good for the groups before them.

The largest half of each row is rounded first, then half of the rest, and so on: the order of incremental network
quantization (Zhou et al. 2017), in which least squares takes the place of retraining.
"""

from __future__ import annotations

import numpy as np

from irc.types import Array
from passes.reconstruction.compensate import damped
from passes.reconstruction.sparse import solved_on
from passes.rounding.fit import Letters, Rounding

_SHARES = (0.5, 0.75, 0.875, 1.0)  # rounded after each step
_DAMPING = 0.01


def fit_by_magnitude(rounding: Rounding, wanted: Array, gram: Array) -> Letters:
    """Letters and scales of `wanted` [groups, rows, columns], for the least error under `gram`, largest first."""
    hessian = damped(gram, _DAMPING)
    found = rounding.start(wanted, np.einsum("gii->gi", gram))
    there = np.ones(wanted.shape, np.bool_) if rounding.kept is None else rounding.kept
    free = wanted * there
    rank = np.argsort(np.argsort(-np.abs(free), axis=2, kind="stable"), axis=2, kind="stable")
    for share in _SHARES:
        fixed = rank < np.rint(share * there.sum(axis=2, keepdims=True))
        letters = np.where(fixed, rounding.nearest_letters(free, found.scale).letters, 0.0)
        kept = Letters(letters, found.scale, found.segment).values
        free = kept + solved_on(~fixed & there, wanted - kept, hessian)
    return rounding.refined(wanted, gram, Letters(letters, found.scale, found.segment))
