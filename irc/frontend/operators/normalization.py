"""Normalization. Batch normalization is a scale and a shift at inference."""

from __future__ import annotations

from typing import cast

import numpy as np

from irc.diagnostics import error
from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.ops.bits import Abs, Power
from irc.ops.comparison import Equal, Where
from irc.ops.contraction import LinearMap
from irc.ops.elementary import Sqrt
from irc.ops.elementwise import Add, Div, Mul, Sub
from irc.ops.pooling import ReduceMean, ReduceSum
from irc.ops.shape import Reshape
from irc.types import Array


@operator("BatchNormalization")
def batch_normalization(call: Call) -> str:
    """x * scale + shift, per channel (axis 1)."""
    call.expect("training_mode", 0, "export the model in evaluation mode")
    call.expect("spatial", 1, "statistics are per channel")
    call.attribute("momentum", 0.9)
    given, shape = [cast(Array, call.constant(i)) for i in range(1, 5)], call.shape()
    if len(shape) < 2 or any(p.shape != shape[1:2] for p in given):
        raise error("E106", f"the parameters do not fit the channels of {list(shape)}")
    # a negative or NaN variance ends up as a NaN constant, which is refused where it is used
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        gamma, beta, mean, variance = (p.astype(np.float64) for p in given)
        scale = gamma / np.sqrt(variance + call.attribute("epsilon", 1e-5))
        shift = beta - mean * scale
    per_channel = (-1, *(1,) * (len(shape) - 2))
    scaled = call.emit(Mul(), call.operand(0), call.real(scale.reshape(per_channel), "scale"), part="scaled")
    return call.emit(Add(), scaled, call.real(shift.reshape(per_channel), "shift"))


def _channels(call: Call) -> tuple[int, ...]:
    """The shape [N, C, ...] of the first operand."""
    if len(call.shape()) < 2:
        raise error("E106", f"{list(call.shape())} has no channels")
    return call.shape()


@operator("InstanceNormalization")
def instance_normalization(call: Call) -> str:
    """Each channel of each image to mean 0 and variance 1, then scale and shift."""
    shape = _channels(call)
    axes = tuple(range(2, len(shape)))
    channels = Reshape((shape[1], *(1,) * len(axes)))
    mean = call.emit(ReduceMean(axes, True), call.operand(0), part="mean")
    centred = call.emit(Sub(), call.operand(0), mean, part="centred")
    square = call.emit(Mul(), centred, centred, part="square")
    variance = call.emit(ReduceMean(axes, True), square, part="variance")
    safe = call.emit(Add(), variance, call.real(call.attribute("epsilon", 1e-5), "epsilon"), part="safe")
    normal = call.emit(Div(), centred, call.emit(Sqrt(), safe, part="deviation"), part="normal")
    scale, shift = (call.emit(channels, call.operand(i), part=part) for i, part in ((1, "scale"), (2, "shift")))
    return call.emit(Add(), call.emit(Mul(), normal, scale, part="scaled"), shift)


@operator("LpNormalization")
def norm_normalization(call: Call) -> str:
    """x by its norm along an axis; zero where the norm is."""
    axis, value = call.axis(call.attribute("axis", -1), len(call.shape())), call.operand(0)
    match call.attribute("p", 2):
        case 1:
            norm = call.emit(ReduceSum((axis,), True), call.emit(Abs(), value, part="abs"), part="norm")
        case 2:
            square = call.emit(Mul(), value, value, part="square")
            norm = call.emit(Sqrt(), call.emit(ReduceSum((axis,), True), square, part="sum"), part="norm")
        case p:
            raise call.refusal(f"the norm of order {p} is not supported")
    null = call.emit(Equal(), norm, call.real(0.0, "zero"), part="is_zero")
    return call.emit(Div(), value, call.emit(Where(), null, call.real(1.0, "one"), norm, part="divisor"))


@operator("LRN")
def local_response_normalization(call: Call) -> str:
    """x by a power of the sum of squares over neighbouring channels."""
    value, size, channels = call.operand(0), call.attribute("size", 1), _channels(call)[1]
    distance = np.arange(channels) - np.arange(channels)[:, None]
    near = (-((size - 1) // 2) <= distance) & (distance <= size // 2)
    band = call.real(near * (call.attribute("alpha", 1e-4) / size), "band")
    sums = call.emit(LinearMap(1), call.emit(Mul(), value, value, part="square"), band, part="sum")
    base = call.emit(Add(), sums, call.real(call.attribute("bias", 1.0), "bias"), part="base")
    norm = call.emit(Power(), base, call.real(call.attribute("beta", 0.75), "beta"), part="norm")
    return call.emit(Div(), value, norm)
