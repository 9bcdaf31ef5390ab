"""The integer types of ONNX: fixed widths, results modulo two to the number of bits."""

from __future__ import annotations

from irc.frontend.call import Call
from irc.ops.bits import WIDEST, Wrap
from irc.ops.quantization import Dequantize
from irc.types import Float, Format, Integer

NARROWEST = 8  # bits of the narrowest type of ONNX that has arithmetic


def integer_format(call: Call, *operands: int) -> Format:
    """The ONNX type of operands that have the same one. Formats here may be narrower: an index from ArgMax is int64."""
    formats = [call.type(call.operand(i)).format for i in operands]
    widest = max(formats, key=lambda form: form.bits)
    return WIDEST if isinstance(widest, Integer) and 1 < widest.bits < NARROWEST else widest


def fitted(call: Call, value: str, *operands: int) -> str:
    """`value` in the type of the operands."""
    wanted = integer_format(call, *operands)
    if isinstance(wanted, Float) or not isinstance(wanted, Integer) or call.type(value).format == wanted:
        return value
    return call.emit(Wrap(wanted), value, part="wrapped")


def as_real(call: Call, index: int) -> str:
    """Operand `index`, converted when it is an integer."""
    value = call.operand(index)
    if call.is_real(index):
        return value
    return call.emit(Dequantize(), value, call.real(1.0, "scale"), part="real")
