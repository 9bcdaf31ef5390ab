"""Elementary functions of reals."""

from __future__ import annotations

from collections.abc import Mapping

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.operation import Op
from irc.ops import elementary as ops

_FUNCTIONS: Mapping[str, Op] = {
    "Exp": ops.Exp(), "Log": ops.Log(), "Sqrt": ops.Sqrt(), "Erf": ops.Erf(), "Softplus": ops.Softplus(),
    "Sin": ops.Sin(), "Cos": ops.Cos(), "Tan": ops.Tan(), "Asin": ops.Asin(), "Acos": ops.Acos(), "Atan": ops.Atan(),
    "Sinh": ops.Sinh(), "Cosh": ops.Cosh(), "Asinh": ops.Asinh(), "Acosh": ops.Acosh(), "Atanh": ops.Atanh(),
    "Floor": ops.Floor(), "Ceil": ops.Ceil(), "Round": ops.Round(),
}


@operator(*_FUNCTIONS)
def elementary(call: Call) -> str:
    return call.emit(_FUNCTIONS[call.node.op_type], call.operand(0))
