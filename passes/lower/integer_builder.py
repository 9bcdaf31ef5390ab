"""The integer graph under construction: what each real value has become, and how pending parts become nodes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import cast

import numpy as np

from irc.codebook import stored
from irc.diagnostics import IrcError, error
from irc.graph import Graph, Node
from irc.operation import Op
from irc.ops.elementwise import Add, Clip, Relu
from irc.ops.quantization import Dequantize
from irc.types import Array, IntArray, Integer, Level, TensorType, smallest_integer
from passes.layers import statics
from passes.lower.ports import lower_ports
from passes.lower.quantity import Quantity, Scale, centred, fractions

ADD_QUANTIZE = "add quantize{...} before integer, and let its selector take this layer"


class IntegerBuilder:
    """`known` says what each real value of the model has become."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.static = statics(graph)
        ports, self.known = lower_ports(graph)
        self.edit = Graph(graph.name, Level.INTEGER, ports, (), {}, ()).edit()
        self.constants: dict[str, str] = {}

    def refused(self, node: Node, why: str, remedy: str = ADD_QUANTIZE) -> IrcError:
        return error("E306", why, node=node.name, operator=node.op.name, remedy=remedy)

    def emit(self, node: Node, op: Op, *operands: Quantity, stem: str = "") -> Quantity:
        """A node at integer level; its result is a plain integer (scale 1)."""
        names, kinds = [q.name for q in operands], [q.type for q in operands]
        made = self.edit.node(stem or node.name, op, names, kinds, node.origin)
        self.edit.insert_after("", made)
        return Quantity(made.name, cast(TensorType, made.type))

    def constant(self, stem: str, data: Array, form: Integer | None = None) -> Quantity:
        form = form or smallest_integer(int(data.min(initial=0)), int(data.max(initial=0)))
        kind = TensorType(form, np.shape(data))
        return Quantity(self.edit.constant(stem, kind, data), kind)

    def shared(self, source: str, kind: TensorType, data: Array) -> Quantity:
        """A constant of the model, entered once however many nodes read it."""
        if source not in self.constants:
            self.constants[source] = self.edit.constant(source, kind, data)
        return Quantity(self.constants[source], kind)

    def operand(self, node: Node, index: int, channels: int | None = None) -> Quantity:
        """Operand as a settled integer. With `channels` given, its scale must not vary along that axis."""
        name = node.operands[index]
        if name not in self.known:
            raise self.refused(node, f"operand '{name}' of {node.op.name} is not quantized")
        x = self.settled(name, node)
        if channels is not None and len(x.scale) > 1 and (channels < 0 or channels == x.axis):
            raise self.refused(node, f"the scale of operand '{name}' of {node.op.name} differs from channel to channel",
                                "add a quantize with one scale for the whole tensor")
        return x

    def settled(self, name: str, node: Node | None) -> Quantity:
        """The value with nothing pending: its offset is added, then its bounds are applied."""
        x = self.known[name]
        if node is not None and x.shift is not None:
            raise self.refused(node, f"a constant that is no whole number of steps is added to '{name}'",
                               "put a quantize directly behind the addition")
        if node is not None and (x.offset is not None or x.bounded):
            x = self.limited(self.added(x, node, name), node, name)
            self.known[name] = x
        return x

    def added(self, x: Quantity, node: Node, stem: str) -> Quantity:
        if x.offset is None or not x.offset.any():
            return replace(x, offset=None)
        done = self.emit(node, Add(), x, self.constant(f"{stem}_offset", x.offset), stem=f"{stem}_sum")
        return replace(x, name=done.name, type=done.type, offset=None)

    def limited(self, x: Quantity, node: Node, stem: str) -> Quantity:
        """Apply the pending bounds to the integers; they must be whole steps."""
        if not x.bounded:
            return x
        low = x.format.minimum if x.low is None else self._step(x, x.low, node)
        high = x.format.maximum if x.high is None else self._step(x, x.high, node)
        plain = replace(x, low=None, high=None)
        if low <= x.format.minimum and high >= x.format.maximum:
            return plain
        rectify = low == 0 and high >= x.format.maximum
        done = self.emit(node, Relu() if rectify else Clip(low, high), x, stem=f"{stem}_bounded")
        return replace(plain, name=done.name, type=done.type)

    def _step(self, x: Quantity, bound: Fraction, node: Node) -> int:
        if bound != 0 and (len(x.scale) > 1 or (bound / x.scale[0]).denominator != 1):
            raise self.refused(node, f"the bound {float(bound):g} is not a whole number of steps",
                                "put a quantize directly behind the clip")
        return int(bound / x.scale[0]) + x.zero

    def source(self, node: Node, name: str) -> tuple[Quantity, IntArray, Scale]:
        """A quantized constant: as a value without zero point, its integers, its scales. One that is stored by a
        codebook becomes a plain constant here: what hardware multiplies with are the integers themselves."""
        maker = self.graph.producers.get(name)
        if maker is None or not isinstance(maker.op, Dequantize):
            raise self.refused(node, f"the constant '{name}' of {node.op.name} is not quantized")
        parts = [stored(self.graph, o) for o in maker.operands]
        if parts[0] is None or parts[1] is None:
            raise self.refused(node, f"the constant '{name}' of {node.op.name} is computed", "add fold before integer")
        data, kind = centred(parts[0], parts[2] if len(parts) > 2 else None, maker.op.axis)
        return self.shared(maker.operands[0], kind, data), data, fractions(parts[1].data)
