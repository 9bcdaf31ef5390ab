"""Weights with zeros in them whose outputs stay close: which become zero, and what the others then are.

Where the zeros are is chosen by the alternating direction method of multipliers: least squares without zeros, and
zeros without least squares, pull each other together (Meng et al. 2024, "ALPS: Improved Optimization for Highly Sparse
One-Shot Pruning for Large Language Models"). What is left is then solved exactly, each row by conjugate gradients. The
structure of the zeros is a function, so single weights, blocks and windows are pruned alike.

All arrays are [groups, rows, columns]; `gram` [groups, columns, columns] is the Hessian of the squared error of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from irc.types import Array
from passes.reconstruction.compensate import damped

Keep: TypeAlias = Callable[[Array], Array]
"""Which weights stay, given how much each is worth."""

_STEPS = 100  # of the method of multipliers
_FIRST, _GROWTH = 0.03, 1.06  # its penalty, relative to a Hessian with ones in the diagonal
_RESIDUAL = 1e-6  # of the gradient, relative to the first one


def sparse(wanted: Array, gram: Array, keep: Keep, damping: float = 0.01) -> Array:
    """Weights that `keep` allows, with an output error as small as it gets.

    Columns are scaled so that each is worth as much as its inputs vary; `keep` sees squares of scaled weights. The
    error is never above that of the weights that `keep` finds largest, scaled or not.
    """
    hessian = damped(gram, damping)
    scale = np.sqrt(np.einsum("gii->gi", hessian))[:, None]
    scaled, aim = hessian / scale / scale.swapaxes(1, 2), wanted * scale
    masks = (_support(aim, scaled, keep), keep(np.square(aim)), keep(np.square(wanted)))
    found = min((solved_on(mask, aim, scaled) for mask in masks), key=lambda w: _error(w - aim, scaled))
    return np.asarray(found / scale)


def _error(change: Array, hessian: Array) -> float:
    return float(((change @ hessian) * change).sum())


def _support(wanted: Array, hessian: Array, keep: Keep) -> Array:
    """Which weights stay: two copies of the weights, one of least error, one with zeros, and what each step adds to
    the price of their difference."""
    values, vectors = np.linalg.eigh(hessian)
    values, pull = values[:, None], wanted @ hessian
    mask = keep(np.square(wanted))
    zeroed, price, penalty = np.where(mask, wanted, 0), np.zeros_like(wanted), _FIRST
    for _ in range(_STEPS):
        free = ((pull - price + penalty * zeroed) @ vectors / (values + penalty)) @ vectors.swapaxes(1, 2)
        candidate = free + price / penalty
        mask = keep(np.square(candidate))
        zeroed = np.where(mask, candidate, 0)
        price += penalty * (free - zeroed)
        penalty *= _GROWTH
    return mask


def solved_on(mask: Array, wanted: Array, hessian: Array) -> Array:
    """The weights of least error (wanted - found) H (wanted - found)' among those that are zero where `mask` is not.

    Conjugate gradients of all rows at once, preconditioned by the diagonal: exact after as many steps as a row has
    weights, near enough after far fewer.
    """
    weight = mask / np.einsum("gii->gi", hessian)[:, None]
    found = np.where(mask, wanted, 0)
    left = ((wanted - found) @ hessian) * mask
    direction = left * weight
    size = first = (left * direction).sum(axis=2, keepdims=True)
    for _ in range(mask.shape[2]):
        if (size <= first * _RESIDUAL**2).all():
            break
        image = (direction @ hessian) * mask
        step = _ratio(size, (direction * image).sum(axis=2, keepdims=True))
        found, left = found + step * direction, left - step * image
        before, size = size, (left * left * weight).sum(axis=2, keepdims=True)
        direction = left * weight + _ratio(size, before) * direction
    return found


def _ratio(a: Array, b: Array) -> Array:
    """a / b; zero where a row has come to rest."""
    return np.asarray(np.divide(a, b, out=np.zeros_like(a), where=b > 0))
