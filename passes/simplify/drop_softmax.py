"""`drop_softmax`: the network ends at its logits, the softmax is left to the host.

A softmax in front of an output needs exponentials and changes no class: it grows with each logit. Where the model
quantizes its probabilities again, these quantizers go too; the logits keep theirs. Before::

    y_dq: f32[1, 10] = dequantize(y_q, y_scale, y_zero)
    p: f32[1, 10] = softmax(y_dq, axes=[1])
    p_q: s8[1, 10] = quantize(p, p_scale, p_zero, to=s8)
    p_dq: f32[1, 10] = dequantize(p_q, p_scale, p_zero)
    out output = p_dq

and after::

    y_dq: f32[1, 10] = dequantize(y_q, y_scale, y_zero)
    out output = y_dq

The output keeps its name and means logits from then on. It is no part of any pipeline: whoever names it wants it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from irc.graph import Graph, Port
from irc.ops.activation import Softmax
from irc.ops.quantization import Dequantize, Quantize
from irc.pipeline.step import Context, Lossy, Pass
from irc.types import Level
from passes.simplify.clean import without_dead_code


@dataclass(frozen=True, slots=True)
class DropSoftmax(Pass):
    """Let outputs show the logits in front of a softmax."""

    keeps: ClassVar[Lossy] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    def run(self, graph: Graph, context: Context) -> Graph:
        outputs = tuple(self._logits(graph, port, context) for port in graph.outputs)
        return graph if outputs == graph.outputs else without_dead_code(replace(graph, outputs=outputs))

    def _logits(self, graph: Graph, port: Port, context: Context) -> Port:
        """The port, before the softmax where only quantizers stand behind one."""
        value = port.value
        while (node := graph.producers.get(value)) is not None:
            if isinstance(node.op, Softmax) and context.selected(node):
                context.note("softmax left to the host", port.name, node=node.name)
                return replace(port, value=node.operands[0], type=graph.types[node.operands[0]])
            if not isinstance(node.op, Quantize | Dequantize):
                break
            value = node.operands[0]
        return port
