"""Selectors: which nodes a step may touch, written `op(conv) & !name("head*")`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from irc.graph import Graph, Node

WEIGHTED = frozenset({"conv", "matmul", "matvec"})


class Selector(ABC):
    """A set of nodes, described without a graph."""

    __slots__ = ()

    @abstractmethod
    def select(self, graph: Graph) -> frozenset[str]:
        """Names of the nodes of `graph` that belong to the set."""


@dataclass(frozen=True, slots=True)
class Everything(Selector):
    """All nodes: what a step without selector takes."""

    def select(self, graph: Graph) -> frozenset[str]:
        return frozenset(node.name for node in graph.nodes)


@dataclass(frozen=True, slots=True)
class Operation(Selector):
    """`op(conv)`: all nodes of one op."""

    op: str

    def select(self, graph: Graph) -> frozenset[str]:
        return frozenset(node.name for node in graph.nodes if node.op.name == self.op)


@dataclass(frozen=True, slots=True)
class Name(Selector):
    """`name("glob")`: nodes whose name, or place in the user's model (with or without `onnx:`), matches."""

    glob: str

    def select(self, graph: Graph) -> frozenset[str]:
        return frozenset(node.name for node in graph.nodes if self._takes(node))

    def _takes(self, node: Node) -> bool:
        known = {node.name, node.origin, node.origin.partition(":")[2]} - {""}
        return any(fnmatchcase(name, self.glob) for name in known)


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


@dataclass(frozen=True, slots=True)
class Negation(Selector):
    """`!a`."""

    a: Selector

    def select(self, graph: Graph) -> frozenset[str]:
        return Everything().select(graph) - self.a.select(graph)


@dataclass(frozen=True, slots=True)
class Both(Selector):
    """`a & b`."""

    a: Selector
    b: Selector

    def select(self, graph: Graph) -> frozenset[str]:
        return self.a.select(graph) & self.b.select(graph)


@dataclass(frozen=True, slots=True)
class Either(Selector):
    """`a | b`."""

    a: Selector
    b: Selector

    def select(self, graph: Graph) -> frozenset[str]:
        return self.a.select(graph) | self.b.select(graph)
