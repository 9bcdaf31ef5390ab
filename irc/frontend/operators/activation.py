"""Activation functions."""

from __future__ import annotations

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.ops.activation import Sigmoid, Softmax, Tanh
from irc.ops.elementwise import Clip, Relu

_WIDEST = float(np.finfo(np.float32).max)


@operator("Relu")
def relu(call: Call) -> str:
    return call.emit(Relu(), call.operand(0))


@operator("Sigmoid")
def sigmoid(call: Call) -> str:
    return call.emit(Sigmoid(), call.operand(0))


@operator("Tanh")
def tanh(call: Call) -> str:
    return call.emit(Tanh(), call.operand(0))


@operator("Clip", until=10)
def clip_by_attribute(call: Call) -> str:
    return _clip(call, call.attribute("min", -_WIDEST), call.attribute("max", _WIDEST))


@operator("Clip", since=11)
def clip_by_input(call: Call) -> str:
    low, high = call.constant(1), call.constant(2)
    return _clip(call, -_WIDEST if low is None else float(low), _WIDEST if high is None else float(high))


def _clip(call: Call, low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        raise call.refusal("a bound is not a number")
    low, high = max(low, -_WIDEST), min(high, _WIDEST)
    if low <= -_WIDEST and high >= _WIDEST:
        return call.operand(0)
    if low == 0 and high >= _WIDEST:
        return call.emit(Relu(), call.operand(0))
    return call.emit(Clip(low, high), call.operand(0))


@operator("Softmax", until=12)
def softmax_of_rows(call: Call) -> str:
    """Up to operator set 12, everything from `axis` on is one row."""
    rank = len(call.shape())
    return call.emit(Softmax(tuple(range(call.axis(call.attribute("axis", 1), rank), rank))), call.operand(0))


@operator("Softmax", since=13)
def softmax_along_axis(call: Call) -> str:
    return call.emit(Softmax((call.axis(call.attribute("axis", -1), len(call.shape())),)), call.operand(0))
