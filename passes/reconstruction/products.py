"""Layers as products: output = weight matrix times inputs, whatever the op that computes it.

A convolution multiplies its weight rows with patches of its input, a dense layer with the last axis, a recurrent layer
all its gates with the input and the state before. Everything that weighs errors by the inputs needs only this view.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from irc.diagnostics import error
from irc.graph import MISSING, Graph, Node
from irc.interpreter import run_node
from irc.ops.linear import Conv
from irc.ops.recurrent import Recurrent
from irc.types import Array, Float, Shape
from passes.layers import layers


@dataclass(frozen=True, slots=True)
class Product(ABC):
    """One node with constant real weights. `weights` names them; `shapes` are theirs.

    The matrix of the weights is [groups, rows, columns]: row r of group g makes output channel g * rows + r.
    """

    visits: ClassVar[int] = 1
    node: Node
    weights: tuple[str, ...]
    shapes: tuple[Shape, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """How many columns each of the weights has."""
        return (math.prod(self.shapes[0][1:]),)

    @abstractmethod
    def matrix(self, arrays: Sequence[Array]) -> Array:
        """The weights as [groups, rows, columns]."""

    @abstractmethod
    def arrays(self, matrix: Array) -> tuple[Array, ...]:
        """The inverse of `matrix`."""

    @abstractmethod
    def inputs(self, values: Mapping[str, Array]) -> Array:
        """What the matrix is multiplied with, [groups, products, columns]; `values` are the node's operands."""

    @abstractmethod
    def by_row(self, results: Array) -> Array:
        """Values like the node's first result as [groups, products, rows]."""

    def shifted(self, results: tuple[Array, ...], shift: Array) -> tuple[Array, ...]:
        """The node's results with a constant added to each output channel, where such a sum is a result."""
        return results

    def moved(self, values: Mapping[str, Array], shift: Array) -> dict[str, Array]:
        """The node's operands that a constant added to each output channel changes, where the sum is inside."""
        return {}


class Convolution(Product):
    """Patches in the order of the weight: channels of the group, then taps."""

    __slots__ = ()

    def matrix(self, arrays: Sequence[Array]) -> Array:
        rows = self.shapes[0][0] // self.op.group
        return arrays[0].reshape(self.op.group, rows, -1)

    def arrays(self, matrix: Array) -> tuple[Array, ...]:
        return (matrix.reshape(self.shapes[0]),)

    def inputs(self, values: Mapping[str, Array]) -> Array:
        return self.op.patches(values[self.node.operands[0]], self.shapes[0][2:])

    def by_row(self, results: Array) -> Array:
        rows = np.moveaxis(results, 2, -1).reshape(-1, self.op.group, self.shapes[0][0] // self.op.group)
        return np.ascontiguousarray(rows.swapaxes(0, 1))

    def shifted(self, results: tuple[Array, ...], shift: Array) -> tuple[Array, ...]:
        return (results[0] + shift.reshape(1, 1, -1, *(1,) * len(self.shapes[0][2:])),)

    @property
    def op(self) -> Conv:
        assert isinstance(self.node.op, Conv)
        return self.node.op


class Dense(Product):
    """A matrix product with a constant right operand [columns, rows]."""

    __slots__ = ()

    @property
    def widths(self) -> tuple[int, ...]:
        return self.shapes[0][:1]

    def matrix(self, arrays: Sequence[Array]) -> Array:
        return arrays[0].T[None]

    def arrays(self, matrix: Array) -> tuple[Array, ...]:
        return (np.ascontiguousarray(matrix[0].T),)

    def inputs(self, values: Mapping[str, Array]) -> Array:
        return values[self.node.operands[0]].reshape(1, -1, self.shapes[0][0])

    def by_row(self, results: Array) -> Array:
        return results.reshape(1, -1, self.shapes[0][1])

    def shifted(self, results: tuple[Array, ...], shift: Array) -> tuple[Array, ...]:
        return (results[0] + shift,)


class Gates(Product):
    """All gates of a recurrent layer: the input and the state of the time step before, side by side.

    The states follow from the weights, so the weights are chosen more than once, each time on the states that the last
    ones give.
    """

    __slots__ = ()
    visits = 3

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(shape[1] for shape in self.shapes)

    def matrix(self, arrays: Sequence[Array]) -> Array:
        return np.concatenate(arrays, axis=1)[None]

    def arrays(self, matrix: Array) -> tuple[Array, ...]:
        return tuple(np.split(matrix[0], [self.shapes[0][1]], axis=1))

    def inputs(self, values: Mapping[str, Array]) -> Array:
        x, after = values[self.node.operands[0]], run_node(self.node, values)[0]  # [samples, time, batch, size]
        given = values[self.first][:, None] if self.first else np.zeros(1)
        first = np.broadcast_to(given, after[:, :1].shape)
        both = np.concatenate((x, np.concatenate((first, after[:, :-1]), axis=1)), axis=-1)
        return both.reshape(1, -1, both.shape[-1])

    def by_row(self, results: Array) -> Array:
        raise TypeError("the rows of a recurrent layer are its gates, which are no result")

    @property
    def first(self) -> str:
        """The state before the first time step; empty when it is zero."""
        return self.node.operands[5] if len(self.node.operands) > 5 else MISSING

    @property
    def bias(self) -> str:
        """The bias of the input's and the state's weights, one behind the other; empty when there is none."""
        return self.node.operands[3] if len(self.node.operands) > 3 else MISSING

    def moved(self, values: Mapping[str, Array], shift: Array) -> dict[str, Array]:
        if not self.bias:
            return {}
        return {self.bias: values[self.bias] + np.concatenate((shift, np.zeros_like(shift)))}


def products(graph: Graph) -> Iterator[Product]:
    """All layers whose weights are real constants, in the order of the graph."""
    found: dict[str, tuple[type[Product], tuple[str, ...]]] = {
        layer.node.name: (Convolution if isinstance(layer.node.op, Conv) else Dense, (layer.weight,))
        for layer in layers(graph)}
    found |= {node.name: (Gates, node.operands[1:3]) for node in graph.nodes if isinstance(node.op, Recurrent)}
    for node in graph.nodes:
        kind, weights = found.get(node.name, (Dense, ()))
        if weights and all(_is_real(graph, name) for name in weights):
            yield kind(node, weights, tuple(graph.tensor(name).shape for name in weights))


def _is_real(graph: Graph, name: str) -> bool:
    return name in graph.constants and isinstance(graph.tensor(name).format, Float)


def demand_real_weights(graph: Graph, operator: str) -> None:
    """Raise E306 where all layers have weights that are integers or shared already: the pass could change nothing."""
    if any(layers(graph)) and not any(products(graph)):
        raise error("E306", f"{operator} finds no layer with real weights: all are quantized or shared already",
                    operator=operator, remedy=f"Run {operator} before passes such as quantize, shift and share.")
