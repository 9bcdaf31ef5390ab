"""How much a parsed model holds, before any of it is copied: names, texts, nodes, local functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import networkx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from irc.diagnostics import error
from irc.limits import Limits


def check_contents(model: ModelProto, limits: Limits) -> None:
    """Raises E109 for what exceeds a limit, E102 for names that no exporter writes and functions that never end."""
    everything = chain(_below(model.graph.node), *(_below(function.node) for function in model.functions))
    for count, node in enumerate(everything, 1):
        limits.check("nodes", count, "nodes of the model")
        limits.check("name", max((len(a.s) for a in node.attribute), default=0), "characters of a text attribute")
        for text in _texts(node):
            check_name(text, limits)
    for text in _graph_names(model.graph):
        check_name(text, limits)
    limits.check("nodes", _inlined(model), "nodes with functions in place")


def check_name(name: object, limits: Limits) -> None:
    """Names reach terminals, files and sources: text (else protobuf gives bytes), no control characters."""
    if not isinstance(name, str):
        raise error("E102", "a name is not UTF-8 text: the file is damaged")
    limits.check("name", len(name), "characters of a name")
    if not name.isprintable():
        raise error("E102", f"the name {name!a} holds control characters", remedy="Rename it in the model.")


def _below(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes, and those of their subgraphs."""
    waiting = [iter(nodes)]
    while waiting:
        for node in waiting.pop():
            yield node
            waiting += [iter(graph.node) for graph in _graphs(node)]


def _graphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _texts(node: NodeProto) -> Iterator[str]:
    yield from (node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute))
    for graph in _graphs(node):
        yield from _graph_names(graph)


def _graph_names(graph: GraphProto) -> Iterator[str]:
    yield from (tensor.name for tensor in graph.initializer)
    for port in chain(graph.input, graph.output):
        yield from (port.name, *(dim.dim_param for dim in port.type.tensor_type.shape.dim))


def _inlined(model: ModelProto) -> int:
    """Nodes of the model once every call of a local function is its body: functions may double at every level."""
    bodies = {(f.domain, f.name): [(n.domain, n.op_type) for n in _below(f.node)] for f in model.functions}
    calls = networkx.DiGraph((key, callee) for key, body in bodies.items() for callee in body if callee in bodies)
    calls.add_nodes_from(bodies)
    if not networkx.is_directed_acyclic_graph(calls):
        raise error("E102", "a function of the model calls itself", remedy="Export the model again.")
    sizes: dict[tuple[str, str], int] = {}
    for key in reversed(list(networkx.topological_sort(calls))):
        sizes[key] = 1 + sum(sizes.get(callee, 1) for callee in bodies[key])
    return sum(sizes.get((node.domain, node.op_type), 1) for node in _below(model.graph.node))
