"""QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.tensors import element_format
from irc.graph import MISSING
from irc.ops.bits import WIDEST
from irc.ops.elementary import Round, Single
from irc.ops.elementwise import Add, Div, Mul, Sub
from irc.ops.quantization import Dequantize, Quantize
from irc.ops.shape import Gather
from irc.types import Format, Integer


@operator("QuantizeLinear", since=10)
def quantize_linear(call: Call) -> str:
    call.attribute("saturate", 1)
    call.attribute("precision", 0)
    to = _target(call)
    if not isinstance(to, Integer):
        raise call.refusal(f"quantization to {to} is not supported")
    if block := call.attribute("block_size", 0):
        return _quantized_blocks(call, to, block)
    x, scale, *zero = _operands(call)
    if call.builder.data(scale) is None and call.type(scale).size == 1:
        x, scale = _ratio(call, x, scale), call.real(1.0, "one")
    return call.emit(Quantize(to, _axis(call)), x, scale, *zero)


def _ratio(call: Call, x: str, scale: str) -> str:
    """x in steps of a scale that is computed from x itself: there are ties, which single precision decides."""
    ratio = call.emit(Div(), x, call.emit(Single(), scale, part="scale"), part="ratio")
    return call.emit(Single(), ratio, part="steps")


@operator("DequantizeLinear", since=10)
def dequantize_linear(call: Call) -> str:
    call.attribute("output_dtype", 0)
    if block := call.attribute("block_size", 0):
        return _dequantized_blocks(call, block)
    return call.emit(Dequantize(_axis(call)), *_operands(call))


def _target(call: Call) -> Format:
    """The zero point has the type of the result; without one it is named, or uint8."""
    named = call.attribute("output_dtype", 0)
    if call.has(2):
        return call.type(call.operand(2)).format
    return element_format(named) if named else Integer(False, 8)


def _axis(call: Call) -> int:
    axis, rank = call.attribute("axis", 1), len(call.shape())
    per_tensor = not call.shape(1) or call.shape(1) == (1,)
    return (1 if axis == 1 else max(axis, 0)) if per_tensor else call.axis(axis, rank)


def _operands(call: Call) -> tuple[str, ...]:
    """x, scale, and the zero point where it is not just zero."""
    return tuple(call.operand(i) for i in range(3 if _shifts(call) else 2))


def _shifts(call: Call) -> bool:
    """Whether there is a zero point other than the constant 0."""
    zero = call.builder.data(call.operand(2)) if call.has(2) else np.zeros(1)
    return zero is None or bool(zero.any())


def _quantized_blocks(call: Call, to: Integer, block: int) -> str:
    scale, zero = _blocks(call, block)
    steps = call.emit(Round(), call.emit(Div(), call.operand(0), scale, part="steps"), part="rounded")
    shifted = call.emit(Add(), steps, zero, part="shifted") if zero else steps
    return call.emit(Quantize(to), shifted, call.real(1.0, "one"))


def _dequantized_blocks(call: Call, block: int) -> str:
    scale, zero = _blocks(call, block)
    steps = call.emit(Dequantize(), call.operand(0), call.real(1.0, "one"), part="steps")
    return call.emit(Mul(), call.emit(Sub(), steps, zero, part="centred") if zero else steps, scale)


def _blocks(call: Call, block: int) -> tuple[str, str]:
    """Scale and zero point (MISSING where it is zero) of each element, for those of blocks along `axis`."""
    shape, axis = call.shape(), call.axis(call.attribute("axis", 1), len(call.shape()))
    count = -(-shape[axis] // block)
    if block < 1 or call.shape(1) != (*shape[:axis], count, *shape[axis + 1 :]):
        raise call.refusal(f"scales {list(call.shape(1))} do not fit blocks of {block} along axis {axis}")
    place = call.make(np.arange(shape[axis]) // block, WIDEST, "block")
    spread = [call.emit(Gather(axis), call.operand(i), place, part=part)
              for i, part in ((1, "scale"), (2, "zero")) if i == 1 or _shifts(call)]
    zero = call.emit(Dequantize(), spread[1], call.real(1.0, "one"), part="zero") if len(spread) > 1 else MISSING
    return spread[0], zero
