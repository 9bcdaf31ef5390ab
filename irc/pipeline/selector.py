"""Selectors: which nodes a step may touch, written `op(conv) & !name("head*")`."""

from __future__ import annotations

import glob
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from irc.graph import Graph, Node
from irc.text.values import quoted

WEIGHTED = frozenset({"conv", "matmul", "matvec"})
LAYERS = WEIGHTED | {"einsum", "gather", "lstm", "gru", "rnn"}  # what may hold weights


class Selector(ABC):
    """A set of nodes, described without a graph. `str()` is its text in the pipeline language."""

    __slots__ = ()

    @abstractmethod
    def select(self, graph: Graph) -> frozenset[str]:
        """Names of the nodes of `graph` that belong to the set."""


@dataclass(frozen=True, slots=True)
class Everything(Selector):
    """All nodes: what a step without selector takes."""

    def select(self, graph: Graph) -> frozenset[str]:
        return frozenset(node.name for node in graph.nodes)

    def __str__(self) -> str:
        return 'name("*")'


@dataclass(frozen=True, slots=True)
class Operation(Selector):
    """`op(conv)`: all nodes of one op."""

    op: str

    def select(self, graph: Graph) -> frozenset[str]:
        return frozenset(node.name for node in graph.nodes if node.op.name == self.op)

    def __str__(self) -> str:
        return f"op({self.op})"


@dataclass(frozen=True, slots=True)
class Name(Selector):
    """`name("glob")`: nodes whose name, or place in the user's model (with or without `onnx:`), matches."""

    glob: str

    def select(self, graph: Graph) -> frozenset[str]:
        return frozenset(node.name for node in graph.nodes if self._takes(node))

    def _takes(self, node: Node) -> bool:
        known = {node.name, node.origin, node.origin.partition(":")[2]} - {""}
        return any(fnmatchcase(name, self.glob) for name in known)

    def __str__(self) -> str:
        return f"name({quoted(self.glob)})"


@dataclass(frozen=True, slots=True)
class Layers(Selector):
    """Layers of an earlier graph, by name; where a pass took the name away, by the place in the user's model."""

    layers: tuple[tuple[str, str], ...]

    def select(self, graph: Graph) -> frozenset[str]:
        names = {name for name, _ in self.layers}
        here = {node.name for node in graph.nodes if node.name in names and node.op.name in LAYERS}
        moved = {origin for name, origin in self.layers if name not in here} - {""}
        return frozenset(node.name for node in graph.nodes if node.name in names or node.origin in moved)

    def __str__(self) -> str:
        return f"({' | '.join(str(exactly(name)) for name, _ in self.layers)})"


@dataclass(frozen=True, slots=True)
class Weighted(Selector):
    """`weighted`: all layers with weights (convolutions and matrix products); `first` or `last`: the outermost one."""

    which: Literal["weighted", "first", "last"]

    def select(self, graph: Graph) -> frozenset[str]:
        names = [node.name for node in graph.nodes if node.op.name in WEIGHTED]
        match self.which:
            case "weighted":
                return frozenset(names)
            case "first":
                return frozenset(names[:1])
            case "last":
                return frozenset(names[-1:])

    def __str__(self) -> str:
        return self.which


@dataclass(frozen=True, slots=True)
class Negation(Selector):
    """`!a`."""

    a: Selector

    def select(self, graph: Graph) -> frozenset[str]:
        return Everything().select(graph) - self.a.select(graph)

    def __str__(self) -> str:
        return f"!{self.a}"


@dataclass(frozen=True, slots=True)
class Both(Selector):
    """`a & b`."""

    a: Selector
    b: Selector

    def select(self, graph: Graph) -> frozenset[str]:
        return self.a.select(graph) & self.b.select(graph)

    def __str__(self) -> str:
        return f"({self.a} & {self.b})"


@dataclass(frozen=True, slots=True)
class Either(Selector):
    """`a | b`."""

    a: Selector
    b: Selector

    def select(self, graph: Graph) -> frozenset[str]:
        return self.a.select(graph) | self.b.select(graph)

    def __str__(self) -> str:
        first = str(self.a)[1:-1] if isinstance(self.a, Either) else str(self.a)  # as it is read, from the left
        return f"({first} | {self.b})"


def exactly(name: str) -> Name:
    """The selector of the one node of that name."""
    return Name(glob.escape(name))
