"""FIFO depths that certainly work: the starting point of FIFO sizing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from irc.actor import node_firings, stream_operands
from irc.graph import Graph
from irc.types import StreamType, Type


def with_depths(graph: Graph) -> Graph:
    """The graph with FIFOs just deep enough that no round trip between neighbours holds a full-rate actor up."""
    need: dict[str, int] = {}
    latency: dict[str, int] = {p.name: 0 for p in graph.inputs}
    for node in graph.nodes:
        schedule = node_firings(graph, node)
        latency.update((result, schedule.latency) for result in node.results)
        need.update((name, schedule.least_depth(k)) for k, name in enumerate(stream_operands(graph, node)))

    return at_depths(graph, {name: need.get(name, 1) + after + 2 for name, after in latency.items()})


def at_depths(graph: Graph, depths: Mapping[str, int]) -> Graph:
    """The graph with the given FIFO depths; channels that are not named keep theirs."""

    def deep(name: str, type: Type) -> Type:
        return replace(type, depth=depths.get(name, type.depth)) if isinstance(type, StreamType) else type

    nodes = [replace(n, types=tuple(deep(r, t) for r, t in zip(n.results, n.types, strict=True)))
             for n in graph.nodes]
    inputs = [replace(p, type=deep(p.name, p.type)) for p in graph.inputs]
    outputs = [replace(p, type=deep(p.value, p.type)) for p in graph.outputs]
    return replace(graph, nodes=tuple(nodes), inputs=tuple(inputs), outputs=tuple(outputs))
