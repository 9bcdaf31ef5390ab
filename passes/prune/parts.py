"""What can be pruned: weight constants as matrices [rows, columns], with the node that reads each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from irc.graph import Constant, Graph, Node, Port
from irc.interpreter import computed, evaluate
from irc.ops.linear import MatMul
from irc.ops.shape import Gather
from irc.types import Array
from passes.layers import per_channel, restored, tables
from passes.reconstruction.products import products


@dataclass(frozen=True, slots=True)
class Part:
    """A weight constant. Its rows lie along `axis`: output channels, gates, or the entries of a table."""

    constant: Constant
    node: Node
    axis: int

    @property
    def name(self) -> str:
        return self.constant.name

    @property
    def matrix(self) -> Array:
        """The weights [rows, columns] in the interpreter's precision."""
        return per_channel(computed(self.constant.data), self.axis)

    def masked(self, kept: Array) -> Constant:
        """The constant with zeros where the matrix `kept` is not set; itself when that changes nothing."""
        return self._with(np.where(restored(kept, self.constant.data.shape, self.axis), self.constant.data, 0))

    def changed(self, matrix: Array) -> Constant:
        """The constant with other weights."""
        return self._with(restored(matrix, self.constant.data.shape, self.axis))

    def _with(self, data: Array) -> Constant:
        found = replace(self.constant, data=data)
        return self.constant if found == self.constant else found


def layer_parts(graph: Graph, selected: Callable[[Node], bool]) -> list[Part]:
    """The weights of convolutions, dense and recurrent layers, each constant once."""
    found: dict[str, Part] = {}
    for product in products(graph):
        if selected(product.node) and not found.keys() & set(product.weights):
            axis = 1 if isinstance(product.node.op, MatMul) else 0
            found.update((name, Part(graph.constants[name], product.node, axis)) for name in product.weights)
    return list(found.values())


def table_parts(graph: Graph, selected: Callable[[Node], bool]) -> list[Part]:
    """Embedding tables, each once; a row is an entry."""
    found: dict[str, Part] = {}
    for node in tables(graph):
        name = node.operands[0]
        if selected(node) and name in graph.constants and isinstance(node.op, Gather):
            found.setdefault(name, Part(graph.constants[name], node, node.op.axis))
    return list(found.values())


def readings(graph: Graph, parts: list[Part], feeds: Mapping[str, Array]) -> Iterator[Array]:
    """For each table how often each entry is read on the given data."""
    probe = replace(graph, outputs=tuple(Port(p.node.operands[1], graph.types[p.node.operands[1]], p.node.operands[1])
                                         for p in parts))
    seen = evaluate(_needed(probe), feeds) if parts else {}
    for part in parts:
        entries = part.constant.data.shape[part.axis]
        yield np.bincount(seen[part.node.operands[1]].reshape(-1) % entries, minlength=entries)


def _needed(graph: Graph) -> Graph:
    """The graph with only the nodes that its outputs depend on."""
    wanted, nodes = {port.value for port in graph.outputs}, list[Node]()
    for node in reversed(graph.nodes):
        if wanted.intersection(node.results):
            wanted.update(node.operands)
            nodes.append(node)
    return replace(graph, nodes=tuple(reversed(nodes)))
