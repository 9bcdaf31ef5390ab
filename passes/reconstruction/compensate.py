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
    factor = _inverse_factor(damped(gram, damping)[:, order[:, None], order])
    free = _by_column(wanted)[:, order]
    found = np.empty_like(free)
    for start in range(0, len(order), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(order)))
        errors = _round_block(free[:, block], found[:, block], factor[:, block, block], nearest, order[block])
        free[:, block.stop :] -= factor[:, block, block.stop :].swapaxes(1, 2) @ errors
    return np.ascontiguousarray(_by_row(found[:, np.argsort(order)]))


def _by_column(matrix: Array) -> Array:
    """[groups, columns, rows], in this order in memory: whoever goes column by column reads what lies together."""
    return np.ascontiguousarray(matrix.swapaxes(1, 2))


def _by_row(columns: Array) -> Array:
    return columns.swapaxes(1, 2)


def _inverse_factor(hessian: Array) -> Array:
    """U upper triangular with U'U the inverse: of the reversed Hessian's Cholesky factor."""
    lower = np.linalg.cholesky(hessian[:, ::-1, ::-1])
    _invert_triangle(lower)
    return lower[:, ::-1, ::-1]


def _invert_triangle(lower: Array) -> None:
    """Lower triangular matrices become their inverses, half by half: a sixth of the work of a general inverse."""
    size = lower.shape[-1]
    if size <= _BLOCK:
        lower[...] = np.linalg.inv(lower)
        return
    first, second = slice(0, size // 2), slice(size // 2, size)
    _invert_triangle(lower[:, first, first])
    _invert_triangle(lower[:, second, second])
    lower[:, second, first] = -lower[:, second, second] @ (lower[:, second, first] @ lower[:, first, first])


def _round_block(free: Array, found: Array, factor: Array, nearest: Nearest, columns: Array) -> Array:
    """Round the columns of one block into `found`; returns the errors in units of the diagonal. All by column."""
    errors = np.empty_like(free)
    for j in range(free.shape[1]):
        one = slice(j, j + 1)
        found[:, one] = _by_row(nearest(_by_row(free[:, one]), columns[one]))
        errors[:, one] = (free[:, one] - found[:, one]) / factor[:, one, one]
        free[:, j + 1 :] -= _by_row(factor[:, one, j + 1 :]) * errors[:, one]
    return errors


def descended(wanted: Array, found: Array, hessian: Array, nearest: Nearest, sweeps: int,
              pull: Array | None = None) -> Array:
    """Choose every weight again, given all others, `sweeps` times; the squared error never grows.

    `hessian` is a Gram matrix, `damped` so that its diagonal is positive. `pull` is (wanted - found) hessian, half the
    gradient with its sign turned, where that is known.
    """
    force = _by_column((wanted - found) @ hessian if pull is None else pull)
    chosen, diagonal = _by_column(found), np.einsum("gii->gi", hessian)
    for _ in range(sweeps):
        moved = False
        for start in range(0, chosen.shape[1], _BLOCK):
            block = slice(start, min(start + _BLOCK, chosen.shape[1]))
            change = _descend_block(chosen[:, block], force[:, block].copy(), hessian[:, block, block],
                                    diagonal[:, block], nearest, np.arange(block.start, block.stop))
            if change.any():
                force -= hessian[:, :, block] @ change
                moved = True
        if not moved:
            break
    return np.ascontiguousarray(_by_row(chosen))


def _descend_block(found: Array, force: Array, hessian: Array, diagonal: Array, nearest: Nearest,
                   columns: Array) -> Array:
    """Choose the columns of one block again, in place; returns the changes. All by column."""
    change = np.zeros_like(found)
    for j in range(found.shape[1]):
        one = slice(j, j + 1)
        target = found[:, one] + force[:, one] / diagonal[:, one, None]
        best = _by_row(nearest(_by_row(target), columns[one]))
        change[:, one] = best - found[:, one]
        found[:, one] = best
        force -= _by_row(hessian[:, one]) * change[:, one]
    return change
