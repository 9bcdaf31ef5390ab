"""Recurrent layers, one direction: states carried from time step to time step, on reals.

x is [time, batch, input]; w and r hold the rows of all gates, [gates * hidden, input] and [gates * hidden, hidden];
bias [2 * gates * hidden] is that of w, then that of r. `clip` bounds what goes into the activations; 0 is no bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from irc.operation import MODEL, Op, operation
from irc.ops.elementary import require_real
from irc.ops.index import together
from irc.types import Array, TensorType

Activation: TypeAlias = Literal["sigmoid", "tanh", "relu", "softsign", "softplus"]
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "sigmoid": lambda x: np.asarray(0.5 * (1 + np.tanh(0.5 * x))),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softsign": lambda x: np.asarray(x / (1 + np.abs(x))),
    "softplus": lambda x: np.asarray(np.logaddexp(0, x)),
}


class Recurrent(Op):
    """Shared rule: the states of all time steps, then the last of each state."""

    __slots__ = ()
    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1
    clip: float

    def infer(self, x: TensorType, w: TensorType, r: TensorType,
              *others: TensorType | None) -> tuple[TensorType, ...]:
        for operand in (x, w, r, *(o for o in others if o)):
            require_real(operand, self.name)
        (time, batch, size), hidden = x.shape, r.shape[-1]
        rows = self.gates * hidden
        bias, *rest = (*others, None)
        if w.shape != (rows, size) or r.shape != (rows, hidden) or (bias and bias.shape != (2 * rows,)):
            raise TypeError(f"weights {w} and {r} do not fit {x}")
        if any(state and state.shape != (batch, hidden) for state in rest[: self.states]):
            raise TypeError(f"the first states are not all [{batch}, {hidden}]")
        last = TensorType(x.format, (batch, hidden))
        return TensorType(x.format, (time, batch, hidden)), *(last,) * self.states

    def bounded(self, x: Array) -> Array:
        """What goes into an activation."""
        return np.clip(x, -self.clip, self.clip) if self.clip else x

    def gate(self, function: Activation, x: Array) -> Array:
        return ACTIVATIONS[function](self.bounded(x))

    def prepare(self, x: Array, w: Array, r: Array, bias: Array | None) -> tuple[Array, Array, Array, Array]:
        """Products of x and w with the bias of w, [samples, time, batch, rows]; r to multiply with; the bias of r."""
        both = np.zeros((1, 2 * w.shape[1])) if bias is None else bias
        x, w, r, both = together(x, w, r, both)
        of_w, of_r = np.split(both[:, None, :], 2, axis=-1)
        return x @ np.swapaxes(w, 1, 2)[:, None] + of_w[:, None], np.swapaxes(r, 1, 2), of_r, x

    def first(self, given: Array | None, x: Array, r: Array) -> Array:
        """A state before the first time step: as given, or zero."""
        shape = (len(x), x.shape[2], r.shape[1])
        return np.zeros(shape) if given is None else np.broadcast_to(given, shape)


@operation("rnn", "x w r bias? h?", levels=MODEL)
class RNN(Recurrent):
    """h = f(x w' + h r' + bias) at every time step. Results: all h, the last h."""

    activation: Activation = "tanh"
    clip: float = 0.0

    def evaluate(self, x: Array, w: Array, r: Array, bias: Array | None = None,
                 h: Array | None = None) -> tuple[Array, ...]:
        inputs, rows, offset, x = self.prepare(x, w, r, bias)
        h, found = self.first(h, x, rows), []
        for step in np.moveaxis(inputs, 1, 0):
            h = self.gate(self.activation, step + h @ rows + offset)
            found.append(h)
        return np.stack(found, axis=1), h


@operation("gru", "x w r bias? h?", levels=MODEL)
class GRU(Recurrent):
    """Gated recurrent unit with the gates update z, reset r, candidate n, in the order of ONNX:
    h = (1 - z) n + z h. The reset works on h, or on its product with r when `linear_before_reset` is set.
    Results: all h, the last h."""

    gates = 3
    activations: tuple[Activation, Activation] = ("sigmoid", "tanh")
    linear_before_reset: bool = False
    clip: float = 0.0

    def evaluate(self, x: Array, w: Array, r: Array, bias: Array | None = None,
                 h: Array | None = None) -> tuple[Array, ...]:
        inputs, rows, offset, x = self.prepare(x, w, r, bias)
        h, found = self.first(h, x, rows), []
        for step in np.moveaxis(inputs, 1, 0):
            h = self._step(step, h, rows, offset)
            found.append(h)
        return np.stack(found, axis=1), h

    def _step(self, x: Array, h: Array, rows: Array, offset: Array) -> Array:
        (xz, xr, xn), (rz, rr, rn), (bz, br, bn) = (np.split(a, 3, axis=-1) for a in (x, rows, offset))
        gate, candidate = self.activations
        z, reset = self.gate(gate, xz + h @ rz + bz), self.gate(gate, xr + h @ rr + br)
        past = reset * (h @ rn + bn) if self.linear_before_reset else (reset * h) @ rn + bn
        return np.asarray((1 - z) * self.gate(candidate, xn + past) + z * h)


@operation("lstm", "x w r bias? h? c? peephole?", levels=MODEL)
class LSTM(Recurrent):
    """Long short-term memory with the gates input i, output o, forget f, cell n, in the order of ONNX:
    c = f c + i n, h = o act(c). `peephole` [3 * hidden] adds its products with c to i, o and f; with `input_forget`
    f is 1 - i. Results: all h, the last h, the last c."""

    gates = 4
    states = 2
    activations: tuple[Activation, Activation, Activation] = ("sigmoid", "tanh", "tanh")
    input_forget: bool = False
    clip: float = 0.0

    def evaluate(self, x: Array, w: Array, r: Array, bias: Array | None = None, h: Array | None = None,
                 c: Array | None = None, peephole: Array | None = None) -> tuple[Array, ...]:
        inputs, rows, offset, x = self.prepare(x, w, r, bias)
        h, c, found = self.first(h, x, rows), self.first(c, x, rows), []
        looks = np.zeros((1, 3 * rows.shape[1])) if peephole is None else peephole
        looks = looks[:, None, :]
        for step in np.moveaxis(inputs, 1, 0):
            h, c = self._step(step + h @ rows + offset, c, looks)
            found.append(h)
        return np.stack(found, axis=1), h, c

    def _step(self, sums: Array, c: Array, looks: Array) -> tuple[Array, Array]:
        (i, o, f, n), (look_i, look_o, look_f) = np.split(sums, 4, axis=-1), np.split(looks, 3, axis=-1)
        gate, cell, state = self.activations
        i = self.gate(gate, i + look_i * c)
        f = 1 - i if self.input_forget else self.gate(gate, f + look_f * c)
        c = np.asarray(f * c + i * self.gate(cell, n))
        return np.asarray(self.gate(gate, o + look_o * c) * ACTIVATIONS[state](c)), c
