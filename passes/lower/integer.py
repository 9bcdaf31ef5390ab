"""`integer`: from quantized reals to exact integers.

Method: the scales of a quantized network are moved behind each layer (Jacob et al. 2018, "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 2.2), where they meet in the exact rational
factor of a `requantize`. With x = sx (qx - zx) and w = sw qw the layer is sx sw (sum qw qx - zx sum qw): the second
part is constant and joins the bias. Padding with the zero point keeps that true at the border. Before::

    x_q: u8[1, 1, 28, 28] = quantize(x, x_scale, x_zero, to=u8)
    x_dq: f32[1, 1, 28, 28] = dequantize(x_q, x_scale, x_zero)
    w_dq: f32[6, 1, 5, 5] = dequantize(w_q, w_scale, axis=0)
    h: f32[1, 6, 24, 24] = conv(x_dq, w_dq, b_dq, ...)
    r: f32[1, 6, 24, 24] = relu(h)
    r_q: u8[1, 6, 24, 24] = quantize(r, r_scale, r_zero, to=u8)

and after, with `x: u8` a port that carries the encoding::

    h: s18[1, 6, 24, 24] = conv(x, w_q, ..., pad_value=0)
    h_sum: s33[1, 6, 24, 24] = add(h, h_offset)
    r_q: u8[1, 6, 24, 24] = requantize(h_sum, r_numerator, r_denominator, to=u8, zero=0)

A bias that was stored with the product of the scales rounded to float32, as exporters do, counts as stored exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

import numpy as np

from irc.diagnostics import Diagnostic, IrcError, error
from irc.graph import Graph, Node, Port
from irc.ops.activation import Softmax
from irc.ops.elementwise import Add, Clip, Mul, Relu, Sub
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import ArgMax, AvgPool, MaxPool, ReduceMax, ReduceMean, ReduceSum
from irc.ops.quantization import Bipolar, Dequantize, Threshold
from irc.ops.quantization import Quantize as QuantizeOp
from irc.ops.shape import Concat, Gather, Pad, Reshape, Slice, Transpose
from irc.pipeline.step import Context, Exact, Pass
from irc.types import IntArray, Level
from passes.lower.integer_affine import Product
from passes.lower.integer_builder import ADD_QUANTIZE
from passes.lower.integer_quantize import QuantizeLowering
from passes.lower.quantity import Quantity, Scale


@dataclass(frozen=True, slots=True)
class LowerInteger(Pass):
    """Turn a quantized network into exact integer arithmetic; scales remain at the ports."""

    keeps: ClassVar[Exact] = Exact()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.INTEGER

    def run(self, graph: Graph, context: Context) -> Graph:
        lowering = Lowering(graph)
        for node in graph.nodes:
            lowering.attempt(node)
        return lowering.finish()


class Lowering(QuantizeLowering):
    """One walk over the graph, a method for each kind of op."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.problems: list[Diagnostic] = []
        self.unknown: set[str] = set()  # what comes of refused nodes, up to the next quantize

    def attempt(self, node: Node) -> None:
        """Lower one node. Behind a refused one go on at the next quantize, to find all that is refused."""
        if self.unknown.isdisjoint(node.operands):
            try:
                self.node(node)
            except IrcError as refusal:
                self.problems += refusal.diagnostics
                self.unknown.update(node.results)
        elif isinstance(node.op, QuantizeOp | Bipolar | Threshold):
            self.known[node.name] = Quantity(node.name, self.graph.tensor(node.name))
        else:
            self.unknown.update(node.results)

    def node(self, node: Node) -> None:
        """Lower one node. Nodes that compute constants vanish; their users read the constants."""
        if node.name in self.static or node.name in self.known:
            return
        match node.op:
            case QuantizeOp():
                found = self.quantized(node, node.op)
            case Bipolar():
                found = self.bipolar(node)
            case Threshold():
                found = self.stepped(node, node.op)
            case Dequantize():
                found = self.dequantized(node, node.op)
            case Conv() | MatMul():
                found = self._linear(node, node.op)
            case Add() | Sub():
                found = self.sum(node)
            case Mul():
                found = self.multiplied(node)
            case Relu():
                found = self._bound(node, Fraction(0), None)
            case Clip():
                found = self._bound(node, *map(_finite, (node.op.low, node.op.high)))
            case MaxPool() | ReduceMax() | Reshape() | Transpose() | Slice():
                found = self.carried(node)
            case ReduceSum() | ReduceMean():
                found = self.summed(node, node.op)
            case AvgPool():
                found = self.averaged(node, node.op)
            case Pad():
                found = self.padded(node, node.op)
            case Concat():
                found = self.joined(node)
            case Gather():
                found = self.gathered(node)
            case ArgMax():
                found = self.emit(node, node.op, self.operand(node, 0, channels=node.op.axis))
            case Softmax():
                raise self.refused(node, "softmax has no integer form", "run drop_softmax, which leaves it to the host")
            case _:
                raise self.refused(node, f"{node.op.name} has no integer form",
                                   "replace it in the model, or end the network before it")
        self.known[node.name] = found

    def finish(self) -> Graph:
        """The integer graph; E306 for every node that was refused."""
        if self.problems:
            raise IrcError(*self.problems)
        self.edit.set_outputs([self._output(port) for port in self.graph.outputs])
        return self.edit.finish(Level.INTEGER)

    def _output(self, port: Port) -> Port:
        if port.value not in self.known:
            raise error("E306", f"output '{port.name}' is not the result of a quantized layer", node=port.value,
                        remedy=ADD_QUANTIZE)
        x, zero, maker = self.known[port.value], None, self.graph.producers.get(port.value)
        if x.shift is not None and maker is not None and not x.bounded:
            x, zero = self.known[port.value], self._real_zero(maker, x)
            self.known[port.value] = replace(x, shift=None)
        x = self.settled(port.value, maker)
        return Port(port.name, x.type, x.name, x.encoding(zero))

    def _real_zero(self, node: Node, x: Quantity) -> float:
        """The zero point of an output behind which a real constant is added: any real, but one for all channels."""
        zeros = {x.zero - shift for shift in (x.shift / x.scales()).flat} if all(x.scale) else set()
        if len(zeros) != 1:
            raise self.refused(node, "a constant that differs from channel to channel is added behind the last layer",
                               "quantize the bias, or append a quantize")
        return float(zeros.pop())

    def _linear(self, node: Node, layer: Conv | MatMul) -> Quantity:
        """Convolution or matrix product: the zero point of x becomes padding and a constant."""
        if node.operands[1] not in self.static:
            raise self.refused(node, f"{node.op.name} of two activations has no integer form", "keep it off the chip")
        x = self.operand(node, 0, channels=-1)
        weight, data, scale = self.source(node, node.operands[1])
        self._check_weight(node, data, scale)
        rank, is_conv = len(x.type.shape), isinstance(node.op, Conv)
        axis, sums = (1, data.sum(axis=tuple(range(1, data.ndim)))) if is_conv else (rank - 1, data.sum(axis=0))
        op = replace(layer, pad_value=x.zero) if isinstance(layer, Conv) else layer
        done = self.emit(node, op, x, weight)
        self.products[done.name] = Product(op, x, node.operands[1], axis)
        shape = tuple(-1 if i == axis else 1 for i in range(rank))
        offset = (-x.zero * sums).reshape(shape) if x.zero else None
        scaled = replace(done, scale=tuple(x.scale[0] * s for s in scale), axis=axis, offset=offset)
        if len(node.operands) < 3 or not node.operands[2]:
            return scaled
        return self.biased(node, scaled, node.operands[2], shape)

    def _check_weight(self, node: Node, data: IntArray, scale: Scale) -> None:
        """Scales must run along the output channels, and a matrix must be a matrix."""
        along = 0 if isinstance(node.op, Conv) else 1
        maker = self.graph.producers[node.operands[1]]
        if along and data.ndim != 2:
            raise self.refused(node, f"the weight of {node.op.name} has {data.ndim} axes", "use a matrix of two axes")
        if len(scale) > 1 and isinstance(maker.op, Dequantize) and maker.op.axis != along:
            raise self.refused(node, f"the weight scales of {node.op.name} do not belong to its output channels",
                               f"quantize the weight along axis {along}")

    def _bound(self, node: Node, low: Fraction | None, high: Fraction | None) -> Quantity:
        """relu and clip stay pending; two in a row act one after the other."""
        name = node.operands[0]
        if name not in self.known:
            raise self.refused(node, f"operand '{name}' of {node.op.name} is not quantized")
        x = self.settled(name, node) if self.known[name].bounded else self.known[name]
        return replace(x, low=low, high=high)


def _finite(bound: float) -> Fraction | None:
    return Fraction(bound) if np.isfinite(bound) else None
