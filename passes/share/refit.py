"""A codebook and the weights in it, chosen so that the output of the layer stays, not the weights.

In turns: every weight becomes a value of the codebook, errors compensated in the weights that are still free; then the
values become those of least squared output error, given which weight has which. The second is a least squares problem
in as many unknowns as there are values; its normal equations are solved by conjugate gradients, because the product
with their matrix is one matrix product, however many values there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from irc.types import Array, IntArray
from passes.reconstruction.compensate import compensated, damped, descended
from passes.share.codebooks import Codebook
from passes.stored import float32

_TURNS = 4
_SWEEPS = 2  # over all weights in each turn
_STEPS = 16  # of conjugate gradients
_WORK = 2e11  # multiply-accumulates that either half of the refinement may cost
_DAMPING = 1e-4


@dataclass(frozen=True, slots=True)
class Chooser:
    """Weights [groups, rows, columns] from a codebook; those that are not `kept` stay zero. With `fixed`, the values
    stay what they are."""

    codebook: Codebook
    kept: Array
    fixed: bool = False

    def nearest(self, wanted: Array, columns: IntArray) -> Array:
        """The values nearest to the wanted ones [groups, rows, n] of the columns [n]."""
        return np.where(self.kept[:, :, columns], self.codebook.nearest(wanted), 0.0)

    def chosen(self, wanted: Array, gram: Array) -> Array:
        """The weights whose output is nearest to that of the wanted ones."""
        hessian, chooser = damped(gram, _DAMPING), self
        found = compensated(wanted, gram, self.nearest)
        for _ in range(int(min(_TURNS, _WORK // (_SWEEPS * wanted.size * wanted.shape[2] + 1)))):
            if not self.fixed:
                chooser, found = chooser.refitted(wanted, found, hessian)
            found = descended(wanted, found, hessian, chooser.nearest, _SWEEPS)
        return found

    def refitted(self, wanted: Array, found: Array, hessian: Array) -> tuple[Chooser, Array]:
        """The best values for the weights that share each of them, and these weights. Of a large layer some rows tell
        the values of all."""
        groups, rows, columns = found.shape
        some = np.s_[:, :: math.ceil(rows * groups * columns**2 * _STEPS * _TURNS / _WORK)]
        index, old = np.searchsorted(self.codebook.values, found), self.codebook.values
        values = float32(_least_squares(old, index[some], self.kept[some], wanted[some], hessian))
        moved = np.where(self.kept, values[np.minimum(index, len(values) - 1)], 0.0)
        return replace(self, codebook=Codebook(np.sort(values), self.codebook.offsets)), moved


def _least_squares(values: Array, places: IntArray, kept: Array, wanted: Array, hessian: Array) -> Array:
    """The values of least error sum (W - wanted) H (W - wanted)', where W = values[places] where it is kept."""
    index = places[kept]

    def gradient(v: Array, target: Array | float) -> Array:
        spread = np.zeros(kept.shape)
        spread[kept] = v[index]
        return np.bincount(index, ((spread - target) @ hessian)[kept], len(v))

    diagonal = np.broadcast_to(np.einsum("gii->gi", hessian)[:, None], kept.shape)[kept]
    curvature = np.bincount(index, diagonal, len(values))
    scale = 1 / np.where(curvature > 0, curvature, 1)
    rest = -gradient(values, wanted)
    way = scale * rest
    for _ in range(_STEPS):
        slope, curved = float(rest @ (scale * rest)), gradient(way, 0.0)
        bend = float(way @ curved)
        if bend <= 1e-12 * slope or slope <= 0:
            break
        values = values + slope / bend * way
        rest = rest - slope / bend * curved
        way = scale * rest + float(rest @ (scale * rest)) / slope * way
    return values
