"""Constants, and operators that do nothing at inference."""

from __future__ import annotations

from typing import cast

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.types import Float, Integer


@operator("Constant")
def constant(call: Call) -> str:
    tensor = call.tensor("value")
    if tensor is not None:
        form, data = tensor
        return call.make(data, form)
    name = call.node.attribute[0].name if call.node.attribute else "value"
    match name:
        case "value_float":
            return call.make(np.float64(call.attribute(name, 0.0)), Float(32))
        case "value_floats":
            return call.make(np.array(call.attribute(name, cast("tuple[float, ...]", ()))), Float(32))
        case "value_int":
            return call.make(np.int64(call.attribute(name, 0)), Integer(True, 64))
        case "value_ints":
            return call.make(np.array(call.attribute(name, cast("tuple[int, ...]", ())), np.int64), Integer(True, 64))
        case _:
            raise call.refusal(f"a constant given as {name} is not supported")


@operator("Identity")
def identity(call: Call) -> str:
    return call.operand(0)


@operator("Dropout")
def dropout(call: Call) -> tuple[str, ...]:
    call.attribute("ratio", 0.5)
    call.attribute("seed", 0)
    training = call.constant(2)
    if training is not None and training.any():
        raise call.refusal("the model is in training mode", "Export it in evaluation mode (model.eval()).")
    mask = (call.make(np.ones(call.shape(), np.int64), Integer(False, 1), "mask"),) if call.wants(1) else ()
    return (call.operand(0), *mask)
