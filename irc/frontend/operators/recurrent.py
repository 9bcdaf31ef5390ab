"""LSTM, GRU and RNN: one op a direction."""

from __future__ import annotations

from typing import Any, cast

from irc.frontend.call import Call
from irc.frontend.operators.index import turned_to_length
from irc.frontend.table import operator
from irc.graph import MISSING
from irc.operation import Op
from irc.ops.recurrent import ACTIVATIONS, DEFAULTS, GRU, LSTM, RNN
from irc.ops.shape import Concat, Reshape, Slice, Transpose

_DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_STATES = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}


@operator("RNN", "GRU", "LSTM")
def recurrent(call: Call) -> tuple[str, ...]:
    kind, batch_first = call.node.op_type, bool(call.attribute("layout", 0))
    directions = _directions(call)
    x = _swapped(call, call.operand(0), (1, 0, 2)) if batch_first else call.operand(0)
    parts = [_direction(call, index, backward, _states_of(call, index, batch_first), x)
             for index, backward in enumerate(directions)]
    sequence, *last = (_stacked(call, [part[i] for part in parts], 1 if i == 0 else 0)
                       for i in range(1 + len(_STATES[kind])))
    if batch_first:
        return _swapped(call, sequence, (2, 0, 1, 3)), *(_swapped(call, state, (1, 0, 2)) for state in last)
    return (sequence, *last)


def _directions(call: Call) -> tuple[bool, ...]:
    """Whether each direction runs backwards."""
    named = call.attribute("direction", "forward")
    if named not in _DIRECTIONS or call.shape(1)[:1] != (len(_DIRECTIONS[named]),):
        raise call.refusal(f"the direction '{named}' does not fit weights {list(call.shape(1))}")
    call.expect("hidden_size", call.attribute("hidden_size", call.shape(2)[-1]), "it is the size of the weights")
    return _DIRECTIONS[named]


def _states_of(call: Call, index: int, batch_first: bool) -> list[str]:
    """First states of one direction, [batch, hidden]."""
    given = [call.operand(i) if call.has(i) else MISSING for i in _STATES[call.node.op_type]]
    return [value if value == MISSING else
            _picked(call, _swapped(call, value, (1, 0, 2)) if batch_first else value, index) for value in given]


def _direction(call: Call, index: int, backward: bool, states: list[str], x: str) -> tuple[str, ...]:
    """All states [time, 1, batch, hidden], then the last of each, [1, batch, hidden]."""
    w, r = (_picked(call, call.operand(i), index) for i in (1, 2))
    bias = _picked(call, call.operand(3), index) if call.has(3) else MISSING
    looks = (_picked(call, call.operand(7), index),) if call.has(7) else ()
    turned = _turned(call, x) if backward else x
    found = call.emit_all(_op(call, index), turned, w, r, bias, call.operand(4), *states, *looks)
    sequence = _turned(call, found[0]) if backward else found[0]
    time, batch, hidden = call.type(sequence).shape
    return (call.emit(Reshape((time, 1, batch, hidden)), sequence, part="direction"),
            *(call.emit(Reshape((1, batch, hidden)), state, part="last") for state in found[1:]))


def _op(call: Call, index: int) -> Op:
    kind, clip = call.node.op_type, call.attribute("clip", 0.0)
    count = len(_DEFAULTS[kind])
    given = call.strings("activations") or _DEFAULTS[kind] * (index + 1)
    every = tuple(name.lower() for name in given)
    functions = cast(Any, every[index * count : (index + 1) * count])
    if not set(every) <= ACTIVATIONS.keys() or len(functions) != count:
        raise call.refusal(f"the activations {list(given)} are not supported")
    parameters = [_parameters(call, every, *which)[index * count : (index + 1) * count] for which in _PARAMETERS]
    match kind:
        case "RNN":
            return RNN(functions, clip, *parameters)
        case "GRU":
            return GRU(functions, bool(call.attribute("linear_before_reset", 0)), clip, *parameters)
        case _:
            return LSTM(functions, bool(call.attribute("input_forget", 0)), clip, *parameters)


_PARAMETERS = (("activation_alpha", 0), ("activation_beta", 1))


def _parameters(call: Call, functions: tuple[str, ...], name: str, place: int) -> tuple[float, ...]:
    """One entry for each function. Only functions that have the parameter take one from the attribute, in order."""
    given = iter(call.attribute(name, cast("tuple[float, ...]", ())))
    defaults = [DEFAULTS.get(function, ())[place : place + 1] for function in functions]
    found = tuple(next(given, own[0]) if own else 0.0 for own in defaults)
    return found if any(defaults) else ()


def _picked(call: Call, value: str, index: int) -> str:
    """Entry `index` of the first axis, which counts the directions."""
    shape = call.type(value).shape
    if shape[0] > 1:
        op = Slice((index, *(0,) * (len(shape) - 1)), (1, *shape[1:]), (1,) * len(shape))
        value = call.emit(op, value, part="of_direction")
    return call.emit(Reshape(shape[1:]), value, part="of_direction")


def _turned(call: Call, value: str) -> str:
    """The time axis backwards; of each sequence up to its length."""
    shape = call.type(value).shape
    if call.has(4):
        return turned_to_length(call, value, call.operand(4), 0, 1)
    rest = len(shape) - 1
    return call.emit(Slice((shape[0] - 1, *(0,) * rest), shape, (-1, *(1,) * rest)), value, part="backwards")


def _swapped(call: Call, value: str, perm: tuple[int, ...]) -> str:
    return call.emit(Transpose(perm), value, part="layout")


def _stacked(call: Call, parts: list[str], axis: int) -> str:
    return parts[0] if len(parts) == 1 else call.emit(Concat(axis), *parts)
