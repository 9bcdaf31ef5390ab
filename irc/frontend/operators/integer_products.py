"""Products of integer tensors: QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger.

They are read as what they mean: the same product between `dequantize` and `quantize`, so that every pass and the
lowering see one form of quantized network.
"""

from __future__ import annotations

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.window import window
from irc.ops.linear import Conv, MatMul
from irc.ops.quantization import Dequantize, Quantize
from irc.types import Float, Integer

S32 = Integer(True, 32)


@operator("QLinearConv", since=10)
def qlinear_conv(call: Call) -> str:
    x, weight = _real(call, 0, 1, 2, "x"), _real(call, 3, 4, 5, "weight", axis=0)
    bias = (_bias(call, 8, 1, 4),) if call.has(8) else ()
    return _back(call, call.emit(_conv(call, call.shape(3)), x, weight, *bias, part="product"), 6, 7)


@operator("QLinearMatMul", since=10)
def qlinear_matmul(call: Call) -> str:
    columns = len(call.shape(3)) - 1
    a, b = _real(call, 0, 1, 2, "a", axis=len(call.shape()) - 2), _real(call, 3, 4, 5, "b", axis=columns)
    return _back(call, call.emit(MatMul(), a, b, part="product"), 6, 7)


@operator("ConvInteger", since=10)
def conv_integer(call: Call) -> str:
    x, weight = _whole(call, 0, 2, "x"), _whole(call, 1, 3, "weight", axis=0)
    return _integer(call, call.emit(_conv(call, call.shape(1)), x, weight, part="product"))


@operator("MatMulInteger", since=10)
def matmul_integer(call: Call) -> str:
    a = _whole(call, 0, 2, "a", axis=len(call.shape()) - 2)
    b = _whole(call, 1, 3, "b", axis=len(call.shape(1)) - 1)
    return _integer(call, call.emit(MatMul(), a, b, part="product"))


def _conv(call: Call, weight: tuple[int, ...]) -> Conv:
    kernel = call.attribute("kernel_shape", weight[2:])
    if kernel != weight[2:]:
        raise call.refusal(f"kernel_shape {list(kernel)} is not that of the weight {list(weight)}")
    view = window(call, kernel)
    return Conv(view.strides, view.pads, view.dilations, call.attribute("group", 1))


def _real(call: Call, value: int, scale: int, zero: int, part: str, axis: int = 1) -> str:
    """The reals that operand `value` stands for."""
    shift = call.constant(zero)
    zeros = (call.operand(zero),) if shift is None or shift.any() else ()
    return call.emit(Dequantize(max(axis, 0)), call.operand(value), call.operand(scale), *zeros, part=part)


def _whole(call: Call, value: int, zero: int, part: str, axis: int = 1) -> str:
    """Operand `value` less its zero point, as reals."""
    zeros = (call.operand(zero),) if call.has(zero) else ()
    one = call.make(np.float32(1), Float(32), f"{part}_one")
    return call.emit(Dequantize(max(axis, 0)), call.operand(value), one, *zeros, part=part)


def _bias(call: Call, value: int, x_scale: int, weight_scale: int) -> str:
    """The bias counts in steps of both scales together; their product is exact in double precision."""
    x, weight = call.constant(x_scale), call.constant(weight_scale)
    if x is None or weight is None:
        raise call.refusal("the scales must be constants where there is a bias")
    scale = np.asarray(x, np.float64).reshape(-1)[0] * np.asarray(weight, np.float64)
    return call.emit(Dequantize(0), call.operand(value), call.make(scale, Float(64), "bias_scale"), part="bias")


def _back(call: Call, product: str, scale: int, zero: int) -> str:
    to = call.type(call.operand(zero)).format
    if not isinstance(to, Integer):
        raise call.refusal(f"a result in {to} is not supported")
    return call.emit(Quantize(to), product, call.operand(scale), call.operand(zero))


def _integer(call: Call, product: str) -> str:
    """A sum of integers is one: quantized with scale 1 nothing is rounded."""
    return call.emit(Quantize(S32), product, call.make(np.float32(1), Float(32), "one"))
