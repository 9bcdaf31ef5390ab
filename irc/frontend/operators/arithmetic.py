"""Element-by-element arithmetic and type conversion."""

from __future__ import annotations

from typing import cast

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.tensors import element_format
from irc.ops.elementwise import Add, Div, Mul, Sub
from irc.ops.quantization import Dequantize
from irc.types import Array, Float, Format, Integer

_BINARY = {"Add": Add(), "Sub": Sub(), "Mul": Mul()}


@operator("Add", "Sub", "Mul")
def binary(call: Call) -> str:
    return call.emit(_BINARY[call.node.op_type], call.operand(0), call.operand(1))


@operator("Sum")
def sum_of_all(call: Call) -> str:
    total = call.operand(0)
    for index in range(1, call.count):
        last = index == call.count - 1
        total = call.emit(Add(), total, call.operand(index), part="" if last else f"sum{index}")
    return total


@operator("Div")
def divide(call: Call) -> str:
    if call.is_real():
        return call.emit(Div(), call.operand(0), call.operand(1))
    a, b = call.constant(0), call.constant(1)
    assert a is not None and b is not None
    if not b.all():
        raise call.refusal("an integer is divided by zero")
    quotient = np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)  # ONNX cuts toward zero
    return call.make(quotient, call.type(call.operand(0)).format)


@operator("Cast")
def cast_to(call: Call) -> str:
    """Between reals of any width: nothing. Integer to real: dequantize with scale 1."""
    call.attribute("saturate", 1)
    call.attribute("round_mode", "up")
    to, value = element_format(call.attribute("to", 0)), call.operand(0)
    have = call.type(value).format
    data = call.builder.data(value)
    if data is not None:
        return value if to == have else call.make(_converted(call, data, to), to)
    if isinstance(to, Float) and isinstance(have, Integer):
        return call.emit(Dequantize(), value, call.real(1.0, "scale"))
    if not _same_numbers(have, to):
        raise call.refusal(f"a conversion from {have} to {to} changes numbers",
                           "Use QuantizeLinear, which says how to round and clip.")
    return value


def _converted(call: Call, data: Array, to: Format) -> Array:
    """A constant in another format: reals are cut toward zero, any number but zero is true."""
    if not isinstance(to, Integer):
        return data.astype(to.dtype)
    cut = (data != 0).astype(np.int64) if to.bits == 1 else np.trunc(data)
    if not np.isfinite(cut).all() or not to.holds(cut):
        raise call.refusal(f"a constant has values outside {to}")
    return cut.astype(to.dtype)


def _same_numbers(have: Format, to: Format) -> bool:
    """Whether every number of `have` stays as it is. Exporters write int32 for indices: 32 bits count as enough."""
    if isinstance(have, Float) or isinstance(to, Float):
        return isinstance(have, Float) and isinstance(to, Float)
    have, to = cast(Integer, have), cast(Integer, to)
    return to.bits >= 32 or (to.minimum <= have.minimum and have.maximum <= to.maximum)
