"""QONNX with the channels as last axis: the operator of ONNX between two transpositions.

Data are [batch, *positions, channels], weights of a convolution [outputs, *kernel, inputs]; whatever else there is
(biases, statistics, attributes) is as ONNX has it.
"""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from irc.frontend.call import Call
from irc.frontend.table import CHANNELS_LAST, find_operator, qonnx_operator
from irc.ops.shape import Transpose

_TURNED = {"Conv": 2}  # operands that have channels last; else the first has


@qonnx_operator("AveragePool", "BatchNormalization", "Conv", "MaxPool", table=CHANNELS_LAST)
def channels_last(call: Call) -> str:
    made = NodeProto()
    made.CopyFrom(call.node)
    made.domain = ""
    for index in range(min(call.count, _TURNED.get(call.node.op_type, 1))):
        rank = len(call.shape(index))
        first = call.emit(Transpose((0, rank - 1, *range(1, rank - 1))), call.operand(index), part="channels_first")
        made.input[index] = f"{call.node.output[0]}/channels_first_{index}"  # unique: every output is defined once
        call.builder.values[made.input[index]] = first
    found = find_operator(made.op_type, "", call.opset)(replace(call, node=made))
    result = found if isinstance(found, str) else found[0]
    rank = len(call.type(result).shape)
    return call.emit(Transpose((0, *range(2, rank), 1)), result, part="channels_last")
