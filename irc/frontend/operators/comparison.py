"""Comparison, choice and logic."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from irc.frontend.call import Call
from irc.frontend.integers import fitted, integer_format
from irc.frontend.operators.conversion import negated
from irc.frontend.table import operator
from irc.operation import Op
from irc.ops.bits import WIDEST, Abs, BitwiseAnd, BitwiseOr, BitwiseXor, ShiftLeft, ShiftRight
from irc.ops.comparison import Equal, Less, LessOrEqual, Where
from irc.ops.elementary import IsNaN

_BITWISE: Mapping[str, Op] = {
    "And": BitwiseAnd(), "Or": BitwiseOr(), "Xor": BitwiseXor(),
    "BitwiseAnd": BitwiseAnd(), "BitwiseOr": BitwiseOr(), "BitwiseXor": BitwiseXor(),
}
_COMPARISON: Mapping[str, Op] = {"Equal": Equal(), "Less": Less(), "LessOrEqual": LessOrEqual()}
_REVERSED: Mapping[str, Op] = {"Greater": Less(), "GreaterOrEqual": LessOrEqual()}


@operator(*_COMPARISON)
def comparison(call: Call) -> str:
    return call.emit(_COMPARISON[call.node.op_type], call.operand(0), call.operand(1))


@operator(*_REVERSED)
def reversed_comparison(call: Call) -> str:
    """a > b is b < a, also where one is no number."""
    return call.emit(_REVERSED[call.node.op_type], call.operand(1), call.operand(0))


@operator("Where")
def where(call: Call) -> str:
    return call.emit(Where(), call.operand(0), call.operand(1), call.operand(2))


@operator(*_BITWISE)
def bitwise(call: Call) -> str:
    return call.emit(_BITWISE[call.node.op_type], call.operand(0), call.operand(1))


@operator("Not")
def logical_not(call: Call) -> str:
    return negated(call, call.operand(0))


@operator("BitwiseNot")
def bitwise_not(call: Call) -> str:
    ones = call.make(np.int64(-1), WIDEST, "ones")
    return fitted(call, call.emit(BitwiseXor(), call.operand(0), ones, part="inverted"), 0)


@operator("BitShift")
def shift(call: Call) -> str:
    direction, bits = call.attribute("direction", ""), integer_format(call, 0).bits
    match direction:
        case "LEFT":
            return fitted(call, call.emit(ShiftLeft(bits), call.operand(0), call.operand(1)), 0)
        case "RIGHT":
            return call.emit(ShiftRight(bits), call.operand(0), call.operand(1))
        case other:
            raise call.refusal(f"the direction '{other}' is neither LEFT nor RIGHT")


@operator("IsNaN")
def is_nan(call: Call) -> str:
    return call.emit(IsNaN(), call.operand(0))


@operator("IsInf")
def is_infinite(call: Call) -> str:
    """Either infinity, or the one that the attributes leave."""
    value = call.operand(0)
    match call.attribute("detect_positive", 1), call.attribute("detect_negative", 1):
        case 1, 1:
            return call.emit(Equal(), call.emit(Abs(), value, part="abs"), call.real(np.inf, "infinity"))
        case 1, _:
            return call.emit(Equal(), value, call.real(np.inf, "infinity"))
        case _, 1:
            return call.emit(Equal(), value, call.real(-np.inf, "infinity"))
        case _:
            raise call.refusal("neither infinity is looked for")
