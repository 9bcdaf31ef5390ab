"""Inputs of layers as two values each."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from irc.graph import Edit, Graph
from irc.ops.elementwise import Add, Relu
from irc.ops.quantization import Bipolar
from irc.pipeline.step import Context
from irc.types import Float, TensorType
from passes.quantize.calibration import Histogram, Watch, observe
from passes.reconstruction.products import Gates, products
from passes.rounding.scales import Grid
from passes.stored import enter_dequantized

_LLOYD = 100


def with_signs(graph: Graph, context: Context, grid: Grid) -> Graph:
    """`graph` with binary inputs of the selected layers, centred: their mean is left to the biases."""
    layers = [p.node for p in products(graph) if context.selected(p.node) and not isinstance(p, Gates)]
    values = list(dict.fromkeys(node.operands[0] for node in layers))
    if not values:
        return graph
    data = context.calibration_for("binarize{activations=true}")
    found = zip(values, observe(graph, data, [Watch((v,), (False,)) for v in values]), strict=True)
    edit = graph.edit()
    signs = {value: _sign(edit, graph, value, two_values(seen), grid) for value, seen in found}
    for node in layers:
        edit.replace(node, replace(node, operands=(signs[node.operands[0]], *node.operands[1:])))
    return edit.finish()


def two_values(seen: Histogram) -> tuple[float, float]:
    """Middle and half distance of the two values of least squared error (Lloyd 1982)."""
    at, counts = seen.centres, seen.counts.astype(np.float64)
    middle = float(np.average(at, weights=counts))
    low = high = middle
    for _ in range(_LLOYD):
        sides = (at <= middle, at > middle)
        low, high = (float(np.average(at[s], weights=counts[s])) if counts[s].any() else middle for s in sides)
        if (low + high) / 2 == middle:
            break
        middle = (low + high) / 2
    return middle, (high - low) / 2


def _sign(edit: Edit, graph: Graph, value: str, level: tuple[float, float], grid: Grid) -> str:
    """The sign of what a value is above its middle, times the half distance."""
    kind, (middle, step) = graph.tensor(value), level
    maker = graph.producers.get(value)
    origin = maker.origin if maker else ""
    if maker and isinstance(maker.op, Relu) and middle > 0:
        value = maker.operands[0]  # relu moves nothing across a positive middle
    threshold = edit.constant(f"{value}_threshold", TensorType(Float(32), ()), -middle)
    centred = edit.node(f"{value}_centred", Add(), (value, threshold), (kind, TensorType(Float(32), ())), origin)
    sign = edit.node(f"{value}_sign", Bipolar(), (centred.name,), (kind,), origin)
    edit.insert_after(value, centred, sign)
    scale = grid.nearest(np.array([step if step > 0 else 1.0]))
    return enter_dequantized(edit, value, (sign.name, cast(TensorType, sign.type)), scale, 1).name
