"""QONNX form: a quantize and its dequantize together are one Quant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
from onnx import NodeProto, TensorProto, helper

from backends.onnx.form import Quantizers
from irc.codebook import stored
from irc.diagnostics import error
from irc.graph import Constant, Graph, Node
from irc.ops.quantization import Bipolar, Dequantize, Quantize
from irc.rounding import HALF_EVEN
from irc.types import Array, Integer, PowerOfTwo, smallest_integer

DOMAIN = "qonnx.custom_op.general"
MODES = {HALF_EVEN: "ROUND", "half_odd": "ROUND", "floor": "FLOOR", "ceil": "CEIL", "toward_zero": "DOWN",
         "away_from_zero": "UP", "half_away_from_zero": "HALF_UP", "half_toward_zero": "HALF_DOWN"}
WIDEST = 32


class Qonnx(Quantizers):
    """Quant and BipolarQuant. They stand where the dequantize stood; the integers themselves have no name."""

    domain = DOMAIN

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.quantizers = {n.name: n for n in graph.nodes if isinstance(n.op, Quantize | Bipolar)}

    def nodes(self, node: Node) -> Iterator[NodeProto]:
        if not isinstance(node.op, Dequantize):
            self._check_users(node)
            return
        source = node.operands[0]
        if source in self.quantizers:
            yield self._pair(node, node.op, self.quantizers[source])
        elif constant := stored(self.graph, source):
            yield self._weight(node, node.op, constant)
        else:
            raise self._refused(node, f"'{source}' is neither a constant nor quantized")

    def _check_users(self, node: Node) -> None:
        """QONNX knows no integers: nothing but a dequantize may read them."""
        users = self.graph.users[node.name]
        if self.graph.is_output(node.name) or any(not isinstance(u.op, Dequantize) for u in users):
            raise self._refused(node, "something other than a dequantize reads the integers")

    def _refused(self, node: Node, why: str) -> Exception:
        return error("E502", f"QONNX has no form for this: {why}", node=node.name, operator=node.op.name,
                     remedy="Use the target onnx.")

    def _pair(self, node: Node, op: Dequantize, quantizer: Node) -> NodeProto:
        if isinstance(quantizer.op, Bipolar):
            scale = self._shaped(node, op.axis, self.parameter(node, 1))
            name = self.tensor(f"{node.name}_scale", scale, TensorProto.FLOAT)
            return helper.make_node("BipolarQuant", [quantizer.operands[0], name], list(node.results), name=node.name,
                                    domain=DOMAIN, doc_string=node.origin)
        same = all(np.array_equal(self.parameter(node, i), self.parameter(quantizer, i)) for i in (1, 2))
        made = cast(Quantize, quantizer.op)
        if not same or (made.axis != op.axis and self.parameter(node, 1).size > 1):
            raise self._refused(node, "the scale is not that of its quantize")
        form = cast(Integer, made.to)
        return self._quant(node, quantizer.operands[0], form, (made.axis, made.rounding, made.narrow))

    def _weight(self, node: Node, op: Dequantize, constant: Constant) -> NodeProto:
        """A constant as reals that the quantizer behind it maps to themselves. Elements of a codebook are written out:
        as reals they are no more than the few that it has."""
        form = constant.type.format
        if isinstance(form, PowerOfTwo):
            form = smallest_integer(min(-1, int(constant.data.min())), int(constant.data.max()))
        scale, zero = (self._shaped(node, op.axis, self.parameter(node, i)) for i in (1, 2))
        reals = (constant.data - zero) * scale.astype(np.float64)
        name = self.tensor(f"{constant.name}_real", reals, TensorProto.FLOAT)
        return self._quant(node, name, cast(Integer, form), (op.axis, HALF_EVEN, False))

    def _quant(self, node: Node, x: str, form: Integer, how: tuple[int, str, bool]) -> NodeProto:
        axis, rounding, narrow = how
        if form.bits > WIDEST:
            raise self._refused(node, f"{form} has more than {WIDEST} bits")
        parts = (("scale", self._shaped(node, axis, self.parameter(node, 1))),
                 ("zero", self._shaped(node, axis, self.parameter(node, 2))), ("bits", np.array(form.bits)))
        names = [self.tensor(f"{node.name}_{part}", data, TensorProto.FLOAT) for part, data in parts]
        return helper.make_node("Quant", [x, *names], list(node.results), name=node.name, domain=DOMAIN,
                                signed=int(form.signed), narrow=int(narrow), rounding_mode=MODES[rounding],
                                doc_string=node.origin)

    def _shaped(self, node: Node, axis: int, data: Array) -> Array:
        """A parameter shaped to broadcast."""
        if data.size == 1:
            return data.reshape(())
        return data.reshape([-1 if i == axis else 1 for i in range(len(self.graph.tensor(node.name).shape))])
