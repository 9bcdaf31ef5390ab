"""Sums of branches: a layer whose result is added to another value can make good for that value's error too.

What counts behind a residual block is the sum. When the last layer of the block is chosen, the shortcut is known in both
networks; the layer aims at the original's sum less the shortcut as it is now (He et al. 2017, "Channel Pruning for
Accelerating Very Deep Neural Networks", section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from irc.graph import Graph
from irc.ops.elementwise import Add
from irc.types import Array
from passes.layers import layers


@dataclass(frozen=True, slots=True)
class Drift:
    """What the sum lacks because the other branch changed: its mean [groups, rows], and its second moments with the
    layer's inputs, E[(drift - mean)(x - mean)'] [groups, rows, columns]."""

    cross: Array
    mean: Array


def addends(graph: Graph) -> dict[str, str]:
    """For each layer whose only reader adds a value to its result: the node of the layer -> that value."""
    found = {}
    for layer in layers(graph):
        readers = graph.users[layer.result]
        if len(readers) == 1 and isinstance(readers[0].op, Add) and not graph.is_output(layer.result):
            others = [o for o in readers[0].operands if o != layer.result]
            if others and graph.types[others[0]] == graph.types[layer.result] and others[0] not in graph.constants:
                found[layer.node.name] = others[0]
    return found


def drift_moments(pairs: Iterable[tuple[Array, Array]]) -> Drift:
    """From chunks of (drift [groups, products, rows], input [groups, products, columns])."""
    count, sums = 0, tuple[Array, ...]()
    for drift, x in pairs:
        lack, after = drift.astype(np.float32), x.astype(np.float32)
        parts = (np.ascontiguousarray(lack.swapaxes(1, 2)) @ after, lack.sum(axis=1, dtype=np.float64),
                 after.sum(axis=1, dtype=np.float64))
        sums = tuple(p.astype(np.float64) for p in parts) if not sums else tuple(map(np.add, sums, parts))
        count += x.shape[1]
    cross, mean, inputs = (s / count for s in sums)
    return Drift(cross - mean[:, :, None] * inputs[:, None], mean)
