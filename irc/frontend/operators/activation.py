"""Activation functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from irc.frontend.call import Call
from irc.frontend.integers import as_real
from irc.frontend.table import operator
from irc.operation import Op
from irc.ops.activation import Sigmoid, Softmax, Tanh
from irc.ops.bits import WIDEST, Abs
from irc.ops.comparison import Equal, Less, Maximum, Minimum, Where
from irc.ops.elementary import Erf, Softplus
from irc.ops.elementwise import Add, Clip, Div, Mul, Relu, Sub
from irc.ops.pooling import ArgMax
from irc.ops.quantization import Dequantize
from irc.ops.rectifier import Elu, LeakyRelu, LogSoftmax
from irc.ops.shape import Reshape

_SOFTMAX: Mapping[str, Callable[[tuple[int, ...]], Op]] = {"Softmax": Softmax, "LogSoftmax": LogSoftmax}
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
    if any(call.has(i) and call.builder.data(call.operand(i)) is None for i in (1, 2)):
        return _clip_between(call)
    low, high = call.constant(1), call.constant(2)
    if any(bound is not None and bound.size != 1 for bound in (low, high)):
        raise call.refusal("a bound is not one number")
    return _clip(call, -_WIDEST if low is None else low.item(), _WIDEST if high is None else high.item())


def _clip_between(call: Call) -> str:
    """Computed bounds."""
    low = call.emit(Maximum(), call.operand(0), call.operand(1), part="low") if call.has(1) else call.operand(0)
    return call.emit(Minimum(), low, call.operand(2)) if call.has(2) else low


def _clip(call: Call, low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        raise call.refusal("a bound is not a number")
    low, high = max(low, -_WIDEST), min(high, _WIDEST)
    if low <= -_WIDEST and high >= _WIDEST:
        return call.operand(0)
    if low == 0 and high >= _WIDEST:
        return call.emit(Relu(), call.operand(0))
    return call.emit(Clip(low, high), call.operand(0))


@operator("Softmax", "LogSoftmax", until=12)
def softmax_of_rows(call: Call) -> str:
    """Up to operator set 12, everything from `axis` on is one row."""
    rank = len(call.shape())
    axes = tuple(range(call.axis(call.attribute("axis", 1), rank), rank))
    return call.emit(_SOFTMAX[call.node.op_type](axes), call.operand(0))


@operator("Softmax", "LogSoftmax", since=13)
def softmax_along_axis(call: Call) -> str:
    axis = call.axis(call.attribute("axis", -1), len(call.shape()))
    return call.emit(_SOFTMAX[call.node.op_type]((axis,)), call.operand(0))


@operator("Hardmax", until=12)
def hardmax_of_rows(call: Call) -> str:
    shape = call.shape()
    axis = call.axis(call.attribute("axis", 1), len(shape))
    rows = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    ones = _hardmax(call, call.emit(Reshape(rows), call.operand(0), part="rows"), 1)
    return call.emit(Reshape(shape), ones)


@operator("Hardmax", since=13)
def hardmax(call: Call) -> str:
    return _hardmax(call, call.operand(0), call.axis(call.attribute("axis", -1), len(call.shape())))


def _hardmax(call: Call, value: str, axis: int) -> str:
    """1 at the first largest value along `axis`, 0 elsewhere."""
    rank, size = len(call.type(value).shape), call.type(value).shape[axis]
    places = call.make(np.arange(size).reshape(-1, *(1,) * (rank - axis - 1)), WIDEST, "places")
    at = call.emit(Equal(), places, call.emit(ArgMax(axis, True), value, part="largest"), part="at")
    return call.emit(Dequantize(), at, call.real(1.0, "scale"))


@operator("LeakyRelu")
def leaky_relu(call: Call) -> str:
    return call.emit(LeakyRelu(call.attribute("alpha", 0.01)), call.operand(0))


@operator("Elu")
def elu(call: Call) -> str:
    return call.emit(Elu(call.attribute("alpha", 1.0)), call.operand(0))


@operator("Selu")
def selu(call: Call) -> str:
    """gamma * elu(x)."""
    alpha = call.attribute("alpha", 1.67326319217681884765625)
    gamma = call.attribute("gamma", 1.05070102214813232421875)
    return call.emit(Mul(), call.emit(Elu(alpha), call.operand(0), part="elu"), call.real(gamma, "gamma"))


@operator("Celu")
def celu(call: Call) -> str:
    """alpha * elu(x / alpha)."""
    alpha = call.real(call.attribute("alpha", 1.0), "alpha")
    inner = call.emit(Elu(), call.emit(Div(), call.operand(0), alpha, part="scaled"), part="elu")
    return call.emit(Mul(), inner, alpha)


@operator("PRelu")
def parametric_relu(call: Call) -> str:
    value = call.operand(0)
    below = call.emit(Less(), value, call.real(0.0, "zero"), part="below")
    return call.emit(Where(), below, call.emit(Mul(), value, call.operand(1), part="scaled"), value)


@operator("ThresholdedRelu")
def thresholded_relu(call: Call) -> str:
    value = call.operand(0)
    above = call.emit(Less(), call.real(call.attribute("alpha", 1.0), "alpha"), value, part="above")
    return call.emit(Where(), above, value, call.real(0.0, "zero"))


@operator("Shrink")
def shrink(call: Call) -> str:
    """x + bias below -lambd, x - bias above lambd, else 0."""
    value, bias = as_real(call, 0), call.real(call.attribute("bias", 0.0), "bias")
    bound = call.attribute("lambd", 0.5)
    low = call.emit(Less(), value, call.real(-bound, "low"), part="below")
    high = call.emit(Less(), call.real(bound, "high"), value, part="above")
    middle = call.emit(Where(), high, call.emit(Sub(), value, bias, part="less"), call.real(0.0, "zero"), part="upper")
    return call.emit(Where(), low, call.emit(Add(), value, bias, part="more"), middle)


@operator("HardSigmoid")
def hard_sigmoid(call: Call) -> str:
    return _hard_sigmoid(call, call.attribute("alpha", 0.2), call.attribute("beta", 0.5), "")


def _hard_sigmoid(call: Call, alpha: float, beta: float, part: str) -> str:
    scaled = call.emit(Mul(), call.operand(0), call.real(alpha, "alpha"), part="scaled")
    return call.emit(Clip(0.0, 1.0), call.emit(Add(), scaled, call.real(beta, "beta"), part="shifted"), part=part)


@operator("HardSwish")
def hard_swish(call: Call) -> str:
    return call.emit(Mul(), call.operand(0), _hard_sigmoid(call, 1 / 6, 0.5, "gate"))


@operator("Swish")
def swish(call: Call) -> str:
    """x * sigmoid(alpha * x)."""
    value, alpha = call.operand(0), call.attribute("alpha", 1.0)
    scaled = value if alpha == 1 else call.emit(Mul(), value, call.real(alpha, "alpha"), part="scaled")
    return call.emit(Mul(), value, call.emit(Sigmoid(), scaled, part="gate"))


@operator("Mish")
def mish(call: Call) -> str:
    """x * tanh(softplus(x))."""
    value = call.operand(0)
    return call.emit(Mul(), value, call.emit(Tanh(), call.emit(Softplus(), value, part="softplus"), part="gate"))


@operator("Softsign")
def softsign(call: Call) -> str:
    """x / (1 + |x|)."""
    value = call.operand(0)
    return call.emit(Div(), value, call.emit(Add(), call.emit(Abs(), value, part="abs"), call.real(1.0, "one"),
                                             part="below"))


@operator("Gelu")
def gelu(call: Call) -> str:
    """x / 2 * (1 + erf(x / sqrt 2)), or its approximation by tanh."""
    value = call.operand(0)
    match call.attribute("approximate", "none"):
        case "none":
            scaled = call.emit(Mul(), value, call.real(math.sqrt(0.5), "root"), part="scaled")
            gate = call.emit(Erf(), scaled, part="erf")
        case "tanh":
            gate = call.emit(Tanh(), _gelu_argument(call, value), part="tanh")
        case other:
            raise call.refusal(f"the approximation '{other}' is not supported")
    half = call.emit(Mul(), value, call.real(0.5, "half"), part="halved")
    return call.emit(Mul(), half, call.emit(Add(), gate, call.real(1.0, "one"), part="gate"))


def _gelu_argument(call: Call, value: str) -> str:
    """sqrt(2 / pi) * (x + 0.044715 x^3)."""
    square = call.emit(Mul(), value, value, part="square")
    inner = call.emit(Mul(), square, call.real(0.044715, "cubic"), part="cubic")
    factor = call.emit(Add(), inner, call.real(1.0, "linear"), part="factor")
    scaled = call.emit(Mul(), value, call.real(math.sqrt(2 / math.pi), "root"), part="scaled")
    return call.emit(Mul(), scaled, factor, part="argument")
