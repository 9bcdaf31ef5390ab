"""Pooling and reduction."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.window import window
from irc.operation import Op
from irc.ops.pooling import ArgMax, AvgPool, MaxPool, ReduceMax, ReduceMean, ReduceSum

_REDUCTIONS = {"ReduceMax": ReduceMax, "ReduceMean": ReduceMean, "ReduceSum": ReduceSum,
               "GlobalMaxPool": ReduceMax, "GlobalAveragePool": ReduceMean}


@operator("MaxPool")
def max_pool(call: Call) -> str:
    call.expect("storage_order", 0, "indices are not supported")
    view = window(call, call.attribute("kernel_shape", cast("tuple[int, ...]", ())))
    return call.emit(MaxPool(view.kernel, view.strides, view.pads, view.dilations), call.operand(0))


@operator("AveragePool")
def average_pool(call: Call) -> str:
    view = window(call, call.attribute("kernel_shape", cast("tuple[int, ...]", ())))
    include = bool(call.attribute("count_include_pad", 0))
    if include and view.grown:
        raise call.refusal("ceil_mode together with count_include_pad is not supported",
                           "Pad the input explicitly and use count_include_pad=0.")
    return call.emit(AvgPool(view.kernel, view.strides, view.pads, view.dilations, include), call.operand(0))


@operator("GlobalMaxPool", "GlobalAveragePool")
def global_pool(call: Call) -> str:
    return _reduce(call, tuple(range(2, len(call.shape()))), keepdims=True)


@operator("ReduceSum", until=12)
@operator("ReduceMax", "ReduceMean", until=17)
def reduce_by_attribute(call: Call) -> str:
    axes = call.attribute("axes", cast("tuple[int, ...]", ()))
    return _reduce(call, axes or tuple(range(len(call.shape()))), bool(call.attribute("keepdims", 1)))


@operator("ReduceSum", since=13)
@operator("ReduceMax", "ReduceMean", since=18)
def reduce_by_input(call: Call) -> str:
    axes, keepdims = call.integers(1) or (), bool(call.attribute("keepdims", 1))
    if call.attribute("noop_with_empty_axes", 0) and not axes:
        return call.operand(0)
    return _reduce(call, axes or tuple(range(len(call.shape()))), keepdims)


def _reduce(call: Call, axes: tuple[int, ...], keepdims: bool) -> str:
    shape = call.shape()
    if 0 in shape:
        raise call.refusal("a reduction over an empty tensor")
    make = cast(Callable[[tuple[int, ...], bool], Op], _REDUCTIONS[call.node.op_type])
    return call.emit(make(tuple(sorted(call.axis(a, len(shape)) for a in axes)), keepdims), call.operand(0))


@operator("ArgMax")
def argmax(call: Call) -> str:
    call.expect("select_last_index", 0, "the first of equal values is taken")
    axis = call.axis(call.attribute("axis", 0), len(call.shape()))
    return call.emit(ArgMax(axis, bool(call.attribute("keepdims", 1))), call.operand(0))
