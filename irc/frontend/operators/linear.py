"""Convolution and matrix products."""

from __future__ import annotations

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.window import window
from irc.graph import MISSING
from irc.ops.elementwise import Add, Mul
from irc.ops.linear import Conv, MatMul
from irc.ops.shape import Transpose


def _require_reals(call: Call) -> None:
    if not all(call.is_real(i) for i in range(call.count) if call.has(i)):
        raise call.refusal("products of integer tensors are not supported",
                           "Write the quantized model with QuantizeLinear and DequantizeLinear pairs.")


@operator("Conv")
def conv(call: Call) -> str:
    _require_reals(call)
    weight = call.shape(1)
    kernel = call.attribute("kernel_shape", weight[2:])
    if kernel != weight[2:]:
        raise call.refusal(f"kernel_shape {list(kernel)} is not that of the weight {list(weight)}")
    view, group = window(call, kernel), call.attribute("group", 1)
    if group < 1:
        raise call.refusal(f"group {group} is not positive")
    op = Conv(view.strides, view.pads, view.dilations, group)
    bias = (call.operand(2),) if call.has(2) else ()
    return call.emit(op, call.operand(0), call.operand(1), *bias)


@operator("MatMul")
def matmul(call: Call) -> str:
    _require_reals(call)
    return call.emit(MatMul(), call.operand(0), call.operand(1))


@operator("Gemm")
def gemm(call: Call) -> str:
    """alpha * A' B' + beta * C as `matmul`, then `add`: the canonical form of a dense layer."""
    _require_reals(call)
    call.attribute("broadcast", 1)
    a = _side(call, 0, "transA")
    b = _scaled(call, _side(call, 1, "transB"), call.attribute("alpha", 1.0), "weight")
    beta = call.attribute("beta", 1.0)
    c = _scaled(call, call.operand(2), beta, "bias") if call.has(2) and beta else MISSING
    if c == MISSING:
        return call.emit(MatMul(), a, b)
    product = call.emit(MatMul(), a, b, part="matmul")
    return call.emit(Add(), product, c)


def _side(call: Call, index: int, flag: str) -> str:
    if len(call.shape(index)) != 2:
        raise call.refusal(f"input {index} has {len(call.shape(index))} axes, Gemm takes matrices")
    value = call.operand(index)
    return call.emit(Transpose((1, 0)), value, part=flag) if call.attribute(flag, 0) else value


def _scaled(call: Call, value: str, factor: float, part: str) -> str:
    return value if factor == 1 else call.emit(Mul(), value, call.real(factor, f"{part}_factor"), part=part)
