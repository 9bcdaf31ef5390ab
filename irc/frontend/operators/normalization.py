"""Batch normalization, as the scale and shift that it is at inference."""

from __future__ import annotations

from typing import cast

import numpy as np

from irc.diagnostics import error
from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.ops.elementwise import Add, Mul
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
