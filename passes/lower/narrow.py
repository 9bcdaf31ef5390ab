"""`narrow`: every value and constant in the smallest format that its proven range allows.

Method: interval analysis over the whole graph (Moore 1966), channel by channel through products with constant weights.
Formats of ports stay, because they are the interface; operands of one concat share a format; power-of-two weights keep
theirs, because it names the shifts. Before::

    h: s18[1, 6, 24, 24] = conv(x, w, ...)

and after::

    h: s13[1, 6, 24, 24] = conv(x, w, ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, cast

from irc.graph import Constant, Graph, Node
from irc.ops.shape import Concat
from irc.pipeline.step import Context, Exact, Pass
from irc.types import Integer, Level, TensorType, smallest_integer
from passes.lower.ranges import Interval, ranges


@dataclass(frozen=True, slots=True)
class Narrow(Pass):
    """Declare the smallest formats that hold all reachable values."""

    keeps: ClassVar[Exact] = Exact()
    requires: ClassVar[Level | None] = Level.INTEGER
    ensures: ClassVar[Level | None] = Level.INTEGER

    def run(self, graph: Graph, context: Context) -> Graph:
        forms = formats(graph, ranges(graph))
        nodes = tuple(_narrowed(node, forms) for node in graph.nodes)
        constants = {name: _shrunk(c, forms) for name, c in graph.constants.items()}
        if nodes == graph.nodes and all(constants[n] is c for n, c in graph.constants.items()):
            return graph
        outputs = tuple(replace(p, type=replace(p.type, format=forms[p.value])) for p in graph.outputs)
        narrowed = replace(graph, nodes=nodes, constants=constants, outputs=outputs)
        context.note("bits_saved", bits(graph) - bits(narrowed))
        return narrowed


def bits(graph: Graph) -> int:
    """Bits of all computed values of one sample."""
    kinds = (cast(TensorType, t) for node in graph.nodes for t in node.types)
    return sum(kind.size * kind.format.bits for kind in kinds)


def formats(graph: Graph, known: Mapping[str, Interval]) -> dict[str, Integer]:
    """The smallest format of each value; one format for values that meet in a concat."""
    import networkx

    fixed = {p.name: p.type.format for p in graph.inputs}
    hulls = {name: _hull(fixed.get(name), interval) for name, interval in known.items()}
    joined = networkx.Graph()
    for node in graph.nodes:
        if isinstance(node.op, Concat):
            joined.add_edges_from((node.operands[0], o) for o in node.operands)
    for group in networkx.connected_components(joined):
        hull = (min(hulls[v][0] for v in group), max(hulls[v][1] for v in group))
        hulls.update(dict.fromkeys(group, hull))
    return {name: smallest_integer(*hull) for name, hull in hulls.items()}


def _hull(form: object, interval: Interval) -> tuple[int, int]:
    if isinstance(form, Integer):
        return form.minimum, form.maximum
    return int(interval.low.min(initial=0)), int(interval.high.max(initial=0))


def _narrowed(node: Node, forms: Mapping[str, Integer]) -> Node:
    kind = cast(TensorType, node.type)
    narrow = replace(kind, format=forms[node.name])
    return node if narrow == kind else replace(node, types=(narrow,))


def _shrunk(constant: Constant, forms: Mapping[str, Integer]) -> Constant:
    form = constant.type.format
    if not isinstance(form, Integer) or form == forms[constant.name]:
        return constant
    return replace(constant, type=replace(constant.type, format=forms[constant.name]))
