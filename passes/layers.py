"""The linear layers of a model-level graph: which constant is the weight, which one the bias, along which axis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from irc.codebook import lookup_of
from irc.graph import Graph, Node
from irc.ops.elementwise import Add
from irc.ops.linear import Conv, MatMul
from irc.ops.quantization import Dequantize
from irc.ops.shape import Gather
from irc.types import Array, Float, Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or dense layer, with the addition of a constant bias that may stand behind it.

    `weight` is a constant, elements of a codebook, or the dequantized value of either, with the output channels along
    `weight_axis`. The channels of the result lie along `axis`. `bias` is a constant (an operand of `node`, or of
    `addition`), or empty.
    """

    node: Node
    weight: str
    weight_axis: int
    axis: int
    bias: str = ""
    addition: Node | None = None

    @property
    def x(self) -> str:
        return self.node.operands[0]

    @property
    def result(self) -> str:
        return self.addition.name if self.addition else self.node.name


def statics(graph: Graph) -> frozenset[str]:
    """The constants and everything computed from constants alone."""
    known = set(graph.constants)
    for node in graph.nodes:
        if all(o in known for o in node.operands if o):
            known.update(node.results)
    return frozenset(known)


def layers(graph: Graph) -> Iterator[Layer]:
    """All convolutions and dense layers with a constant weight, in order."""
    static = statics(graph)
    for node in graph.nodes:
        if isinstance(node.op, Conv | MatMul) and node.operands[1] in static and node.operands[0] not in static:
            yield from _layer(graph, node)


def _layer(graph: Graph, node: Node) -> Iterator[Layer]:
    weight, shape = node.operands[1], graph.tensor(node.operands[1]).shape
    if isinstance(node.op, MatMul):
        if len(shape) != 2:
            return
        found = Layer(node, weight, 1, len(graph.tensor(node.name).shape) - 1)
    else:
        bias = node.operands[2] if len(node.operands) > 2 else ""
        found = Layer(node, weight, 0, 1, bias)
    yield found if found.bias else _with_addition(graph, found)


def _with_addition(graph: Graph, layer: Layer) -> Layer:
    users = graph.users[layer.node.name]
    if len(users) != 1 or not isinstance(users[0].op, Add) or graph.is_output(layer.node.name):
        return layer
    bias = next((o for o in users[0].operands if o != layer.node.name), "")
    source = constant_of(graph, bias)
    if not source or graph.tensor(users[0].name).shape != graph.tensor(layer.node.name).shape:
        return layer
    if not along_axis(graph.tensor(bias).shape, graph.tensor(layer.node.name).shape, layer.axis):
        return layer
    return Layer(layer.node, layer.weight, layer.weight_axis, layer.axis, bias, users[0])


def along_axis(shape: tuple[int, ...], of: tuple[int, ...], axis: int) -> bool:
    """Whether a tensor of `shape`, broadcast to `of`, varies along `axis` only."""
    padded = (1,) * (len(of) - len(shape)) + shape
    return all(n == 1 for i, n in enumerate(padded) if i != axis)


def constant_of(graph: Graph, name: str) -> str:
    """The constant behind a value: itself, its codebook, or what is dequantized into it; empty when there is none."""
    if name in graph.constants:
        return name
    maker = graph.producers.get(name)
    if lookup := lookup_of(graph, name):
        return lookup.operands[0]
    if maker and isinstance(maker.op, Dequantize) and all(o in graph.constants for o in maker.operands[1:]):
        return constant_of(graph, maker.operands[0])
    return ""


def tables(graph: Graph) -> Iterator[Node]:
    """Embedding look-ups: `gather` of rows of a constant table of reals."""
    for node in graph.nodes:
        if isinstance(node.op, Gather) and constant_of(graph, node.operands[0]):
            kind = graph.tensor(node.operands[0])
            if isinstance(kind.format, Float) and node.operands[1] not in graph.constants:
                yield node


def per_channel(data: Array, axis: int) -> Array:
    """A weight as [channels, elements of one channel]; axis -1 makes one channel of all."""
    return data.reshape(1, -1) if axis < 0 else np.moveaxis(data, axis, 0).reshape(data.shape[axis], -1)


def restored(rows: Array, shape: Shape, axis: int) -> Array:
    """The inverse of `per_channel`."""
    if axis < 0:
        return rows.reshape(shape)
    moved = (shape[axis], *(n for i, n in enumerate(shape) if i != axis))
    return np.asarray(np.moveaxis(rows.reshape(moved), 0, axis))
