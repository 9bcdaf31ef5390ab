"""Pooling over windows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.window import Window, per_axis, window
from irc.ops.bits import Abs, Power
from irc.ops.elementwise import Mul
from irc.ops.index import ScatterElements
from irc.ops.pooling import AvgPool, MaxPool
from irc.ops.shape import Pad, Reshape
from irc.ops.transposed import MaxPoolPlaces

_NONE = cast("tuple[int, ...]", ())


def _window(call: Call) -> Window:
    return window(call, call.attribute("kernel_shape", _NONE))


@operator("MaxPool")
def max_pool(call: Call) -> tuple[str, ...]:
    view, column_major = _window(call), bool(call.attribute("storage_order", 0))
    parts = (view.kernel, view.strides, view.pads, view.dilations)
    largest = call.emit(MaxPool(*parts), call.operand(0))
    if not call.wants(1):
        return (largest,)
    return largest, call.emit(MaxPoolPlaces(*parts, column_major), call.operand(0), part="places")


@operator("AveragePool")
def average_pool(call: Call) -> str:
    view, value = _window(call), call.operand(0)
    include = bool(call.attribute("count_include_pad", 0))
    if include and any(view.extra):  # the padding counts, what ceil_mode adds does not
        rank = len(view.extra)
        ends = tuple(p - e for p, e in zip(view.pads[rank:], view.extra, strict=True))
        value = call.emit(Pad((0, 0, *view.pads[:rank], 0, 0, *ends)), value, part="padded")
        view, include = replace(view, pads=((0,) * rank + view.extra)), False
    return call.emit(AvgPool(view.kernel, view.strides, view.pads, view.dilations, include), value)


@operator("LpPool")
def norm_pool(call: Call) -> str:
    """(sum |x|^p)^(1/p): the mean, padding counted, times the size of the window."""
    view, p = _window(call), float(call.attribute("p", 2))
    raised = call.emit(Power(), call.emit(Abs(), call.operand(0), part="abs"), call.real(p, "p"), part="power")
    mean = call.emit(AvgPool(view.kernel, view.strides, view.pads, view.dilations, True), raised, part="mean")
    total = call.emit(Mul(), mean, call.real(float(math.prod(view.kernel)), "size"), part="sum")
    return call.emit(Power(), total, call.real(1 / p, "root"))


@operator("MaxUnpool")
def max_unpool(call: Call) -> str:
    """Zeros, with the values where MaxPool found them."""
    shape, kernel = call.shape(), call.attribute("kernel_shape", _NONE)
    rank, pads = len(kernel), call.attribute("pads", (0,) * (2 * len(kernel)))
    if not rank or len(shape) != rank + 2 or len(pads) != 2 * rank:
        raise call.refusal(f"a kernel of {rank} axes does not fit {list(shape)}")
    strides = per_axis(call, "strides", rank)
    ends = zip(shape[2:], strides, kernel, pads[:rank], pads[rank:], strict=True)
    whole = (*shape[:2], *((n - 1) * s + k - a - b for n, s, k, a, b in ends))
    row, size = (math.prod(shape),), math.prod(whole)
    call.bounded(size)
    zeros = call.real(np.zeros(size), "zeros")
    values = call.emit(Reshape(row), call.operand(0), part="values")
    places = call.emit(Reshape(row), call.operand(1), part="places")
    filled = call.emit(ScatterElements(), zeros, places, values, part="filled")
    return _enlarged(call, call.emit(Reshape(whole), filled), whole)


def _enlarged(call: Call, value: str, shape: tuple[int, ...]) -> str:
    """`value` with zeros at the ends, up to the shape that the node asks for."""
    wanted = call.integers(2) or shape
    ends = tuple(w - n for w, n in zip(wanted, shape, strict=True))
    if min(ends) < 0:
        raise call.refusal(f"the result {list(shape)} is larger than {list(wanted)}")
    return call.emit(Pad((*(0,) * len(shape), *ends)), value) if any(ends) else value
