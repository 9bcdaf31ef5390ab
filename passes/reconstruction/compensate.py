"""Weights from an alphabet, chosen so that the output error of the whole row is small.

Rounding one weight makes an error that the weights not yet rounded can make good: the optimal brain surgeon
(Hassibi & Stork 1993) in a fixed order of columns, as in GPTQ (Frantar et al. 2023) and, with zero as the only other
choice, SparseGPT (Frantar & Alistarh 2023). Afterwards every weight is chosen once more given all others (coordinate
descent, Behdin et al. 2023, "QuantEase").

All arrays are [groups, rows, columns]; `gram` [groups, columns, columns] is the Hessian of the squared error of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from irc.types import Array
from passes.reconstruction.statistics import Statistics

Nearest: TypeAlias = Callable[[Array, Array], Array]
"""The allowed values nearest to wanted ones [groups, rows, n] of the columns with indices [n]."""

_BLOCK = 64  # columns whose errors are spread over the others at once


def damped(gram: Array, damping: float) -> Array:
    """The Hessian with a fraction of its mean diagonal added to the diagonal, so that it can be inverted."""
    size = gram.shape[-1]
    level = np.trace(gram, axis1=1, axis2=2)[:, None] / size * damping
    return np.asarray(gram + np.where(level > 0, level, 1.0)[..., None] * np.eye(size))


def aligned(target: Array, matrix: Array, statistics: Statistics, damping: float = 0.01,
            drift: Array | float = 0.0) -> Array:
    """The real weights with which the compressed network's inputs best give the original's outputs (and `drift`, the
    second moments with the inputs of what else the outputs lack).

    `target` are the original weights; `matrix`, as many rows and the columns that are left, is what damping pulls to.
    """
    missing = target @ statistics.cross + drift - matrix @ statistics.gram
    return np.asarray(matrix + np.linalg.solve(damped(statistics.gram, damping), missing.swapaxes(1, 2)).swapaxes(1, 2))


def compensated(wanted: Array, gram: Array, nearest: Nearest, damping: float = 0.01) -> Array:
    """Round column by column, each error compensated in the columns that are still free."""
    order = np.argsort(-np.einsum("gii->i", gram), kind="stable")
    hessian = damped(gram, damping)[:, order][:, :, order]
    # U upper triangular with U'U the inverse: of the reversed Hessian's Cholesky factor
    factor = np.linalg.inv(np.linalg.cholesky(hessian[:, ::-1, ::-1]))[:, ::-1, ::-1]
    free, found = wanted[:, :, order], np.empty_like(wanted)
    for start in range(0, len(order), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(order)))
        errors = _round_block(free[:, :, block], found[:, :, block], factor[:, block, block], nearest, order[block])
        free[:, :, block.stop :] -= errors @ factor[:, block, block.stop :]
    return np.asarray(found[:, :, np.argsort(order)])


def _round_block(free: Array, found: Array, factor: Array, nearest: Nearest, columns: Array) -> Array:
    """Round the columns of one block into `found`; returns the errors in units of the diagonal."""
    errors = np.empty_like(free)
    for j in range(free.shape[2]):
        one = slice(j, j + 1)
        found[:, :, one] = nearest(free[:, :, one], columns[one])
        errors[:, :, one] = (free[:, :, one] - found[:, :, one]) / factor[:, one, one]
        free[:, :, j:] -= errors[:, :, one] * factor[:, one, j:]
    return errors


def descended(wanted: Array, found: Array, hessian: Array, nearest: Nearest, sweeps: int) -> Array:
    """Choose every weight again, given all others, `sweeps` times; the squared error never grows.

    `hessian` is a Gram matrix, `damped` so that its diagonal is positive.
    """
    found = found.copy()
    pull = (wanted - found) @ hessian  # half the gradient, with its sign turned
    diagonal = np.einsum("gii->gi", hessian)
    for _ in range(sweeps):
        before = found.copy()
        for start in range(0, found.shape[2], _BLOCK):
            block = slice(start, min(start + _BLOCK, found.shape[2]))
            change = _descend_block(found[:, :, block], pull[:, :, block].copy(), hessian[:, block, block],
                                    diagonal[:, block], nearest, np.arange(block.start, block.stop))
            pull -= change @ hessian[:, block]
        if np.array_equal(before, found):
            break
    return found


def _descend_block(found: Array, pull: Array, hessian: Array, diagonal: Array, nearest: Nearest,
                   columns: Array) -> Array:
    change = np.zeros_like(found)
    for j in range(found.shape[2]):
        one = slice(j, j + 1)
        best = nearest(found[:, :, one] + pull[:, :, one] / diagonal[:, None, one], columns[one])
        step = best - found[:, :, one]
        found[:, :, one] = best
        change[:, :, one] += step
        pull -= step * hessian[:, one]
    return change
