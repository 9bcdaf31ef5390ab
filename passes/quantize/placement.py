"""Where quantizers go on activations, and which of them must be the same.

Values connected by ops that only move, compare or rectify numbers (max pooling, reshape, transpose, concat, relu, ...)
form one component and share one quantizer, so that those ops run on the integers; so do the operands of an addition.
The quantizers stand at the entries of a component: inputs, results of layers, results of any other op.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from irc.graph import Graph, Node
from irc.ops.elementwise import Add, Clip, Relu
from irc.ops.pooling import ArgMax, MaxPool, ReduceMax
from irc.ops.quantization import Bipolar, Dequantize
from irc.ops.quantization import Quantize as QuantizeOp
from irc.ops.shape import Concat, Gather, Pad, Reshape, Slice, Transpose
from irc.types import Float
from passes.layers import layers, statics, tables

CARRYING = MaxPool | ReduceMax | Reshape | Transpose | Slice | Pad | Concat | Relu | Clip
_MOVING = Reshape | Transpose | Relu  # also possible on accumulators, whose scale differs by channel


@dataclass(frozen=True, slots=True)
class Component:
    """Values of one quantizer: all `members`, the `entries` that get it, each with whether its negative part is dead.

    `imports` are the uses (node, operand) of values quantized before, which must be requantized to this quantizer.
    `compared` says that the values are only compared by argmax.
    """

    members: frozenset[str]
    entries: tuple[str, ...]
    floor: tuple[bool, ...]
    imports: tuple[tuple[str, str], ...]
    compared: bool


@dataclass(frozen=True)
class Placement:
    """The analysis behind `components`; each property is one linear walk."""

    graph: Graph
    selected: Callable[[Node], bool]

    @cached_property
    def static(self) -> frozenset[str]:
        return statics(self.graph)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.graph.types)}

    @cached_property
    def absorbed(self) -> frozenset[str]:
        """Results of layers that are read by their bias addition alone."""
        return frozenset(layer.node.name for layer in layers(self.graph) if layer.addition)

    @cached_property
    def fixed(self) -> frozenset[str]:
        """Values whose quantization is given: dequantized ones, rows of quantized tables, and what carries them."""
        found: set[str] = set()
        looked_up = {node.name for node in tables(self.graph) if self.selected(node)}
        for node in self.graph.nodes:
            operands = [o for o in node.operands if o not in self.static]
            carried = self.carries(node) and bool(operands) and found.issuperset(operands)
            if isinstance(node.op, Dequantize) or node.name in looked_up or carried:
                found.add(node.name)
        return frozenset(found - self.static)

    @cached_property
    def open(self) -> frozenset[str]:
        """Real values that still need a quantizer when anything computes with them."""
        real = {n for n, t in self.graph.types.items() if isinstance(t.format, Float)}
        return frozenset(real - self.static - self.fixed - self.absorbed)

    @cached_property
    def floored(self) -> frozenset[str]:
        """Values of which only the positive part matters: every use ends in a relu."""
        found: set[str] = set()
        for node in reversed(self.graph.nodes):
            found.update(r for r in node.results if self._floored(r, found))
        found.update(p.name for p in self.graph.inputs if self._floored(p.name, found))
        return frozenset(found)

    def _floored(self, value: str, found: set[str]) -> bool:
        users = self.graph.users[value]
        return bool(users) and not self.graph.is_output(value) and all(_rectifies(u) or
            (self.carries(u) and u.name in found) for u in users)

    def carries(self, node: Node) -> bool:
        """Whether the node's result has the quantization of its operands."""
        if isinstance(node.op, Gather):
            return node.operands[0] not in self.static and node.operands[1] in self.static
        return isinstance(node.op, CARRYING)

    def joins(self, node: Node) -> bool:
        """Whether all operands must have one quantizer."""
        both = isinstance(node.op, Add) and not self.static.intersection(node.operands)
        return both or isinstance(node.op, Concat)

    def demands(self, node: Node) -> bool:
        """Whether the node wants quantized operands. A sign is a quantizer itself, also of accumulators."""
        return self.selected(node) and not isinstance(node.op, _MOVING | QuantizeOp | Bipolar)

    def _linked(self, node: Node) -> list[str]:
        """The open values that the node ties together."""
        group = [o for o in node.operands if o in self.open] if self.carries(node) or self.joins(node) else []
        return group + [r for r in node.results if self.carries(node) and r in self.open]

    def components(self) -> tuple[Component, ...]:
        """All components that some selected node computes with."""
        import networkx

        ties = networkx.Graph()
        ties.add_nodes_from(v for v in self.graph.types if v in self.open)
        for node in self.graph.nodes:
            ties.add_edges_from(pairwise(self._linked(node)))
        groups = (frozenset(c) for c in networkx.connected_components(ties))
        return tuple(c for c in map(self._component, groups) if c.entries)

    def _component(self, members: frozenset[str]) -> Component:
        order = sorted(members, key=self._position.__getitem__)
        users = {u.name: u for v in order for u in self.graph.users[v] if self.demands(u)}
        entries = list(dict.fromkeys(self._behind_relu(v) for v in order if users and self._enters(v)))
        imports = [(u.name, o) for u in users.values() if self.joins(u) for o in u.operands if o in self.fixed]
        compared = bool(users) and all(isinstance(u.op, ArgMax) for u in users.values())
        floor = tuple(e in self.floored for e in entries)
        return Component(members, tuple(entries), floor, tuple(imports), compared)

    def _enters(self, value: str) -> bool:
        maker = self.graph.producers.get(value)
        return maker is None or not self.carries(maker)

    def _behind_relu(self, value: str) -> str:
        """The quantizer clips anyway, so it stands behind a relu or clip that alone reads the value."""
        users = self.graph.users[value]
        while len(users) == 1 and isinstance(users[0].op, Relu | Clip) and not self.graph.is_output(value):
            value = users[0].name
            users = self.graph.users[value]
        return value


def _rectifies(node: Node) -> bool:
    return isinstance(node.op, Relu) or (isinstance(node.op, Clip) and node.op.low >= 0)

