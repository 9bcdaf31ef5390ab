"""`share`: few values for many weights, stored as indices into a codebook.

Method: the quantizers of Marinò, Ghidoli, Frasca & Malchiodi 2021 ("Compression strategies and space-conscious
representations for deep neural networks"): `cws` k-means, `pws` probabilistic, `uq` the smallest uniform step, `ecsq`
entropy-constrained; a codebook for each layer, or one for all layers of a kind (their variants with a "u"). Before::

    const w: f32[2, 4] = [[0.9, -0.1, 0.8, 0], [-0.6, 1, 0, -0.2]]
    y: f32[1, 4] = matmul(x, w)

and after `share{values=4}`::

    const w_codebook: f32[4] = [-0.6, -0.15, 0, 0.9]
    const w_index: u2[2, 4] = [[3, 1, 3, 2], [0, 3, 2, 1]]
    w_shared: f32[2, 4] = gather(w_codebook, w_index)
    y: f32[1, 4] = matmul(x, w_shared)

Weights that are zero, as those that were pruned, stay zero, and zero counts as a value. With `rounding=gptq` weights
are chosen and values fitted so that the layer's output on the calibration data stays (Frantar et al. 2023, "GPTQ", with
a codebook instead of a grid; values refitted as in Stock et al. 2020, "And the Bit Goes Down"); a codebook of several
layers, and the steps of `uq`, are not refitted. Run it before quantize, which turns the codebook into integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from irc.diagnostics import error
from irc.graph import Graph
from irc.pipeline.step import Context, Lossy, Pass, option
from irc.types import Array, Level
from passes.reconstruction.apply import with_refits
from passes.reconstruction.compensate import aligned
from passes.reconstruction.products import Convolution, Dense, Product, demand_real_weights, products
from passes.reconstruction.walk import Visit, reconstruct
from passes.share.codebooks import METHODS, Codebook, drawn
from passes.share.refit import Chooser
from passes.stored import enter_codebook, enter_lookup, float32


@dataclass(frozen=True, slots=True)
class Share(Pass):
    """Let the weights of a layer share a few values, stored as indices into a codebook."""

    keeps: ClassVar[Lossy] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    method: str = field(default="cws", metadata=option(
        "k-means, probabilistic, uniform or entropy-constrained", choices=("cws", "pws", "uq", "ecsq")))
    values: int = field(default=16, metadata=option("distinct values of a codebook, zero included", low=2, high=256))
    scope: str = field(default="layer", metadata=option(
        "a codebook for each layer, or for all convolutions, all dense layers, all recurrent ones",
        choices=("layer", "kind")))
    rounding: str = field(default="nearest", metadata=option(
        "each weight to its value, or for the least error of the layer's output", choices=("nearest", "gptq")))

    def run(self, graph: Graph, context: Context) -> Graph:
        demand_real_weights(graph, "share")
        found = [list(group) for group in self._groups(graph, context)]
        self._check(graph, found)
        if self.rounding == "gptq":
            rounded = self._reconstructed(graph, found, context)
        else:
            rounded = self._rounded(graph, found, np.random.default_rng(context.seed))
        _note(graph, rounded, found, context)
        return _with_codebooks(rounded, found)

    def _groups(self, graph: Graph, context: Context) -> Iterator[Sequence[Product]]:
        """The layers of each codebook; a weight of several layers is met once."""
        known = {product.weights: product for product in reversed(list(products(graph)))
                 if context.selected(product.node)}
        chosen = list(reversed(known.values()))
        if self.scope == "layer":
            yield from ([product] for product in chosen)
            return
        for kind in dict.fromkeys(map(_kind, chosen)):
            yield [product for product in chosen if _kind(product) == kind]

    def _check(self, graph: Graph, groups: Sequence[Sequence[Product]]) -> None:
        """E304 when the codebooks would be as large as what is there."""
        counts = [len(np.unique(_weights(graph, group))) for group in groups]
        if counts and max(counts) < self.values:
            raise error("E304", f"values={self.values}, but no selected layer has more than {max(counts)} distinct "
                        "weights", operator="share", remedy=f"ask for fewer values than {max(counts)}")

    def _codebook(self, weights: Array, importance: Array | None = None) -> Codebook:
        """The codebook of weights [n]. Zeros are a value of its own, beside those of the others; `uq` has it anyway."""
        weights, kept = float32(weights), weights != 0
        if self.method == "uq" or kept.all():
            return _stored(METHODS[self.method](weights, self.values, importance))
        most = max(self.values - 1, 1)
        if not kept.any():
            return Codebook(np.zeros(1), np.zeros(0))
        made = METHODS[self.method](weights[kept], most, None if importance is None else importance[kept])
        return _stored(made)

    def _rounded(self, graph: Graph, groups: Sequence[Sequence[Product]], rng: np.random.Generator) -> Graph:
        """The graph with each weight rounded by itself."""
        made = dict[str, Array]()
        for group in groups:
            weights = _weights(graph, group)
            if len(np.unique(weights)) <= self.values:
                continue
            codebook = self._codebook(weights)
            for name in (name for product in group for name in product.weights):
                real = graph.constants[name].data.astype(np.float64)
                near = drawn(codebook, real, rng) if self.method == "pws" else codebook.nearest(real)
                made[name] = np.where(real != 0, near, 0.0)
        return graph.map_constants(lambda c: replace(c, data=made[c.name]) if c.name in made else c)

    def _reconstructed(self, graph: Graph, groups: Sequence[Sequence[Product]], context: Context) -> Graph:
        """The graph with all weights of a layer rounded together."""
        selected = {product.node.name for group in groups for product in group}
        joint = dict[str, Codebook]()
        for group in groups:
            if len(group) > 1:
                joint |= dict.fromkeys((p.node.name for p in group), self._codebook(_weights(graph, group)))

        def choose(visit: Visit) -> Array:
            common = joint.get(visit.product.node.name)
            if common is None and len(np.unique(visit.matrix)) <= self.values:
                return visit.matrix
            wanted = aligned(visit.target, visit.matrix, visit.statistics)
            fixed = common is not None or self.method == "uq"
            chooser = Chooser(common or self._start(visit, wanted), visit.matrix != 0, fixed)
            return chooser.chosen(wanted, visit.statistics.gram)

        feeds = context.calibration_for("share{rounding=gptq}")
        return with_refits(graph, reconstruct(graph, graph, feeds, choose, lambda node: node.name in selected))

    def _start(self, visit: Visit, wanted: Array) -> Codebook:
        """The first codebook of a layer; the inputs say how much a weight matters, where the method asks."""
        second = np.einsum("gii->gi", visit.statistics.gram)[:, None]
        masked = np.where(visit.matrix != 0, wanted, 0.0)
        return self._codebook(masked.ravel(), np.broadcast_to(second, wanted.shape).ravel())


def _kind(product: Product) -> str:
    match product:
        case Convolution():
            return "conv"
        case Dense():
            return "dense"
        case _:
            return "recurrent"


def _weights(graph: Graph, group: Sequence[Product]) -> Array:
    """All weights of some layers, [n]."""
    return np.concatenate([graph.constants[name].data.ravel() for product in group for name in product.weights])


def _stored(codebook: Codebook) -> Codebook:
    return replace(codebook, values=float32(codebook.values))


def _note(graph: Graph, rounded: Graph, groups: Sequence[Sequence[Product]], context: Context) -> None:
    """How far the weights of each layer went, relative to their norm, and of how many values they are."""
    for product in (product for group in groups for product in group):
        before, after = (_weights(g, [product]).astype(np.float64) for g in (graph, rounded))
        moved = float(np.linalg.norm(after - before)) / max(float(np.linalg.norm(before)), 1e-30)
        context.note("weight_error", moved, node=product.node.name)
        context.note("values", len(np.unique(after)), node=product.node.name)


def _with_codebooks(rounded: Graph, groups: Sequence[Sequence[Product]]) -> Graph:
    """`rounded`, its weights as indices into one table for each group."""
    edit = rounded.edit()
    for group in groups:
        values, first = np.unique(_weights(rounded, group)), group[0].weights[0]
        stem = first if len(group) == 1 else _kind(group[0])
        kind = replace(rounded.tensor(first), shape=values.shape)
        table = enter_codebook(edit, stem, values, kind.format)
        for name in (name for product in group for name in product.weights):
            index = np.searchsorted(values, rounded.constants[name].data)
            edit.redirect(name, enter_lookup(edit, name, (table, kind), index).name)
    return edit.finish()
