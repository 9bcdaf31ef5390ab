"""What calibration data say about the inputs of a layer: their means and second moments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from irc.types import Array


@dataclass(frozen=True, slots=True)
class Statistics:
    """Moments over all products of a layer, by group.

    x is an input as the compressed network computes it, x0 the same one in the original network. `gram` is
    E[(x - mean)(x - mean)'] [groups, columns, columns], the Hessian of the mean squared output error when the bias is
    free; `cross` is E[(x0 - mean0)(x - mean)'] [groups, columns of x0, columns].
    """

    gram: Array
    cross: Array
    mean: Array
    mean0: Array
    count: int

    def error(self, change: Array) -> Array:
        """Mean squared output error of each row, [groups, rows], when the matrix changes by `change`."""
        return np.asarray(((change @ self.gram) * change).sum(axis=-1))


def moments(pairs: Iterable[tuple[Array, Array]]) -> Statistics:
    """Statistics of chunks (x0, x), each [groups, products, columns].

    Sums of a chunk are float32, which is plenty beside the damping of whoever inverts them; their total is float64.
    """
    count, sums = 0, tuple[Array, ...]()
    for x0, x in pairs:
        before, after = (a.astype(np.float32) for a in (x0, x))
        turned = np.ascontiguousarray(after.swapaxes(1, 2))
        parts = (turned @ after, before.swapaxes(1, 2) @ after, after.sum(axis=1, dtype=np.float64),
                 before.sum(axis=1, dtype=np.float64))
        sums = tuple(p.astype(np.float64) for p in parts) if not sums else tuple(map(np.add, sums, parts))
        count += x.shape[1]
    gram, cross, mean, mean0 = (s / count for s in sums)
    return Statistics(gram - mean[:, :, None] * mean[:, None], cross - mean0[:, :, None] * mean[:, None], mean, mean0,
                      count)
