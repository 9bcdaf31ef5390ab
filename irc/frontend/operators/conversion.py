"""Between number types."""

from __future__ import annotations

import numpy as np

from irc.frontend.call import Call
from irc.frontend.integers import NARROWEST
from irc.frontend.table import operator
from irc.frontend.tensors import element_format
from irc.ops.bits import WIDEST, BitwiseXor, Truncate, Wrap
from irc.ops.comparison import TRUTH, Equal
from irc.ops.quantization import Dequantize
from irc.types import Float, Format, Integer


@operator("Cast")
def cast_to(call: Call) -> str:
    return _converted(call, element_format(call.attribute("to", 0)))


@operator("BitCast")
def bit_cast(call: Call) -> str:
    """Bits of integers, read as others."""
    to, have = element_format(call.attribute("to", 0)), call.type(call.operand(0)).format
    if not isinstance(to, Integer) or not isinstance(have, Integer) or to.bits != have.bits:
        raise call.refusal(f"the bits of {have} cannot be read as {to}: irc knows the bits of integers only",
                           "Convert with Cast, or do this before the model.")
    return call.operand(0) if to == have else call.emit(Wrap(to), call.operand(0))


@operator("CastLike")
def cast_like(call: Call) -> str:
    return _converted(call, call.type(call.operand(1)).format)


def _converted(call: Call, to: Format) -> str:
    """Between reals of any width: nothing. Integer to real: dequantize with scale 1."""
    call.attribute("saturate", 1)
    call.attribute("round_mode", "up")
    value = call.operand(0)
    have = call.type(value).format
    if have == to or (isinstance(have, Float) and isinstance(to, Float)):
        return value
    if not isinstance(to, Integer):
        return call.emit(Dequantize(), value, call.real(1.0, "scale")) if call.builder.data(value) is None else (
            call.make(np.asarray(call.builder.data(value), np.float64), to))
    if to == TRUTH:
        return negated(call, call.emit(Equal(), value, zero(call, have), part="is_zero"))
    if isinstance(have, Float):
        whole = to if to.bits >= NARROWEST else WIDEST
        value = call.emit(Truncate(whole), value, part="" if whole == to else "whole")
    return value if call.type(value).format == to else call.emit(Wrap(to), value)


def zero(call: Call, form: Format) -> str:
    """The constant 0."""
    return call.make(np.zeros((), form.dtype), form, "zero")


def negated(call: Call, truth: str) -> str:
    """The opposite of truth values."""
    return call.emit(BitwiseXor(), truth, call.make(np.ones((), np.int64), TRUTH, "true"))
