"""Parts of a network: what computes some values from others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from irc.graph import Graph, Port
from passes.simplify.clean import without_dead_code


def segment(graph: Graph, known: Iterable[str], wanted: Iterable[str]) -> Graph:
    """The graph that computes the values `wanted` from the values `known`; both keep their names as ports.

    A value that is known is not computed, and what only it needs is left out, inputs included.
    """
    given = dict.fromkeys((*known, *(port.name for port in graph.inputs)))
    outputs = tuple(Port(name, graph.types[name], name) for name in dict.fromkeys(wanted))
    nodes = tuple(node for node in graph.nodes if not given.keys() & set(node.results))
    part = without_dead_code(replace(graph, inputs=(), outputs=outputs, nodes=nodes))
    read = {operand for node in part.nodes for operand in node.operands} | {port.value for port in outputs}
    return replace(part, inputs=tuple(Port(name, graph.types[name]) for name in given if name in read))
