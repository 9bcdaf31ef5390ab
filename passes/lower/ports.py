"""Ports of the integer graph: what the outside world sends instead of reals and 64-bit token ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import numpy as np

from irc.diagnostics import IrcError, error
from irc.graph import Graph, Node, Port
from irc.ops.elementwise import Add, Mul
from irc.ops.quantization import Bipolar
from irc.ops.quantization import Quantize as QuantizeOp
from irc.ops.shape import Gather, Reshape, Slice, Transpose
from irc.rounding import shifted
from irc.types import Encoding, Float, Integer, TensorType
from passes.lower.quantity import Quantity, Scale, fractions


def lower_ports(graph: Graph) -> tuple[tuple[Port, ...], dict[str, Quantity]]:
    """Integer ports, and what they stand for."""
    ports = [_real(graph, p) if isinstance(p.type.format, Float) else _ids(graph, p) for p in graph.inputs]
    known = {}
    for port in ports:
        assert port.encoding is not None
        scale = fractions(np.array(port.encoding.scale))
        known[port.name] = Quantity(port.name, cast(TensorType, port.type), scale, port.encoding.axis,
                                    int(port.encoding.zero))
    return tuple(ports), known


def _real(graph: Graph, port: Port) -> Port:
    """A real port takes the encoding of the quantizers that read it, the arithmetic on the way there included."""
    ends = list(_ends(graph, port))
    if graph.is_output(port.name):
        raise _refused(port, "is not quantized")
    found = {_quantizer(port, node, line, graph) for node, line in ends}
    if len(found) > 1:
        raise _refused(port, "is quantized in more than one way")
    if not found:
        return replace(port, type=replace(port.type, format=Integer(False, 1)), encoding=Encoding((1.0,)))
    form, encoding = found.pop()
    return replace(port, type=replace(port.type, format=form), encoding=encoding)


def _refused(port: Port, why: str) -> IrcError:
    return error("E306", f"input '{port.name}' {why}", node=port.name,
                 remedy="add quantize{activations=u8} before integer; it quantizes what layers (conv, matmul) read "
                        "and leaves alone what is quantized")


@dataclass(frozen=True, slots=True)
class Line:
    """What became of an input x on the way to a quantizer: factor * x + shift, elements moved or not."""

    factor: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)
    moved: bool = False


def _ends(graph: Graph, port: Port) -> Iterator[tuple[Node, Line]]:
    """The quantizers that an input reaches through scalar arithmetic and moves."""
    reached = [(port.name, Line())]
    for value, line in reached:
        for user in graph.users[value]:
            if isinstance(user.op, QuantizeOp | Bipolar):
                yield user, line
            else:
                reached.append((user.name, _through(graph, port, user, line)))


def _through(graph: Graph, port: Port, node: Node, line: Line) -> Line:
    if isinstance(node.op, Reshape | Transpose | Slice):
        return replace(line, moved=True)
    constants = [graph.constants[o].data for o in node.operands if o in graph.constants]
    scalar = isinstance(node.op, Add | Mul) and len(constants) == 1 and constants[0].size == 1
    if not scalar or graph.is_output(node.name):
        raise _refused(port, "is not quantized")
    value = Fraction(float(constants[0].reshape(-1)[0]))
    if isinstance(node.op, Add):
        return replace(line, shift=line.shift + value)
    return replace(line, factor=line.factor * value, shift=line.shift * value)


def _quantizer(port: Port, node: Node, line: Line, graph: Graph) -> tuple[Integer, Encoding]:
    """Format and encoding with which the integers of the port are those of the quantizer."""
    if line.factor <= 0:
        raise _refused(port, "is multiplied by a number that is not positive before it is quantized")
    if isinstance(node.op, Bipolar):
        return Integer(False, 1), _sign(-line.shift / line.factor)
    op = cast(QuantizeOp, node.op)
    scale, zero = _parameters(graph, node)
    if line.moved and len(scale) > 1:
        raise _refused(port, "is quantized channel by channel, but moved before")
    offsets = {line.shift / s for s in scale}
    offset = offsets.pop()
    mode = shifted(op.rounding, int(offset)) if offset.denominator == 1 and not offsets else None
    if mode is None:
        raise _refused(port, "is shifted by a part of a step before it is quantized")
    steps = tuple(float(s / line.factor) for s in scale)
    return cast(Integer, op.to), Encoding(steps, int(offset) + zero, op.axis, mode)


def _sign(at: Fraction) -> Encoding:
    """The encoding of one bit, which is set from `at` on."""
    return Encoding((float(abs(at)) if at else 1.0,), 0 if at > 0 else 2 if at < 0 else 1, rounding="floor")


def _parameters(graph: Graph, node: Node) -> tuple[Scale, int]:
    parameters = [graph.constants.get(o) for o in node.operands[1:]]
    if any(p is None for p in parameters):
        raise error("E306", "the scale of a quantize must be a constant", node=node.name, operator="quantize",
                    remedy="add fold before integer")
    scale, *zero = (p.data.reshape(-1) for p in parameters if p is not None)
    if zero and (zero[0] != zero[0][0]).any():
        raise error("E306", "the zero point of an input differs from channel to channel", node=node.name,
                    operator="quantize", remedy="use one zero point for the whole tensor")
    return fractions(scale), int(zero[0][0]) if zero else 0


def _ids(graph: Graph, port: Port) -> Port:
    """An integer port carries itself; token ids get just enough bits for the table they look up."""
    form = cast(Integer, port.type.format)
    rows = _rows(graph, port.name)
    if rows:
        form = Integer(False, max(1, (rows - 1).bit_length()))
    return replace(port, type=replace(port.type, format=form), encoding=Encoding((1.0,)))


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
