"""One walk through two networks at once: the original, and the one being compressed.

At every layer the inputs of both are at hand, new weights are chosen for the compressed one, and it goes on with them.
So each layer makes good for the errors of those before it, and the whole costs one evaluation of each network
(Hubara et al. 2021, "Accurate Post Training Quantization With Small Calibration Sets", sequential AdaQuant;
Frantar & Alistarh 2022, "Optimal Brain Compression", sequential mode).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from irc.graph import MISSING, Graph, Node
from irc.interpreter import computed, run_node
from irc.samples import sample_count
from irc.types import Array
from passes.reconstruction.products import Product, products
from passes.reconstruction.shortcut import Addend, Drift, addends, drift_moments
from passes.reconstruction.statistics import Statistics, moments

_CHUNK = 32  # samples evaluated together


@dataclass(frozen=True, slots=True)
class Visit:
    """A layer as the walk meets it. `target` and `matrix` are the weights of the original and of the compressed
    network, [groups, rows, columns]; they differ only where the graph was rewritten before. `drift` is what a shortcut
    around the layer changed, when the walk was asked to make good for it."""

    product: Product
    matrix: Array
    target: Array
    statistics: Statistics
    drift: Drift | None = None

    def relative_error(self, values: Array) -> float:
        """Root mean square of what new weights change in the layer's output, relative to the output's own deviation
        from its mean."""
        change, whole = (float(self.statistics.error(m).sum()) for m in (values - self.matrix, self.matrix))
        return math.sqrt(max(change, 0.0) / whole) if whole > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Refit:
    """What became of a layer: its weight arrays, and what its bias [output channels] gains."""

    product: Product
    arrays: tuple[Array, ...]
    shift: Array


def reconstruct(original: Graph, compressed: Graph, feeds: Mapping[str, Array], choose: Callable[[Visit], Array],
                selected: Callable[[Node], bool] = lambda node: True, shortcuts: bool = False) -> list[Refit]:
    """New weights for the selected layers of `compressed`, so that their outputs stay close to those of `original`.

    Layers are paired by the name of their node. `feeds` are bound calibration data. `choose` returns the new matrix;
    biases then make the mean of every output channel right (Nagel et al. 2019, bias correction). With `shortcuts`, a
    layer that ends a residual block aims at the block's sum.
    """
    others = addends(compressed) if shortcuts else {}
    known = {product.node.name: product for product in products(original)}
    before, after = _Network(original, feeds), _Network(compressed, feeds)
    found, done = list[Refit](), set[str]()
    for product in products(compressed):
        name = product.node.name
        if name not in known or not selected(product.node) or done.intersection(product.weights):
            continue
        before.advance(name)
        after.advance(name)
        for _ in range(product.visits):
            drift = _drift(product, others.get(name), before, after)
            refit = _refit(known[name], product, before, after, drift, choose)
            after.adopt(refit)
        found.append(refit)
        done.update(product.weights)
    return found


def _drift(product: Product, other: Addend | None, before: _Network, after: _Network) -> Drift | None:
    """How far the value that is added to a layer's result is from the original's; None where it is not known yet."""
    if other is None or other.real not in before.values or other.value not in after.values:
        return None
    pairs = zip(before.split([other.real]), after.split([other.value]), strict=True)
    lacks = (product.by_row(a[other.real] - b[other.value]) for a, b in pairs)
    return drift_moments(zip(lacks, after.inputs(product), strict=True))


def _refit(known: Product, product: Product, before: _Network, after: _Network, drift: Drift | None,
           choose: Callable[[Visit], Array]) -> Refit:
    statistics = moments(zip(before.inputs(known), after.inputs(product), strict=True))
    target, matrix = before.matrix(known), after.matrix(product)
    new = choose(Visit(product, matrix, target, statistics, drift))
    shift = np.zeros(new.shape[:2])
    if target.shape[:2] == new.shape[:2]:
        shift = (target @ statistics.mean0[..., None] - new @ statistics.mean[..., None])[..., 0]
        shift += drift.mean if drift else 0.0
        shift[~matrix.any(axis=2)] = 0  # an output channel that came without weights is dead, and stays so
    return Refit(product, product.arrays(new), shift.reshape(-1))


class _Network:
    """A network half way through its evaluation: the values that are still needed, over all samples."""

    def __init__(self, graph: Graph, feeds: Mapping[str, Array]) -> None:
        self.graph = graph
        self.count = sample_count(feeds)
        self.constants = {c.name: computed(c.data)[None] for c in graph.constants.values()}
        self.values = self.constants | {p.name: computed(feeds[p.name]) for p in graph.inputs}
        self.position = {node.name: i for i, node in enumerate(graph.nodes)}
        self.last = {o: i for i, node in enumerate(graph.nodes) for o in node.operands}
        self.at = 0
        self.shifts: dict[str, tuple[Product, Array]] = {}

    def advance(self, name: str) -> None:
        """Evaluate everything in front of a node."""
        for i in range(self.at, self.position[name]):
            node = self.graph.nodes[i]
            parts = [self._run(node, chunk) for chunk in self.chunks(node)]
            self.values.update(zip(node.results, map(_joined, zip(*parts, strict=True)), strict=True))
            for operand in {o for o in node.operands if o != MISSING and self.last[o] == i}:
                self.values.pop(operand, None)
        self.at = max(self.at, self.position[name])

    def _run(self, node: Node, values: Mapping[str, Array]) -> tuple[Array, ...]:
        results = run_node(node, values)
        if node.name not in self.shifts:
            return results
        product, shift = self.shifts[node.name]
        return product.shifted(results, shift)

    def chunks(self, node: Node) -> Iterator[dict[str, Array]]:
        """The operands of a node, some samples at a time; once if they are all constant."""
        return self.split([o for o in node.operands if o != MISSING])

    def split(self, names: Iterable[str]) -> Iterator[dict[str, Array]]:
        """Some values, some samples at a time; once if they are all constant."""
        operands = {name: self.values[name] for name in names}
        count = max(map(len, operands.values()), default=1)
        for at in range(0, count, _CHUNK):
            yield {o: v if len(v) == 1 else v[at : at + _CHUNK] for o, v in operands.items()}

    def inputs(self, product: Product) -> Iterator[Array]:
        """Inputs of a layer, chunk by chunk."""
        for values in self.chunks(product.node):
            yield product.inputs(values)

    def matrix(self, product: Product) -> Array:
        return product.matrix([self.constants[name][0] for name in product.weights])

    def adopt(self, refit: Refit) -> None:
        """Go on with new weights."""
        self.values.update((name, array[None]) for name, array in zip(refit.product.weights, refit.arrays, strict=True))
        self.values.update(refit.product.moved(self.constants, refit.shift))
        self.shifts[refit.product.node.name] = refit.product, refit.shift


def _joined(parts: tuple[Array, ...]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
