"""The ops of the model level as ONNX operators: one entry each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from onnx import NodeProto, TensorProto, helper

from backends.onnx.form import Quantizers
from backends.onnx.recurrent import recurrent
from irc.diagnostics import error
from irc.graph import Graph, Node
from irc.operation import Op
from irc.ops.activation import Sigmoid, Softmax, Tanh
from irc.ops.elementwise import Add, Clip, Div, Mul, Relu, Sub
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import ArgMax, AvgPool, MaxPool, ReduceMax, ReduceMean, ReduceSum
from irc.ops.recurrent import GRU, LSTM, RNN
from irc.ops.shape import Concat, Gather, Pad, Reshape, Slice, Transpose

Writer: TypeAlias = Callable[[Node, Any, Quantizers], list[NodeProto]]
W = TypeVar("W", bound=Op)
OPERATORS: dict[type[Op], Writer] = {}


def _writes(*kinds: type[W]) -> Callable[[Callable[[Node, W, Quantizers], list[NodeProto]]], Writer]:
    """Enter the writer of ops."""

    def enter(writer: Callable[[Node, W, Quantizers], list[NodeProto]]) -> Writer:
        OPERATORS.update(dict.fromkeys(kinds, writer))
        return writer

    return enter


def plain(node: Node, operator: str, *more: str, **attributes: Any) -> list[NodeProto]:
    """One node with the operands of ours, and constants behind them."""
    return [helper.make_node(operator, [*node.operands, *more], list(node.results), name=node.name, **attributes)]


_SAME = {Add: "Add", Sub: "Sub", Mul: "Mul", Div: "Div", Relu: "Relu", MatMul: "MatMul", Sigmoid: "Sigmoid",
         Tanh: "Tanh"}


def _same(node: Node, op: Op, form: Quantizers) -> list[NodeProto]:
    return plain(node, _SAME[type(op)])


OPERATORS.update(dict.fromkeys(_SAME, _same))


def conv_attributes(op: Conv, graph: Graph, node: Node) -> dict[str, Any]:
    return {"kernel_shape": graph.tensor(node.operands[1]).shape[2:], "strides": op.strides, "pads": op.pads,
            "dilations": op.dilations, "group": op.group}


@_writes(Conv)
def conv(node: Node, op: Conv, form: Quantizers) -> list[NodeProto]:
    return plain(node, "Conv", **conv_attributes(op, form.graph, node))


@_writes(MaxPool)
def max_pool(node: Node, op: MaxPool, form: Quantizers) -> list[NodeProto]:
    return plain(node, "MaxPool", kernel_shape=op.kernel, strides=op.strides, pads=op.pads, dilations=op.dilations)


@_writes(AvgPool)
def avg_pool(node: Node, op: AvgPool, form: Quantizers) -> list[NodeProto]:
    return plain(node, "AveragePool", kernel_shape=op.kernel, strides=op.strides, pads=op.pads,
                 dilations=op.dilations, count_include_pad=int(op.count_include_pad))


_REDUCTIONS = {ReduceMax: "ReduceMax", ReduceSum: "ReduceSum", ReduceMean: "ReduceMean"}


def _reduction(node: Node, op: ReduceMax | ReduceSum | ReduceMean, form: Quantizers) -> list[NodeProto]:
    operator = _REDUCTIONS[type(op)]
    axes = _integers(node, form, "axes", op.axes)
    return plain(node, operator, axes, keepdims=int(op.keepdims))


OPERATORS.update(dict.fromkeys(_REDUCTIONS, _reduction))


@_writes(ArgMax)
def argmax(node: Node, op: ArgMax, form: Quantizers) -> list[NodeProto]:
    return plain(node, "ArgMax", axis=op.axis, keepdims=int(op.keepdims))


@_writes(Softmax)
def softmax(node: Node, op: Softmax, form: Quantizers) -> list[NodeProto]:
    if len(op.axes) != 1:
        raise error("E502", "ONNX has no softmax over several axes together", node=node.name, operator=op.name,
                    remedy="Reshape them to one axis.")
    return plain(node, "Softmax", axis=op.axes[0])


@_writes(Clip)
def clip(node: Node, op: Clip, form: Quantizers) -> list[NodeProto]:
    ends = [form.tensor(f"{node.name}_{end}", np.array(value), TensorProto.FLOAT)
            for end, value in (("low", op.low), ("high", op.high))]
    return plain(node, "Clip", *ends)


@_writes(Reshape)
def reshape(node: Node, op: Reshape, form: Quantizers) -> list[NodeProto]:
    return plain(node, "Reshape", _integers(node, form, "shape", op.shape))


@_writes(Transpose)
def transpose(node: Node, op: Transpose, form: Quantizers) -> list[NodeProto]:
    return plain(node, "Transpose", perm=op.perm)


@_writes(Concat)
def concat(node: Node, op: Concat, form: Quantizers) -> list[NodeProto]:
    return plain(node, "Concat", axis=op.axis)


@_writes(Gather)
def gather(node: Node, op: Gather, form: Quantizers) -> list[NodeProto]:
    """Indices of any integer type: Gather itself takes 32 and 64 bits only."""
    index = form.fresh(f"{node.name}_index")
    whole = helper.make_node("Cast", [node.operands[1]], [index], to=TensorProto.INT64)
    return [whole, helper.make_node("Gather", [node.operands[0], index], list(node.results), name=node.name,
                                    axis=op.axis)]


@_writes(Slice)
def slice_(node: Node, op: Slice, form: Quantizers) -> list[NodeProto]:
    starts, steps = np.array(op.starts), np.array(op.steps)
    ends = starts + steps * np.array(op.sizes)
    ends = np.where(ends < 0, np.iinfo(np.int64).min, ends)  # -1 would count from the end
    parts = (("starts", starts), ("ends", ends), ("axes", np.arange(len(starts))), ("steps", steps))
    return plain(node, "Slice", *(_integers(node, form, part, values) for part, values in parts))


@_writes(Pad)
def pad(node: Node, op: Pad, form: Quantizers) -> list[NodeProto]:
    value = form.tensor(f"{node.name}_value", np.array(op.value), TensorProto.FLOAT)
    return plain(node, "Pad", _integers(node, form, "pads", op.pads), value)


OPERATORS.update(dict.fromkeys((RNN, GRU, LSTM), recurrent))


def _integers(node: Node, form: Quantizers, part: str, values: Any) -> str:
    return form.tensor(f"{node.name}_{part}", np.array(values, np.int64), TensorProto.INT64)
