"""`prune`: the smallest weights become zero.

Method: magnitude pruning (Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks"), each
layer by itself or with one threshold for the whole network. Before::

    const w: f32[2, 4] = [[0.9, -0.1, 0.4, 0.05], [-0.6, 0.2, -0.01, 0.7]]

and after `prune{sparsity=0.5}`::

    const w: f32[2, 4] = [[0.9, 0, 0.4, 0], [-0.6, 0, 0, 0.7]]

Weights only: biases and embedding tables stay. Run it before quantize.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from irc.graph import Constant, Graph
from irc.pipeline.step import Context, Lossy, Pass, option
from irc.types import Array, Float, Level
from passes.layers import layers


@dataclass(frozen=True, slots=True)
class Prune(Pass):
    """Set the smallest weights to zero."""

    keeps: ClassVar[Lossy] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    sparsity: float = field(default=0.5, metadata=option("fraction of the weights that become zero", low=0, high=1))
    criterion: str = field(default="magnitude", metadata=option("what makes a weight small", choices=("magnitude",)))
    scope: str = field(
        default="layer", metadata=option("the fraction holds in each layer, or over all", choices=("layer", "global"))
    )

    def run(self, graph: Graph, context: Context) -> Graph:
        chosen = {layer.weight: layer.node.name for layer in layers(graph) if context.selected(layer.node)}
        weights = [c for name in chosen if (c := graph.constants.get(name)) and isinstance(c.type.format, Float)]
        pruned = {c.name: c for c in self._pruned(weights)}
        for name, constant in pruned.items():
            context.note("sparsity", float(np.mean(constant.data == 0)), node=chosen[name])
        return graph.map_constants(lambda c: _if_changed(c, pruned.get(c.name, c)))

    def _pruned(self, weights: list[Constant]) -> list[Constant]:
        """Zero the smallest of each weight, or of all weights together."""
        if self.scope == "layer":
            return [replace(c, data=np.where(self._smallest(c.data.reshape(-1)).reshape(c.data.shape), 0, c.data))
                    for c in weights]
        together = np.concatenate([c.data.reshape(-1) for c in weights]) if weights else np.zeros(0)
        kept = np.where(self._smallest(together), 0, together)
        parts = np.split(kept, np.cumsum([c.data.size for c in weights])[:-1]) if weights else []
        return [replace(c, data=part.reshape(c.data.shape)) for c, part in zip(weights, parts, strict=True)]

    def _smallest(self, values: Array) -> Array:
        """Mask of exactly the given fraction of smallest magnitudes, ties by position."""
        mask = np.zeros(len(values), np.bool_)
        mask[np.argsort(np.abs(values), kind="stable")[: round(self.sparsity * len(values))]] = True
        return mask


def _if_changed(before: Constant, after: Constant) -> Constant:
    return before if after == before else after
