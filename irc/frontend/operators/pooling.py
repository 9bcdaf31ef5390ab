"""Pooling and reduction."""

from __future__ import annotations

from typing import cast

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.window import window
from irc.ops.pooling import AvgPool, MaxPool


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
