"""Weights as letters times a scale: each by itself, or all weights of a layer for the least error of its output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from irc.graph import Edit, Graph
from irc.pipeline.step import Context
from irc.types import Array, IntArray, PowerOfTwo, TensorType
from passes.layers import per_channel, restored
from passes.reconstruction.apply import with_refits
from passes.reconstruction.compensate import aligned
from passes.reconstruction.products import Dense, Product, products
from passes.reconstruction.walk import Visit, reconstruct
from passes.rounding.alphabet import Alphabet
from passes.rounding.fit import Letters, Rounding, zeros_kept
from passes.rounding.scales import Grid
from passes.stored import enter_codebook, enter_dequantized, enter_lookup

Rule: TypeAlias = Callable[[Array], tuple[Array, Array]]
"""The letters [rows, elements] of weights, and one scale a row."""

Fit: TypeAlias = Callable[[Rounding, Array, Array], Letters]
"""Letters and scales of wanted weights, for the least error under a Gram matrix."""

_LEAST = 2.0**-10  # of the largest scale: what a channel of zeros gets, because integers need a scale


@dataclass(frozen=True, slots=True)
class Coded:
    """A weight as letters times a scale; one scale, or one for each index of `axis`."""

    letters: IntArray
    scale: Array
    axis: int


@dataclass(frozen=True, slots=True)
class Coder:
    """Turns the weights of selected layers into `letters`; with `shared`, a weight has a single scale."""

    letters: Alphabet
    rule: Rule
    grid: Grid
    shared: bool
    fit: Fit = Rounding.fit

    def each(self, graph: Graph, context: Context) -> Graph:
        """Every weight by the rule."""
        return self._entered(graph, {name: self._by_rule(graph.constants[name].data, product)
                                     for product in _chosen(graph, context) for name in product.weights})

    def walked(self, original: Graph, graph: Graph, context: Context, what: str, fit: bool) -> Graph:
        """Layer by layer on calibration data, biases corrected. With `fit` letters and scales are those with which the
        outputs stay near to those of the original network, else those of the rule."""
        coded = dict[str, Coded]()

        def choose(visit: Visit) -> Array:
            product = visit.product
            parts = self._fitted(visit) if fit else [self._by_rule(a, product) for a in product.arrays(visit.matrix)]
            coded.update(zip(product.weights, parts, strict=True))
            found = product.matrix([_real(part) for part in parts])
            context.note("output_error", visit.relative_error(found), node=product.node.name)
            return found

        feeds = context.calibration_for(what)
        refits = reconstruct(original, graph, feeds, choose, context.selected, shortcuts=fit)
        return self._entered(with_refits(graph, refits), coded)

    def _by_rule(self, weight: Array, product: Product) -> Coded:
        axis = _channels(product)
        rows = per_channel(weight.astype(np.float64), -1 if self.shared else axis)
        letters, scale = self.rule(rows)
        q = restored(letters, weight.shape, -1 if self.shared else axis)
        return Coded(q.astype(np.int64), self._short(scale), axis)

    def _fitted(self, visit: Visit) -> list[Coded]:
        kept = zeros_kept(visit.matrix, visit.target, self.letters)
        rounding = Rounding(self.letters, self.grid, visit.product.widths, self.shared, kept=kept)
        drift = visit.drift.cross if visit.drift else 0.0
        wanted = aligned(visit.target, visit.matrix, visit.statistics, drift=drift)
        found = self.fit(rounding, wanted, visit.statistics.gram)
        return list(self._parts(visit.product, found))

    def _parts(self, product: Product, found: Letters) -> Iterator[Coded]:
        for i, q in enumerate(product.arrays(found.letters)):
            scale = found.scale[:, :, i].reshape(-1)
            yield Coded(q.astype(np.int64), scale[:1] if self.shared else scale, _channels(product))

    def _short(self, scale: Array) -> Array:
        return self.grid.nearest(np.maximum(scale, _LEAST * (scale.max(initial=0) or 1.0)))

    def _entered(self, graph: Graph, coded: Mapping[str, Coded]) -> Graph:
        """The graph with letters and scales in place of the weights."""
        edit = graph.edit()
        for name, part in coded.items():
            whole = self._letters(edit, name, part.letters)
            edit.redirect(name, enter_dequantized(edit, name, whole, part.scale, part.axis).name)
        return edit.finish()

    def _letters(self, edit: Edit, name: str, letters: IntArray) -> tuple[str, TensorType]:
        """The letters as a constant. Levels without a format of their own are looked up: no format of one bit holds
        -1 and 1."""
        kind = TensorType(self.letters.form, letters.shape)
        if self.letters.levels is None or isinstance(kind.format, PowerOfTwo):
            return edit.constant(f"{name}_q", kind, letters), kind
        table = enter_codebook(edit, name, self.letters.levels, kind.format)
        values = TensorType(kind.format, self.letters.levels.shape)
        return enter_lookup(edit, name, (table, values), np.searchsorted(self.letters.levels, letters)).name, kind


def _chosen(graph: Graph, context: Context) -> Iterator[Product]:
    return (product for product in products(graph) if context.selected(product.node))


def _channels(product: Product) -> int:
    """The axis of the output channels."""
    return 1 if isinstance(product, Dense) else 0


def _real(part: Coded) -> Array:
    shape = [1] * part.letters.ndim
    shape[part.axis] = part.scale.size
    return np.asarray(part.letters * part.scale.reshape(shape if part.scale.size > 1 else ()))
