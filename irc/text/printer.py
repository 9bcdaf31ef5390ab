"""Graph to IR text, canonically: one statement a line, defaults left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from irc.graph import MISSING, Constant, Graph, Node, Port
from irc.rounding import HALF_EVEN
from irc.text.values import print_fields, print_value, quoted
from irc.types import Array, Encoding

INLINE = 16  # constants of at most so many elements stand in the text
RESERVED = frozenset({"_", "graph", "in", "out", "const", "at", "from", "stream"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")


def print_graph(graph: Graph) -> str:
    """The text of a graph; constants of more than `INLINE` elements appear by key (see `large_constants`)."""
    lines = [f"graph {print_name(graph.name)} at {graph.level.value} {{"]
    lines += [f"  {line}" for line in _statements(graph)]
    return "\n".join((*lines, "}", ""))


def large_constants(graph: Graph) -> Mapping[str, Array]:
    """The constants that the text names by key only."""
    return {c.name: c.data for c in graph.constants.values() if c.data.size > INLINE}


def print_name(name: str) -> str:
    """A name, quoted unless it is a plain identifier; `_` for a missing operand."""
    if name == MISSING:
        return "_"
    return name if _NAME.match(name) and name not in RESERVED else quoted(name)


def _statements(graph: Graph) -> Iterator[str]:
    for port in graph.inputs:
        yield f"in {print_name(port.name)}: {port.type}{_port_options(port)}"
    for constant in graph.constants.values():
        yield f"const {print_name(constant.name)}: {constant.type} = {_data(constant)}"
    for node in graph.nodes:
        yield print_node(node)
    for port in graph.outputs:
        yield f"out {print_name(port.name)} = {print_name(port.value)}{_port_options(port)}"


def print_node(node: Node) -> str:
    """The line of one node."""
    results, types = ", ".join(map(print_name, node.results)), ", ".join(map(str, node.types))
    arguments = ", ".join((*map(print_name, node.operands), *print_fields(node.op)))
    origin = f" from {quoted(node.origin)}" if node.origin else ""
    return f"{results}: {types} = {node.op.name}({arguments}){origin}"


def _port_options(port: Port) -> str:
    options = list(_encoding_options(port.encoding)) if port.encoding else []
    if port.tensor:
        options.append(f"tensor={port.tensor}")
    if port.order:
        options.append(f"order={print_value(port.order)}")
    return "".join(f" {option}" for option in options)


def _encoding_options(encoding: Encoding) -> Iterator[str]:
    yield f"scale={print_value(encoding.scale)}"
    if encoding.zero:
        yield f"zero={print_value(encoding.zero)}"
    if encoding.axis != 1:
        yield f"axis={encoding.axis}"
    if encoding.rounding != HALF_EVEN:
        yield f"rounding={print_value(encoding.rounding)}"


def _data(constant: Constant) -> str:
    return quoted(constant.name) if constant.data.size > INLINE else _nested(constant.data)


def _nested(data: Array) -> str:
    if data.ndim:
        return f"[{', '.join(map(_nested, data))}]"
    if data.dtype != np.float32:
        return repr(data.item())
    # the shortest decimal of a float32, unless reading it by way of float64 would round twice
    short = str(data[()])
    return short if np.float32(float(short)) == data else repr(data.item())
