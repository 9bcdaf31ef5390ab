"""Ports of the integer graph: what the outside world sends instead of reals and 64-bit token ids."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from irc.diagnostics import error
from irc.graph import Graph, Node, Port
from irc.ops.quantization import Quantize as QuantizeOp
from irc.ops.shape import Gather, Reshape, Transpose
from irc.types import Encoding, Float, Integer, TensorType
from passes.lower.quantity import Quantity


def lower_ports(graph: Graph) -> tuple[tuple[Port, ...], dict[str, Quantity]]:
    """Integer ports, and what they stand for: real ports for the results of their quantizers."""
    ports, known = [], {}
    for port in graph.inputs:
        lowered, values = _real(graph, port) if isinstance(port.type.format, Float) else _ids(graph, port)
        ports.append(lowered)
        known.update(dict.fromkeys(values, Quantity(lowered.name, cast(TensorType, lowered.type))))
    return tuple(ports), known


def _real(graph: Graph, port: Port) -> tuple[Port, tuple[str, ...]]:
    """A real port takes the encoding of the quantizers that read it."""
    users = graph.users[port.name]
    if any(not isinstance(u.op, QuantizeOp) for u in users) or graph.is_output(port.name):
        raise _refused(port, "is not quantized")
    found = {_quantizer(graph, u) for u in users}
    if len(found) > 1:
        raise _refused(port, "is quantized in more than one way")
    if not found:
        return replace(port, type=replace(port.type, format=Integer(False, 1)), encoding=Encoding((1.0,))), ()
    form, encoding = found.pop()
    return replace(port, type=replace(port.type, format=form), encoding=encoding), tuple(u.name for u in users)


def _refused(port: Port, why: str) -> Exception:
    return error("E306", f"input '{port.name}' {why}", node=port.name, remedy="add quantize{...} before integer")


def _quantizer(graph: Graph, node: Node) -> tuple[Integer, Encoding]:
    op = cast(QuantizeOp, node.op)
    parameters = [graph.constants.get(o) for o in node.operands[1:]]
    if any(p is None for p in parameters):
        raise error("E306", "the scale of a quantize must be a constant", node=node.name, operator="quantize",
                    remedy="add fold before integer")
    scale, *zero = (p.data.reshape(-1) for p in parameters if p is not None)
    if zero and (zero[0] != zero[0][0]).any():
        raise error("E306", "the zero point of an input differs from channel to channel", node=node.name,
                    operator="quantize", remedy="use one zero point for the whole tensor")
    steps = tuple(float(s) for s in scale)
    return cast(Integer, op.to), Encoding(steps, int(zero[0][0]) if zero else 0, op.axis)


def _ids(graph: Graph, port: Port) -> tuple[Port, tuple[str, ...]]:
    """An integer port carries itself; token ids get just enough bits for the table they look up."""
    form = cast(Integer, port.type.format)
    rows = _rows(graph, port.name)
    if rows:
        form = Integer(False, max(1, (rows - 1).bit_length()))
    return replace(port, type=replace(port.type, format=form), encoding=Encoding((1.0,))), (port.name,)


def _rows(graph: Graph, name: str) -> int:
    """Rows of the smallest table that the value indexes, directly or reshaped; 0 when there is none."""
    sizes, open_values = [], [name]
    while open_values:
        value = open_values.pop()
        for user in graph.users[value]:
            if isinstance(user.op, Gather) and user.operands[1] == value:
                sizes.append(graph.tensor(user.operands[0]).shape[user.op.axis])
            if isinstance(user.op, Reshape | Transpose):
                open_values.extend(user.results)
    return min(sizes, default=0)
