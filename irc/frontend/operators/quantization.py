"""QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.tensors import element_format
from irc.ops.quantization import Dequantize, Quantize
from irc.types import Format, Integer


@operator("QuantizeLinear", since=10)
def quantize_linear(call: Call) -> str:
    call.attribute("saturate", 1)
    call.attribute("precision", 0)
    to = _target(call)
    if not isinstance(to, Integer):
        raise call.refusal(f"quantization to {to} is not supported")
    return call.emit(Quantize(to, _axis(call)), *_operands(call))


@operator("DequantizeLinear", since=10)
def dequantize_linear(call: Call) -> str:
    call.attribute("output_dtype", 0)
    return call.emit(Dequantize(_axis(call)), *_operands(call))


def _target(call: Call) -> Format:
    """The zero point has the type of the result; without one it is named, or uint8."""
    named = call.attribute("output_dtype", 0)
    if call.has(2):
        return call.type(call.operand(2)).format
    return element_format(named) if named else Integer(False, 8)


def _axis(call: Call) -> int:
    call.expect("block_size", 0, "scales are per tensor or per channel")
    axis, rank = call.attribute("axis", 1), len(call.shape())
    per_tensor = not call.shape(1) or call.shape(1) == (1,)
    return (1 if axis == 1 else max(axis, 0)) if per_tensor else call.axis(axis, rank)


def _operands(call: Call) -> tuple[str, ...]:
    """x, scale, and the zero point where it is not just zero."""
    zero = call.constant(2)
    return tuple(call.operand(i) for i in range(3 if zero is not None and zero.any() else 2))
