"""Convolution and matrix products."""

from __future__ import annotations

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.window import per_axis, window
from irc.graph import MISSING
from irc.ops.contraction import Det
from irc.ops.elementwise import Add, Mul
from irc.ops.linear import Conv, MatMul
from irc.ops.shape import Transpose
from irc.ops.transposed import ConvTranspose


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


@operator("ConvTranspose")
def conv_transpose(call: Call) -> str:
    _require_reals(call)
    sizes, weight = call.shape()[2:], call.shape(1)
    rank, kernel = len(sizes), call.attribute("kernel_shape", weight[2:])
    if kernel != weight[2:] or len(kernel) != rank or rank < 1:
        raise call.refusal(f"kernel_shape {list(kernel)} does not fit {list(weight)} and {rank} spatial axes")
    strides, dilations = per_axis(call, "strides", rank), per_axis(call, "dilations", rank)
    added, group = call.attribute("output_padding", (0,) * rank), call.attribute("group", 1)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    full = tuple((n - 1) * s + r + a for n, s, r, a in zip(sizes, strides, reach, added, strict=True))
    op = ConvTranspose(strides, _cut(call, sizes, strides, full), dilations, added, group)
    bias = (call.operand(2),) if call.has(2) else ()
    return call.emit(op, call.operand(0), call.operand(1), *bias)


def _cut(call: Call, sizes: tuple[int, ...], strides: tuple[int, ...], full: tuple[int, ...]) -> tuple[int, ...]:
    """What is cut from the full result of a transposed convolution: as given, or down to the size that is asked."""
    mode, rank = call.attribute("auto_pad", "NOTSET"), len(sizes)
    pads = call.attribute("pads", (0,) * (2 * rank))
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise call.refusal(f"auto_pad '{mode}' is not supported")
    same = tuple(n * s for n, s in zip(sizes, strides, strict=True)) if mode.startswith("SAME") else ()
    wanted = call.attribute("output_shape", same)[-rank:]
    if not wanted:
        return pads if mode == "NOTSET" else (0,) * (2 * rank)
    total = np.array(full) - wanted
    low, high = total // 2, total - total // 2
    ends = (low, high) if mode == "SAME_UPPER" else (high, low)
    return tuple(np.concatenate(ends).tolist())


@operator("MatMul")
def matmul(call: Call) -> str:
    _require_reals(call)
    return call.emit(MatMul(), call.operand(0), call.operand(1))


@operator("Det")
def det(call: Call) -> str:
    return call.emit(Det(), call.operand(0))


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
