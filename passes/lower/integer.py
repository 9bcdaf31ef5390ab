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

import itertools
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, cast

import numpy as np

from irc.diagnostics import Diagnostic, IrcError, error
from irc.graph import Graph, Node, Port
from irc.ops.elementwise import Add, Clip, Mul, Relu
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import ArgMax, AvgPool, MaxPool, ReduceMax, ReduceMean, ReduceSum
from irc.ops.quantization import Dequantize, Requantize
from irc.ops.quantization import Quantize as QuantizeOp
from irc.ops.shape import Concat, Gather, Pad, Reshape, Slice, Transpose
from irc.pipeline.step import Context, Exact, Pass
from irc.types import IntArray, Integer, Level, TensorType
from passes.lower.integer_builder import ADD_QUANTIZE
from passes.lower.integer_shapes import ShapeLowering
from passes.lower.quantity import ONE, Quantity, Scale, fractions, lifted

_S64 = Integer(True, 64)


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


class Lowering(ShapeLowering):
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
                self.unknown.add(node.name)
        elif isinstance(node.op, QuantizeOp):
            self.known[node.name] = Quantity(node.name, self.graph.tensor(node.name))
        else:
            self.unknown.add(node.name)

    def node(self, node: Node) -> None:
        """Lower one node. Nodes that compute constants vanish; their users read the constants."""
        if node.name in self.static or node.name in self.known:
            return
        match node.op:
            case QuantizeOp():
                found = self._quantize(node, node.op)
            case Dequantize():
                found = self._dequantize(node, node.op)
            case Conv() | MatMul():
                found = self._linear(node)
            case Add():
                found = self._add(node)
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
        x = self.settled(port.value, self.graph.producers.get(port.value))
        return Port(port.name, x.type, x.name, x.encoding())

    def _dequantize(self, node: Node, op: Dequantize) -> Quantity:
        x = self.known.get(node.operands[0])
        scale = self.graph.constants.get(node.operands[1])
        if x is None or scale is None:
            raise self.refused(node, "the scale of a dequantize must be a constant", "add fold before integer")
        return replace(x, scale=fractions(scale.data), axis=op.axis, zero=self._zero(node))

    def _zero(self, node: Node) -> int:
        """The zero point of a quantize or dequantize: one for the whole tensor."""
        zero = self.graph.constants.get(node.operands[2]) if len(node.operands) > 2 else None
        if zero is None:
            return 0
        if (zero.data != zero.data.flat[0]).any():
            raise self.refused(node, "the zero point differs from channel to channel", "use one for the whole tensor")
        return int(zero.data.flat[0])

    def _quantize(self, node: Node, op: QuantizeOp) -> Quantity:
        """Requantize by the exact ratio of the scales; pending offset and bounds are absorbed."""
        x, scale = self.known.get(node.operands[0]), self.graph.constants.get(node.operands[1])
        if x is None or scale is None:
            raise self.refused(node, f"operand '{node.operands[0]}' of quantize does not come from quantized layers")
        to, zero, step = cast(Integer, op.to), self._zero(node), fractions(scale.data)
        ratio, axis = self._ratio(node, x, step, op.axis)
        if ratio == ONE and x.offset is None and not x.bounded and (x.zero, x.type.format) == (zero, to):
            return replace(x, scale=ONE, zero=0)
        shift = np.zeros((1,) * len(x.type.shape), np.int64) if x.offset is None else x.offset
        whole = self.added(replace(x, offset=shift - x.zero), node, node.operands[0])
        done = self._requantize(node, whole, ratio, Requantize(to, zero, axis))
        if not x.bounded:
            return done
        if len(step) > 1 and (x.high is not None or x.low != 0):
            raise self.refused(node, "a clip stands before a quantize with one scale a channel",
                               "quantize with one scale for the whole tensor")
        low, high = (None if b is None else Fraction(round(b / step[0]) + zero) for b in (x.low, x.high))
        return self.limited(replace(done, low=low, high=high), node, node.name)

    def _ratio(self, node: Node, x: Quantity, step: Scale, axis: int) -> tuple[Scale, int]:
        """Scale before over scale after, and the axis along which it varies."""
        if len(x.scale) > 1 and len(step) > 1 and x.axis != axis:
            raise self.refused(node, "scales before and after a quantize run along different axes")
        count = max(len(x.scale), len(step))
        pairs = zip(itertools.islice(itertools.cycle(x.scale), count), itertools.cycle(step), strict=False)
        ratio = tuple(a / b for a, b in pairs)
        return ratio, x.axis if len(x.scale) > 1 else axis

    def _requantize(self, node: Node, x: Quantity, ratio: Scale, op: Requantize) -> Quantity:
        top, bottom = [r.numerator for r in ratio], [r.denominator for r in ratio]
        if max(*top, *bottom) > _S64.maximum:
            raise self.refused(node, "the ratio of the scales does not fit a fraction of 63-bit integers",
                                "use scales of fewer significant bits; those of quantize{...} have 16")
        shape = (len(ratio),) if len(ratio) > 1 else ()
        numerator = self.constant(f"{node.name}_numerator", np.array(top, np.int64).reshape(shape), _S64)
        denominator = self.constant(f"{node.name}_denominator", np.array(bottom, np.int64).reshape(shape), _S64)
        return self.emit(node, op, x, numerator, denominator)

    def _linear(self, node: Node) -> Quantity:
        """Convolution or matrix product: the zero point of x becomes padding and a constant."""
        if node.operands[1] not in self.static:
            raise self.refused(node, f"{node.op.name} of two activations has no integer form", "keep it off the chip")
        x = self.operand(node, 0, channels=-1)
        weight, data, scale = self.source(node, node.operands[1])
        self._check_weight(node, data, scale)
        rank, is_conv = len(x.type.shape), isinstance(node.op, Conv)
        axis, sums = (1, data.sum(axis=tuple(range(1, data.ndim)))) if is_conv else (rank - 1, data.sum(axis=0))
        done = self.emit(node, replace(node.op, pad_value=x.zero) if isinstance(node.op, Conv) else node.op, x, weight)
        shape = tuple(-1 if i == axis else 1 for i in range(rank))
        offset = (-x.zero * sums).reshape(shape) if x.zero else None
        layer = replace(done, scale=tuple(x.scale[0] * s for s in scale), axis=axis, offset=offset)
        if len(node.operands) < 3 or not node.operands[2]:
            return layer
        return self._biased(node, layer, node.operands[2], shape)

    def _check_weight(self, node: Node, data: IntArray, scale: Scale) -> None:
        """Scales must run along the output channels, and a matrix must be a matrix."""
        along = 0 if isinstance(node.op, Conv) else 1
        maker = self.graph.producers[node.operands[1]]
        if along and data.ndim != 2:
            raise self.refused(node, f"the weight of {node.op.name} has {data.ndim} axes", "use a matrix of two axes")
        if len(scale) > 1 and isinstance(maker.op, Dequantize) and maker.op.axis != along:
            raise self.refused(node, f"the weight scales of {node.op.name} do not belong to its output channels",
                               f"quantize the weight along axis {along}")

    def _add(self, node: Node) -> Quantity:
        """A bias joins the pending offset; two activations of one scale add their integers."""
        fixed = [o for o in node.operands if o in self.static]
        if not fixed:
            return self._sum(node)
        other = next(o for o in node.operands if o not in self.static)
        if other not in self.known:
            raise self.refused(node, f"operand '{other}' of add is not quantized")
        x = self.known[other]
        x = self.settled(other, node) if x.bounded else x
        if cast(TensorType, node.type).shape != x.type.shape:
            raise self.refused(node, "a constant is added that makes the tensor larger", "expand the operand before")
        return self._biased(node, x, fixed[0], None)

    def _biased(self, node: Node, x: Quantity, name: str, shape: tuple[int, ...] | None) -> Quantity:
        _, data, scale = self.source(node, name)
        if _same_scales(x.scale, tuple(2 * s for s in scale)):
            x = self._doubled(node, x)
        if not _same_scales(x.scale, scale):
            raise self.refused(node, f"the bias '{name}' is not in units of the product of the operands' scales")
        bias = lifted(data, len(x.type.shape)) if shape is None else data.reshape(shape)
        return replace(x, offset=bias if x.offset is None else x.offset + bias)

    def _doubled(self, node: Node, x: Quantity) -> Quantity:
        """The same value in half units, in which quantize states biases that keep ties away."""
        two = self.constant(f"{node.name}_two", np.full((1,) * len(x.type.shape), 2))
        twice = self.emit(node, Mul(), x, two, stem=f"{node.name}_twice")
        offset = None if x.offset is None else 2 * x.offset
        return replace(x, name=twice.name, type=twice.type, scale=tuple(s / 2 for s in x.scale), zero=2 * x.zero,
                       offset=offset)

    def _sum(self, node: Node) -> Quantity:
        a, b = self.operand(node, 0), self.operand(node, 1)
        if (a.scale, a.axis if len(a.scale) > 1 else 0) != (b.scale, b.axis if len(b.scale) > 1 else 0):
            raise self.refused(node, "the operands of add have different scales",
                               "quantize both with one scale: quantize{...}")
        return replace(self.emit(node, node.op, a, b), scale=a.scale, axis=a.axis, zero=a.zero + b.zero)

    def _bound(self, node: Node, low: Fraction | None, high: Fraction | None) -> Quantity:
        """relu and clip stay pending; two in a row act one after the other."""
        name = node.operands[0]
        if name not in self.known:
            raise self.refused(node, f"operand '{name}' of {node.op.name} is not quantized")
        x = self.settled(name, node) if self.known[name].bounded else self.known[name]
        return replace(x, low=low, high=high)


_CLOSE = Fraction(1, 1 << 22)  # two roundings of a product to float32


def _finite(bound: float) -> Fraction | None:
    return Fraction(bound) if np.isfinite(bound) else None


def _same_scales(a: Scale, b: Scale) -> bool:
    """Whether scales are equal up to float32 rounding; one may be given for the tensor, the other by channel."""
    count = max(len(a), len(b))
    pairs = zip(a * (count // len(a)), b * (count // len(b)), strict=True)
    return all(abs(p - q) <= p * _CLOSE for p, q in pairs)
