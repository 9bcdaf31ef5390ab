"""Which indices of which tensors stand for the same channel.

Every axis of every value has one number an index. Ops that hand an axis on hand its numbers on; ops that join two axes
tie the numbers of one to those of the other::

    c: f32[1, 8, 14, 14] = conv(x, w, b)     rows of w, entries of b and channels of c are the same eight numbers
    r: f32[1, 8, 14, 14] = relu(c)           again the same
    s: f32[1, 8, 14, 14] = add(r, d)         channel i of r is tied to channel i of d
    f: f32[1, 1568] = reshape(s)             196 entries in a row carry the number of their channel

What is tied lives or dies together: a connected component of the ties is one channel of the network (Fang et al. 2023,
"DepGraph: Towards Any Structural Pruning"). The number 0 is pinned: batch and spatial axes, inputs, outputs, and every
axis of an op that has no rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np

from irc.graph import Graph, Node
from irc.ops.linear import Conv
from irc.types import Array, IntArray
from passes.layers import layers, statics

Axes: TypeAlias = tuple[IntArray, ...]
PINNED = 0


def pinned(size: int = 1) -> IntArray:
    """The numbers of an axis that must stay as it is."""
    return np.full(size, PINNED)


@dataclass
class Numbering:
    """Numbers for the axes of all values while the graph is walked. `rows` are those whose weights and biases make a
    channel: when these are zero, so is what they make."""

    graph: Graph
    axes: dict[str, Axes] = field(default_factory=dict)
    rows: list[IntArray] = field(default_factory=list)
    count: int = 1
    pairs: list[IntArray] = field(default_factory=list)

    def fresh(self, size: int) -> IntArray:
        """Numbers that nothing has yet."""
        self.count += size
        return np.arange(self.count - size, self.count)

    def tie(self, a: IntArray, b: IntArray) -> None:
        """Each index of one axis is the same channel as the index of the other at its place; the arrays broadcast."""
        if a is not b:
            both = np.stack([part.reshape(-1) for part in np.broadcast_arrays(a, b)])
            self.pairs.append(both[:, both[0] != both[1]])

    def pin(self, axes: Iterable[IntArray]) -> None:
        """Nothing of these axes may go."""
        for axis in axes:
            self.tie(axis, pinned())

    @cached_property
    def weights(self) -> frozenset[str]:
        """The values that are computed from constants alone."""
        return statics(self.graph)


@dataclass(frozen=True)
class Channels:
    """The channels of a network: `component[number]` of the numbers in `axes`; component 0 is pinned."""

    graph: Graph
    axes: Mapping[str, Axes]
    component: IntArray
    rows: IntArray = field(repr=False)

    @property
    def count(self) -> int:
        """How many components there are, the pinned one included."""
        return int(self.component.max(initial=0)) + 1

    def of(self, value: str, axis: int) -> IntArray:
        """The component of each index along an axis of a value."""
        return self.component[self.axes[value][axis]]

    @cached_property
    def is_row(self) -> Array:
        """For each number whether it is one of a row of weights or an entry of a bias."""
        found = np.zeros(len(self.component), np.bool_)
        found[self.rows] = True
        return found

    def lines(self) -> list[IntArray]:
        """The components along every axis that has any but the pinned one, each distinct axis once."""
        found = {axis.tobytes(): axis for value in self.axes for axis in map(self.component.__getitem__,
                                                                          self.axes[value])}
        return [axis for axis in found.values() if axis.any()]

    def same(self, other: Channels, marked: Array) -> Array:
        """The components of `other` that are `marked` here; it is this network, to which biases may have been added."""
        found = np.zeros(other.count, np.bool_)
        for value, axes in self.axes.items():
            for i, axis in enumerate(axes if value in other.axes else ()):
                found[other.of(value, i)[marked[self.component[axis]]]] = True
        return found


def numbered(numbering: Numbering) -> Channels:
    """The components of what a walk has tied."""
    import networkx

    ties = networkx.Graph()
    ties.add_nodes_from(range(numbering.count))
    for pair in numbering.pairs:
        ties.add_edges_from(pair.T.tolist())
    component = np.empty(numbering.count, np.int64)
    for number, members in enumerate(networkx.connected_components(ties)):  # number 0 is in the first one
        component[list(members)] = number
    rows = np.unique(np.concatenate([pinned(), *numbering.rows]))
    return Channels(numbering.graph, numbering.axes, component, rows)


@dataclass(frozen=True, slots=True)
class Mixer:
    """A convolution or matrix product with a constant right operand: where channels end and others begin.

    Everything is seen as [groups, rows, columns] of the weight; `inputs` and `outputs` are the components of the
    columns [groups, columns] and of the rows [groups, rows], `taps` the columns of one input channel."""

    node: Node
    inputs: IntArray
    outputs: IntArray
    taps: int

    @property
    def depthwise(self) -> bool:
        """Whether every group is one channel, which then lives and dies with its results."""
        return len(self.inputs) > 1 and self.inputs.shape[1] == self.taps


def mixers(channels: Channels) -> list[Mixer]:
    """All convolutions and dense layers, in the order of the graph."""
    return [_mixer(channels, layer.node) for layer in layers(channels.graph)]


def _mixer(channels: Channels, node: Node) -> Mixer:
    x, weight = node.operands[:2]
    if isinstance(node.op, Conv):
        taps = int(np.prod(channels.graph.tensor(weight).shape[2:]))
        inputs = np.repeat(channels.of(x, 1), taps)
        return Mixer(node, inputs.reshape(node.op.group, -1), channels.of(weight, 0).reshape(node.op.group, -1), taps)
    return Mixer(node, channels.of(weight, 0)[None], channels.of(weight, 1)[None], 1)
