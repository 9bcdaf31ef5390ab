"""How much the network loses with a channel.

`l1`, `l2`: the norm of all weights that belong to the channel, filters as well as what reads them, each relative to the
mean of its layer (Li et al. 2017, "Pruning Filters for Efficient ConvNets"; over whole groups, Fang et al. 2023).

`second_order`: the output error of the layers that read the channel, once their other weights have made good for it as
far as they can, relative to the output's variance. With the second moments G of the inputs it is W_c (G^-1)_cc^-1 W_c',
the optimal brain surgeon for a block of columns (Hassibi & Stork 1993). When a channel goes, weights and G^-1 are
brought up to date, so the next choice is made knowing what this one cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from irc.interpreter import computed
from irc.types import Array, Float, IntArray
from passes.prune.channels import Channels, Mixer
from passes.reconstruction.compensate import damped


class Importance(Protocol):
    """`scores` of all components: the loss when one more goes."""

    scores: Array

    def take(self, component: int) -> None:
        """The component goes."""


class Norm:
    """Mean over the axes of all weights of the norm of a channel's share, relative to its axis."""

    def __init__(self, channels: Channels, order: int) -> None:
        sums, counts = np.zeros(channels.count), np.zeros(channels.count)
        for constant in channels.graph.constants.values():
            if not isinstance(constant.type.format, Float) or len(constant.type.shape) < 2:
                continue
            for axis in range(len(constant.type.shape)):
                component = channels.of(constant.name, axis)
                rows = np.moveaxis(computed(constant.data), axis, 0).reshape(len(component), -1)
                norms = np.linalg.norm(rows, ord=order, axis=1)
                np.add.at(sums, component, norms / max(float(norms.mean()), 1e-30))
                np.add.at(counts, component, 1)
        self.scores = sums / np.maximum(counts, 1)

    def take(self, component: int) -> None:
        """The others keep their norms."""


class OutputError:
    """`second_order`, from the second moments of the inputs of each layer by name."""

    def __init__(self, channels: Channels, problems: Mapping[str, tuple[Mixer, Array, Array]], damping: float) -> None:
        self.scores = np.zeros(channels.count)
        self._layers = [Surgeon(mixer, matrix, gram, damping) for mixer, matrix, gram in problems.values()]
        self._of: list[list[Surgeon]] = [[] for _ in range(channels.count)]
        for layer in self._layers:
            for component in np.union1d(layer.columns, layer.rows):
                self._of[component].append(layer)
            self._add(layer, 1)

    def take(self, component: int) -> None:
        """Every layer that has the channel makes good for it."""
        for layer in self._of[component]:
            self._add(layer, -1)
            layer.take(component)
            self._add(layer, 1)

    def _add(self, layer: Surgeon, sign: int) -> None:
        components, errors = layer.errors
        self.scores[components] += sign * errors


class Surgeon:
    """One layer whose input channels go one by one. `errors`: the components left, and what each would cost."""

    def __init__(self, mixer: Mixer, matrix: Array, gram: Array, damping: float) -> None:
        self.columns, self.rows = mixer.inputs[0], mixer.outputs  # channels of all groups go together
        self.matrix = matrix.copy()
        self.inverse = np.linalg.inv(damped(gram, damping))
        self.variance = max(float(((matrix @ gram) * matrix).sum()), 1e-30)
        self.left = self.columns != 0
        self.errors = self._errors()

    def take(self, component: int) -> None:
        """The others make good for a channel's columns; its rows, if there are any, need no output any more."""
        self.matrix[self.rows == component] = 0
        block = np.flatnonzero(self.columns == component)
        if len(block):
            share = np.linalg.solve(self.inverse[:, block][:, :, block], self.inverse[:, block])
            self.matrix -= self.matrix[:, :, block] @ share
            self.inverse -= self.inverse[:, :, block] @ share
            self.left[block] = False
        self.errors = self._errors()

    def _errors(self) -> tuple[IntArray, Array]:
        """For each component left the error, those with equally many columns at once."""
        places = np.flatnonzero(self.left)
        order = places[np.argsort(self.columns[places], kind="stable")]
        components, starts, counts = np.unique(self.columns[order], return_index=True, return_counts=True)
        errors = np.zeros(len(components))
        for size in np.unique(counts):
            some = np.flatnonzero(counts == size)
            errors[some] = self._block_errors(order[starts[some][:, None] + np.arange(size)])
        return components, errors / self.variance

    def _block_errors(self, blocks: IntArray) -> Array:
        """Errors of blocks of columns [blocks, size]."""
        inner = self.inverse[:, blocks[:, :, None], blocks[:, None, :]]  # [groups, blocks, size, size]
        weights = np.moveaxis(self.matrix[:, :, blocks], 1, -1)  # [groups, blocks, size, rows]
        return np.asarray((weights * np.linalg.solve(inner, weights)).sum(axis=(0, 2, 3)))
