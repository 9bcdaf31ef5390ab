"""Residual blocks, found by the shape of the graph alone.

A block is an addition of two values where one is computed from the other: `y = x + F(x)`. That is a statement about
dominators. The immediate dominator of the addition, the last node that every path from the inputs to it goes through,
is the node that makes `x` exactly when every path to `F(x)` leads through it; then `F(x)` depends on `x` only. It
holds for post- and pre-activation, basic and bottleneck blocks, attention and dense branches alike, whatever they are
called.

An addition of two values that are both computed (a convolution, a strided slice and a padding in the skip) is a
projection. It changes the shape and stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import networkx

from irc.graph import Graph, Node
from irc.ops.elementwise import Add
from irc.types import Shape
from passes.layers import Layer, layers, statics

_ROOT = ""  # in front of all inputs


@dataclass(frozen=True, slots=True)
class Block:
    """`addition` = `skip` + `branch`. `nodes` compute the branch from the skip, in order; their results are read by
    nobody else. `layers` of them have weights."""

    addition: Node
    skip: str
    branch: str
    nodes: tuple[Node, ...]
    layers: tuple[Layer, ...]

    @property
    def name(self) -> str:
        return self.addition.name


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of blocks with the same tensor shape; `projected` when it begins with a projection block."""

    shape: Shape
    blocks: tuple[Block, ...]
    projected: bool

    @property
    def removable(self) -> tuple[Block, ...]:
        """The blocks any of which may go: one of the stage stays behind."""
        return self.blocks if self.projected or len(self.blocks) > 1 else ()

    @property
    def most(self) -> int:
        """How many of them may go, one after the other."""
        return len(self.blocks) - (not self.projected)


def stages(graph: Graph) -> list[Stage]:
    """All identity blocks, by stage, in the order of the graph."""
    finder, members = _Finder(graph), dict[str, list[Block]]()
    first: dict[str, str] = {}  # each node -> the first junction of the stage that it is in or behind
    for node in graph.nodes:
        if node.name not in finder.dominators:
            continue
        above = finder.dominators[node.name]
        first[node.name] = first.get(above, "")
        block = finder.block(node)
        if not block and not finder.is_projection(node):
            continue
        if not first[node.name] or finder.shape(first[node.name]) != finder.shape(node.name):
            first[node.name] = node.name
        members.setdefault(first[node.name], []).extend([block] if block else [])
    return [Stage(finder.shape(name), tuple(found), found[0].name != name) for name, found in members.items() if found]


def is_junction(graph: Graph, node: Node, static: frozenset[str]) -> bool:
    """Whether a node adds two computed values of its own shape."""
    return (isinstance(node.op, Add) and len({*node.operands} - static) == 2
            and all(graph.types[o] == node.type for o in node.operands))


class _Finder:
    """What is known about a graph while its blocks are searched."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.static = statics(graph)
        self.weighted = {layer.node.name: layer for layer in layers(graph)}
        self.position = {node.name: i for i, node in enumerate(graph.nodes)}

    @cached_property
    def dominators(self) -> dict[str, str]:
        """The immediate dominator of every node that depends on an input; inputs are dominated by the root."""
        view = networkx.DiGraph(self.graph.to_networkx())
        view.add_edges_from((_ROOT, f"in:{port.name}") for port in self.graph.inputs)
        return {node: above for node, above in networkx.immediate_dominators(view, _ROOT).items() if node != _ROOT}

    def shape(self, name: str) -> Shape:
        return self.graph.tensor(name).shape

    def is_projection(self, node: Node) -> bool:
        return (is_junction(self.graph, node, self.static)
                and self.dominators[node.name] not in map(self.maker, node.operands))

    def maker(self, value: str) -> str:
        """The vertex that makes a value."""
        made = self.graph.producers.get(value)
        return made.name if made else f"in:{value}"

    def block(self, node: Node) -> Block | None:
        """The identity block that ends with an addition, if one does."""
        above = self.dominators[node.name]
        if not is_junction(self.graph, node, self.static) or above not in map(self.maker, node.operands):
            return None
        skip, branch = node.operands if self.maker(node.operands[0]) == above else node.operands[::-1]
        inside = self.between(skip, above, branch)
        linear = tuple(self.weighted[n.name] for n in inside if n.name in self.weighted)
        names = {result for n in inside for result in n.results}
        readers = {user.name for name in names for user in self.graph.users[name]} - {n.name for n in inside}
        if not linear or readers != {node.name} or any(port.value in names for port in self.graph.outputs):
            return None
        return Block(node, skip, branch, inside, linear)

    def between(self, skip: str, above: str, branch: str) -> tuple[Node, ...]:
        """The nodes that compute `branch` from `skip`, without what is constant; none when they read another result
        of the node `above`, which makes `skip`."""
        found: dict[str, Node] = {}
        wanted = [branch]
        while wanted:
            value = wanted.pop()
            if value == skip or value in self.static:
                continue
            maker = self.graph.producers[value]
            if maker.name == above:
                return ()
            if maker.name not in found:
                found[maker.name] = maker
                wanted.extend(o for o in maker.operands if o)
        return tuple(sorted(found.values(), key=lambda n: self.position[n.name]))
