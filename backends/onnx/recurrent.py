"""Recurrent layers as ONNX operators: one direction, whose axis weights and states get and results lose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from backends.onnx.form import Quantizers
from irc.graph import MISSING, Node
from irc.ops.recurrent import DEFAULTS, GRU, LSTM, Recurrent

_NAMES = {"leakyrelu": "LeakyRelu", "thresholdedrelu": "ThresholdedRelu", "scaledtanh": "ScaledTanh",
          "hardsigmoid": "HardSigmoid"}
_LENGTHS = 4  # the operand that has no axis of directions


def recurrent(node: Node, op: Recurrent, form: Quantizers) -> list[NodeProto]:
    """The operator between the nodes that add and drop the axis of directions."""
    front, back = form.tensor(f"{node.name}_front", np.array([0]), TensorProto.INT64), form.tensor(
        f"{node.name}_second", np.array([1]), TensorProto.INT64)
    operands, nodes = [node.operands[0]], list[NodeProto]()
    for i, operand in enumerate(node.operands[1:], 1):
        operands.append(form.fresh(f"{node.name}_operand") if operand != MISSING else MISSING)
        if operand != MISSING:
            nodes.append(helper.make_node("Cast", [operand], operands[-1:], to=TensorProto.INT32) if i == _LENGTHS else
                         helper.make_node("Unsqueeze", [operand, front], operands[-1:]))
    results = [form.fresh(f"{node.name}_result") for _ in node.results]
    attributes = dict(_attributes(node, op, form))
    nodes.append(helper.make_node(type(op).__name__, operands, results, name=node.name, **attributes))
    axes = (back, *(front,) * (len(results) - 1))
    return nodes + [helper.make_node("Squeeze", [result, axis], [name])
                    for result, axis, name in zip(results, axes, node.results, strict=True)]


def _attributes(node: Node, op: Recurrent, form: Quantizers) -> Iterator[tuple[str, Any]]:
    yield "hidden_size", form.graph.tensor(node.operands[2]).shape[-1]
    yield "activations", [_NAMES.get(name, name.capitalize()) for name in op.activations]
    for attribute, given, place in (("activation_alpha", op.alpha, 0), ("activation_beta", op.beta, 1)):
        pairs = zip(op.activations, given, strict=False)
        values = [v for name, v in pairs if len(DEFAULTS.get(name, ())) > place]  # only those that have the parameter
        if values:
            yield attribute, values
    if op.clip:
        yield "clip", op.clip
    if isinstance(op, GRU):
        yield "linear_before_reset", int(op.linear_before_reset)
    if isinstance(op, LSTM):
        yield "input_forget", int(op.input_forget)
