"""Sums of branches: a layer whose result is added to another value can make good for that value's error too.

What counts behind a residual block is the sum. When the last layer of the block is chosen, the shortcut is known in
both networks; the layer aims at the original's sum less the shortcut as it is now (He et al. 2017, "Channel Pruning for
Accelerating Very Deep Neural Networks", section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from irc.graph import Graph
from irc.ops.elementwise import Add
from irc.ops.quantization import Dequantize, Quantize
from irc.types import Array
from passes.layers import layers


@dataclass(frozen=True, slots=True)
class Drift:
    """What the sum lacks because the other branch changed: its mean [groups, rows], and its second moments with the
    layer's inputs, E[(drift - mean)(x - mean)'] [groups, rows, columns]."""

    cross: Array
    mean: Array


@dataclass(frozen=True, slots=True)
class Addend:
    """What is added to a layer's result: the value, and its name in a network whose activations are not quantized."""

    value: str
    real: str


def addends(graph: Graph) -> dict[str, Addend]:
    """For each layer whose only reader adds a value to its result: the node of the layer -> that value.

    A quantizer on the way is looked through."""
    found = {}
    for layer in layers(graph):
        result = _quantized(graph, layer.result)
        readers = graph.users[result]
        if len(readers) == 1 and isinstance(readers[0].op, Add) and not graph.is_output(result):
            others = [o for o in readers[0].operands if o != result]
            if others and graph.types[others[0]] == graph.types[result] and others[0] not in graph.constants:
                found[layer.node.name] = Addend(others[0], _real(graph, others[0]))
    return found


def _quantized(graph: Graph, value: str) -> str:
    """The dequantized form of a value that only a quantizer reads; else the value."""
    readers = graph.users[value]
    if len(readers) != 1 or not isinstance(readers[0].op, Quantize):
        return value
    behind = graph.users[readers[0].name]
    return behind[0].name if len(behind) == 1 and isinstance(behind[0].op, Dequantize) else value


def _real(graph: Graph, value: str) -> str:
    """The value in front of a quantizer and its dequantize; else the value."""
    for op in (Dequantize, Quantize):
        maker = graph.producers.get(value)
        if maker is None or not isinstance(maker.op, op):
            break
        value = maker.operands[0]
    return value


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
