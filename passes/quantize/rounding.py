"""Which integers the weights become: each by itself, or layer by layer for the least error of the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from irc.graph import Graph, Node
from irc.ops.recurrent import Recurrent
from irc.pipeline.step import Context
from irc.types import Array, IntArray
from passes.layers import layers, per_channel, restored
from passes.quantize.steps import Steps
from passes.quantize.weights import Weight, least_scale
from passes.reconstruction.compensate import aligned
from passes.reconstruction.products import Gates, Product, products
from passes.reconstruction.walk import Visit, reconstruct
from passes.rounding.alphabet import Alphabet
from passes.rounding.fit import Letters, Rounding, zeros_kept
from passes.rounding.scales import Grid, best_scale, largest_scale, odd_part, round_to

_AT_ONCE = 1 << 22  # weights that are rounded together: what is computed on the way takes several times their memory


@dataclass(frozen=True, slots=True)
class Plan:
    """What a weight constant is to become: the alphabet, the scales to choose from, the axis of its channels."""

    alphabet: Alphabet
    grid: Grid
    axis: int
    shared: bool

    @property
    def channels(self) -> int:
        """The axis that has a scale for each index; -1 when there is one scale for all."""
        return -1 if self.shared else self.axis


def outermost(graph: Graph) -> list[Node]:
    """The layers with weights, quantized or not: the first and the last one, or the only one."""
    known = {layer.node.name for layer in layers(graph)}
    found = [node for node in graph.nodes if node.name in known or isinstance(node.op, Recurrent)]
    return [found[0], found[-1]] if len(found) > 1 else found


def planned(graph: Graph, selected: Callable[[Node], bool], steps: Steps, letters: Callable[[Node], Alphabet],
            bits: int, shared: bool) -> dict[str, Plan]:
    """The plan of every real weight of the selected layers; a weight of several layers follows the first."""
    found = dict[str, Plan]()
    for layer in layers(graph):
        if selected(layer.node) and layer.weight in graph.constants:
            step, out = steps.scale(layer.x), steps.given(layer.result)
            grid = Grid(bits, odd_part(out) if out else 1.0, least_scale(graph, layer, step))
            found.setdefault(layer.weight, Plan(letters(layer.node), grid, layer.weight_axis, shared))
    for product in products(graph):
        if isinstance(product, Gates) and selected(product.node):
            for name in product.weights:
                found.setdefault(name, Plan(letters(product.node), Grid(bits), 0, shared))
    return found


def _nearest(weight: Array, plan: Plan, search: bool) -> tuple[IntArray, Array]:
    """Nearest letters of a weight, or of some of its channels, and their scales."""
    rows = per_channel(weight.astype(np.float64), plan.channels)
    scale = (best_scale if search else largest_scale)(rows, plan.alphabet, plan.grid)
    return restored(round_to(rows, scale, plan.alphabet), weight.shape, plan.channels), scale


class Rounder:
    """Rounds the planned weights. `shifts` is what the bias of a layer gains, by the name of its node."""

    def __init__(self, original: Graph, graph: Graph, plans: Mapping[str, Plan], context: Context) -> None:
        self.original, self.graph, self.plans, self.context = original, graph, plans, context
        self.weights: dict[str, Weight] = {}
        self.shifts: dict[str, Array] = {}

    def round(self, search: bool) -> None:
        """Each weight to the nearest letter; scales by search for the least error, or such that nothing is clipped."""
        for name, plan in self.plans.items():
            data = self.graph.constants[name].data
            axis, parts = plan.channels, math.ceil(data.size / _AT_ONCE)
            found = [_nearest(part, plan, search) for part in np.array_split(data, min(parts, data.shape[axis]), axis)
                     ] if axis >= 0 and parts > 1 else [_nearest(data, plan, search)]
            q = found[0][0] if len(found) == 1 else np.concatenate([part for part, _ in found], axis)
            self.weights[name] = Weight(plan.alphabet, q, np.concatenate([scale for _, scale in found]), axis)

    def reconstruct(self, what: str, compensate: bool) -> None:
        """Layer by layer on calibration data; without `compensate` weights are the nearest ones, and biases correct."""
        def choose(visit: Visit) -> Array:
            return self._chosen(visit, compensate)

        refits = reconstruct(self.original, self.graph, self.context.calibration_for(what), choose, self._planned,
                              shortcuts=True)
        self.shifts = {refit.product.node.name: refit.shift for refit in refits}

    def _planned(self, node: Node) -> bool:
        return self.context.selected(node) and any(o in self.plans for o in node.operands)

    def _chosen(self, visit: Visit, compensate: bool) -> Array:
        product, plan = visit.product, self.plans[visit.product.weights[0]]
        kept = zeros_kept(visit.matrix, visit.target, plan.alphabet)
        rounding = Rounding(plan.alphabet, plan.grid, product.widths, plan.shared, kept=kept)
        if compensate:
            drift = visit.drift.cross if visit.drift else 0.0
            wanted = aligned(visit.target, visit.matrix, visit.statistics, drift=drift)
            found = rounding.fit(wanted, visit.statistics.gram)
        else:
            found = rounding.start(visit.matrix)
        self._keep(product, found)
        self.context.note("output_error", visit.relative_error(found.values), node=product.node.name)
        return found.values

    def _keep(self, product: Product, found: Letters) -> None:
        letters = product.arrays(found.letters)
        for i, (name, q) in enumerate(zip(product.weights, letters, strict=True)):
            plan, scale = self.plans[name], found.scale[:, :, i].reshape(-1)
            self.weights[name] = Weight(plan.alphabet, q.astype(np.int64), scale[:1] if plan.shared else scale,
                                        plan.channels)
