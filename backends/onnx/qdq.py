"""QDQ form: QuantizeLinear and DequantizeLinear with the integer types of ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
from onnx import NodeProto, TensorProto, helper

from backends.onnx.form import Quantizers
from backends.onnx.operators import conv_attributes
from backends.onnx.tensors import activation_type, constant_type
from irc.diagnostics import error
from irc.graph import Node
from irc.ops.elementwise import Add
from irc.ops.linear import Conv
from irc.ops.quantization import Bipolar, Dequantize, Quantize
from irc.rounding import HALF_EVEN
from irc.types import Array, Integer

# what QuantizeLinear makes, with the limits of each type
LIMITS: dict[int, tuple[int, int]] = {
    TensorProto.INT4: (-8, 7), TensorProto.UINT4: (0, 15), TensorProto.INT8: (-128, 127), TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-32768, 32767), TensorProto.UINT16: (0, 65535)}


class Qdq(Quantizers):
    """What ONNX itself can say."""

    def nodes(self, node: Node) -> Iterator[NodeProto]:
        match node.op:
            case Quantize():
                yield from self._quantize(node, node.op)
            case Dequantize():
                yield from self._dequantize(node, node.op)
            case Bipolar():
                yield from self._bipolar(node)

    def rewritten(self, node: Node) -> list[NodeProto]:
        """A quantized bias is subtracted, negated, behind its layer. Runtimes fuse layer and bias to a kernel that
        takes the bias in the product of the other scales, whatever its own scale says; biases that keep ties away are
        stored in half of that. A subtraction is fused by none."""
        biases = [o for o in node.operands if self._is_stored(o)]
        match node.op:
            case Conv() if biases and node.operands[2:] == (biases[-1],):
                layer = helper.make_node("Conv", node.operands[:2], [self.fresh(f"{node.name}_product")],
                                         name=node.name, **conv_attributes(node.op, self.graph, node))
                return [layer, *self._subtracted(node, layer.output[0], biases[-1])]
            case Add() if len(biases) == 1:
                other = next(o for o in node.operands if o != biases[0])
                return self._subtracted(node, other, biases[0])
            case _:
                return []

    def _is_stored(self, name: str) -> bool:
        maker = self.graph.producers.get(name)
        return maker is not None and isinstance(maker.op, Dequantize) and maker.operands[0] in self.graph.constants

    def _subtracted(self, node: Node, x: str, bias: str) -> list[NodeProto]:
        maker = self.graph.producers[bias]
        constant, scale = self.graph.constants[maker.operands[0]], self.parameter(maker, 1)
        whole = self.parameter(maker, 2) - constant.data
        rank = len(self.graph.tensor(node.name).shape)
        if isinstance(node.op, Conv):
            whole = whole.reshape(1, -1, *(1,) * (rank - 2))
        axis = 1 if isinstance(node.op, Conv) else cast(Dequantize, maker.op).axis
        q = self.tensor(f"{bias}_negated", whole, TensorProto.INT32)
        factor = self.tensor(f"{bias}_scale", scale.reshape(scale.shape if scale.size > 1 else ()), TensorProto.FLOAT)
        real = self.fresh(f"{bias}_real")
        return [helper.make_node("DequantizeLinear", [q, factor], [real], axis=axis),
                helper.make_node("Sub", [x, real], list(node.results))]

    def _quantize(self, node: Node, op: Quantize) -> Iterator[NodeProto]:
        kind = activation_type(cast(Integer, op.to))
        if op.rounding != HALF_EVEN or kind not in LIMITS:
            why = f"rounding {op.rounding}" if op.rounding != HALF_EVEN else f"quantization to {op.to}"
            raise error("E502", f"ONNX has no {why}", node=node.name, operator=op.name,
                        remedy="Use the target qonnx.")
        scale, zero, x = self.parameter(node, 1), self.parameter(node, 2), node.operands[0]
        if op.limits != LIMITS[kind]:
            clipped = self._clipped(node, op, scale, zero)
            yield from clipped
            x = clipped[-1].output[0]
        yield helper.make_node("QuantizeLinear", [x, *self._parameters(node, scale, zero, kind)], list(node.results),
                               name=node.name, axis=op.axis, doc_string=node.origin)

    def _clipped(self, node: Node, op: Quantize, scale: Array, zero: Array) -> list[NodeProto]:
        """The reals limited to those of the format, which is narrower than its type."""
        ends = [(limit - zero) * scale.astype(np.float64) for limit in op.limits]
        if scale.size == 1:
            bounds = [self.tensor(f"{node.name}_{k}", end.reshape(()), TensorProto.FLOAT)
                      for k, end in zip(("low", "high"), ends, strict=True)]
            return [helper.make_node("Clip", [node.operands[0], *bounds], [self.fresh(f"{node.name}_clipped")])]
        shape = [-1 if i == op.axis else 1 for i in range(len(self.graph.tensor(node.operands[0]).shape))]
        made, x = [], node.operands[0]
        for operator, end in zip(("Max", "Min"), ends, strict=True):
            bound = self.tensor(f"{node.name}_{operator.lower()}", end.reshape(shape), TensorProto.FLOAT)
            made.append(helper.make_node(operator, [x, bound], [self.fresh(f"{node.name}_from_{operator.lower()}")]))
            x = made[-1].output[0]
        return made

    def _dequantize(self, node: Node, op: Dequantize) -> Iterator[NodeProto]:
        q, scale, zero = node.operands[0], self.parameter(node, 1), self.parameter(node, 2)
        kind = self._kind(q)
        if kind not in LIMITS and (kind != TensorProto.INT32 or zero.any()):
            yield from self._scaled(node, op, scale, zero)
            return
        parameters = self._parameters(node, scale, zero, kind)
        yield helper.make_node("DequantizeLinear", [q, *parameters], list(node.results), name=node.name, axis=op.axis,
                               doc_string=node.origin)

    def _kind(self, q: str) -> int:
        """The type in which a value or constant is stored."""
        found = self.graph.constants.get(q)
        return constant_type(found) if found else activation_type(cast(Integer, self.graph.tensor(q).format))

    def _scaled(self, node: Node, op: Dequantize, scale: Array, zero: Array) -> Iterator[NodeProto]:
        """The same for integers that DequantizeLinear does not take."""
        shape = [1] * len(self.graph.tensor(node.name).shape)
        shape[op.axis : op.axis + 1] = [scale.size] if scale.size > 1 else shape[op.axis : op.axis + 1]
        real, centred = self.fresh(f"{node.name}_real"), self.fresh(f"{node.name}_centred")
        origin = self.tensor(f"{node.name}_zero", zero.reshape(shape if zero.size > 1 else ()), TensorProto.FLOAT)
        factor = self.tensor(f"{node.name}_scale", scale.reshape(shape if scale.size > 1 else ()), TensorProto.FLOAT)
        yield helper.make_node("Cast", [node.operands[0]], [real], to=TensorProto.FLOAT)
        yield helper.make_node("Sub", [real, origin], [centred])
        yield helper.make_node("Mul", [centred, factor], list(node.results), name=node.name, doc_string=node.origin)

    def _parameters(self, node: Node, scale: Array, zero: Array, kind: int) -> tuple[str, str]:
        shape = scale.shape if scale.size > 1 else ()
        whole = np.broadcast_to(zero.reshape(shape if zero.size == scale.size else ()), shape)
        return (self.tensor(f"{node.name}_scale", scale.reshape(shape), TensorProto.FLOAT),
                self.tensor(f"{node.name}_zero", whole, kind))

    def _bipolar(self, node: Node) -> Iterator[NodeProto]:
        """1 where x >= 0, else -1."""
        kind = activation_type(cast(Integer, self.graph.tensor(node.name).format))
        limit = self.tensor(f"{node.name}_limit", np.array(0), TensorProto.FLOAT)
        ends = [self.tensor(f"{node.name}_{n}", np.array(v), kind) for n, v in (("one", 1), ("minus_one", -1))]
        sign = self.fresh(f"{node.name}_sign")
        yield helper.make_node("GreaterOrEqual", [node.operands[0], limit], [sign])
        yield helper.make_node("Where", [sign, *ends], list(node.results), name=node.name, doc_string=node.origin)
