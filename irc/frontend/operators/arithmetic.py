"""Element-by-element arithmetic. Integers wrap around as the types of ONNX do."""

from __future__ import annotations

from collections.abc import Mapping

from irc.frontend.call import Call
from irc.frontend.integers import as_real, fitted, integer_format
from irc.frontend.table import operator
from irc.operation import Op
from irc.ops.bits import Abs, Modulo, Neg, Power, Quotient, Sign, Truncate
from irc.ops.comparison import Maximum, Minimum
from irc.ops.elementwise import Add, Div, Mul, Sub
from irc.types import Integer

_BINARY: Mapping[str, Op] = {"Add": Add(), "Sub": Sub(), "Mul": Mul()}
_UNARY: Mapping[str, Op] = {"Abs": Abs(), "Neg": Neg(), "Sign": Sign()}
_VARIADIC: Mapping[str, Op] = {"Sum": Add(), "Mean": Add(), "Max": Maximum(), "Min": Minimum()}


@operator(*_BINARY)
def binary(call: Call) -> str:
    return fitted(call, call.emit(_BINARY[call.node.op_type], call.operand(0), call.operand(1)), 0, 1)


@operator(*_UNARY)
def unary(call: Call) -> str:
    return fitted(call, call.emit(_UNARY[call.node.op_type], call.operand(0)), 0)


@operator(*_VARIADIC)
def variadic(call: Call) -> str:
    """A chain, from the left."""
    total, op = call.operand(0), _VARIADIC[call.node.op_type]
    name, mean = call.node.op_type.lower(), call.node.op_type == "Mean"
    for index in range(1, call.count):
        last = index == call.count - 1 and not mean
        total = call.emit(op, total, call.operand(index), part="" if last else f"{name}{index}")
    return call.emit(Mul(), total, call.real(1 / call.count, "share")) if mean else total


@operator("Div")
def divide(call: Call) -> str:
    op = Div() if call.is_real() else Quotient()
    return fitted(call, call.emit(op, call.operand(0), call.operand(1)), 0, 1)


@operator("Reciprocal")
def reciprocal(call: Call) -> str:
    return call.emit(Div(), call.real(1.0, "one"), call.operand(0))


@operator("Mod")
def modulo(call: Call) -> str:
    truncated = bool(call.attribute("fmod", 0))
    return fitted(call, call.emit(Modulo(truncated), call.operand(0), call.operand(1)), 0, 1)


@operator("Pow")
def power(call: Call) -> str:
    """The result has the type of the base."""
    if call.is_real() == call.is_real(1):
        return fitted(call, call.emit(Power(), call.operand(0), call.operand(1)), 0)
    found = call.emit(Power(), as_real(call, 0), as_real(call, 1), part="real" if not call.is_real() else "")
    form = integer_format(call, 0)
    return call.emit(Truncate(form), found) if isinstance(form, Integer) else found
