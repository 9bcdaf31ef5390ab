"""Recurrent layers, one direction: states carried from time step to time step, on reals.

x is [time, batch, input]; w and r hold the rows of all gates, [gates * hidden, input] and [gates * hidden, hidden];
bias [2 * gates * hidden] is that of w, then that of r. `lengths` [batch] says how long each sequence is: behind its end
the states stay, and the result is zero. `clip` bounds what goes into the activations; 0 is no bound. `alpha` and `beta`
have one entry for each activation; without them those of `DEFAULTS` hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from irc.operation import MODEL, Op, operation
from irc.ops.elementary import require_real
from irc.ops.index import require_indices, together
from irc.types import Array, TensorType

Activation: TypeAlias = Literal["sigmoid", "tanh", "relu", "softsign", "softplus", "affine", "leakyrelu",
                                "thresholdedrelu", "scaledtanh", "hardsigmoid", "elu"]
ACTIVATIONS: Mapping[str, Callable[[Array, float, float], Array]] = {  # of x, alpha and beta
    "sigmoid": lambda x, a, b: np.asarray(0.5 * (1 + np.tanh(0.5 * x))),
    "tanh": lambda x, a, b: np.tanh(x),
    "relu": lambda x, a, b: np.maximum(x, 0),
    "softsign": lambda x, a, b: np.asarray(x / (1 + np.abs(x))),
    "softplus": lambda x, a, b: np.asarray(np.logaddexp(0, x)),
    "affine": lambda x, a, b: np.asarray(a * x + b),
    "leakyrelu": lambda x, a, b: np.where(x < 0, a * x, x),
    "thresholdedrelu": lambda x, a, b: np.where(x > a, x, 0),
    "scaledtanh": lambda x, a, b: np.asarray(a * np.tanh(b * x)),
    "hardsigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
}
DEFAULTS: Mapping[str, tuple[float, ...]] = {  # alpha, and beta where there is one, of those that take any
    "affine": (1.0, 0.0), "leakyrelu": (0.01,), "thresholdedrelu": (1.0,), "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5), "elu": (1.0,),
}


class Recurrent(Op):
    """Shared rule: the states of all time steps, then the last of each state."""

    __slots__ = ()
    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1
    activations: tuple[Activation, ...]
    clip: float
    alpha: tuple[float, ...]
    beta: tuple[float, ...]

    def infer(self, x: TensorType, w: TensorType, r: TensorType, bias: TensorType | None = None,
              lengths: TensorType | None = None, *others: TensorType | None) -> tuple[TensorType, ...]:
        for operand in (x, w, r, *(o for o in (bias, *others) if o)):
            require_real(operand, self.name)
        (time, batch, size), hidden = x.shape, r.shape[-1]
        rows = self.gates * hidden
        if w.shape != (rows, size) or r.shape != (rows, hidden) or (bias and bias.shape != (2 * rows,)):
            raise TypeError(f"weights {w} and {r} do not fit {x}")
        if any(state and state.shape != (batch, hidden) for state in others[: self.states]):
            raise TypeError(f"the first states are not all [{batch}, {hidden}]")
        if lengths:
            require_indices(lengths)
        if lengths and lengths.shape != (batch,):
            raise TypeError(f"there is not one length for each of {batch} sequences: {lengths}")
        last = TensorType(x.format, (batch, hidden))
        return TensorType(x.format, (time, batch, hidden)), *(last,) * self.states

    def activation(self, index: int, name: Activation, x: Array) -> Array:
        """The activation at a place among those of the op."""
        alpha, beta = (*DEFAULTS.get(name, ()), 0.0, 0.0)[:2]
        return ACTIVATIONS[name](x, self.alpha[index] if self.alpha else alpha, self.beta[index] if self.beta else beta)

    def gate(self, index: int, name: Activation, x: Array) -> Array:
        """An activation of what has been bounded."""
        return self.activation(index, name, np.clip(x, -self.clip, self.clip) if self.clip else x)

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

    def run(self, inputs: Array, lengths: Array | None, states: tuple[Array, ...],
            step: Callable[..., tuple[Array, ...]]) -> tuple[Array, ...]:
        """The first state of every time step, then the last states; `step` makes the next states."""
        ends, found = np.full((1, 1), inputs.shape[1]) if lengths is None else lengths, []
        for time, data in enumerate(np.moveaxis(inputs, 1, 0)):
            runs = (time < ends)[..., None]
            states = tuple(np.where(runs, new, old) for new, old in zip(step(data, *states), states, strict=True))
            found.append(np.where(runs, states[0], 0))
        return np.stack(found, axis=1), *states


@operation("rnn", "x w r bias? lengths? h?", levels=MODEL)
class RNN(Recurrent):
    """h = f(x w' + h r' + bias) at every time step. Results: all h, the last h."""

    activations: tuple[Activation] = ("tanh",)
    clip: float = 0.0
    alpha: tuple[float, ...] = ()
    beta: tuple[float, ...] = ()

    def evaluate(self, x: Array, w: Array, r: Array, bias: Array | None = None, lengths: Array | None = None,
                 h: Array | None = None) -> tuple[Array, ...]:
        inputs, rows, offset, x = self.prepare(x, w, r, bias)
        return self.run(inputs, lengths, (self.first(h, x, rows),),
                        lambda x, h: (self.gate(0, self.activations[0], x + h @ rows + offset),))


@operation("gru", "x w r bias? lengths? h?", levels=MODEL)
class GRU(Recurrent):
    """Gated recurrent unit with the gates update z, reset r, candidate n, in the order of ONNX:
    h = (1 - z) n + z h. The reset works on h, or on its product with r when `linear_before_reset` is set.
    Results: all h, the last h."""

    gates = 3
    activations: tuple[Activation, Activation] = ("sigmoid", "tanh")
    linear_before_reset: bool = False
    clip: float = 0.0
    alpha: tuple[float, ...] = ()
    beta: tuple[float, ...] = ()

    def evaluate(self, x: Array, w: Array, r: Array, bias: Array | None = None, lengths: Array | None = None,
                 h: Array | None = None) -> tuple[Array, ...]:
        inputs, rows, offset, x = self.prepare(x, w, r, bias)
        return self.run(inputs, lengths, (self.first(h, x, rows),), lambda x, h: self._step(x, h, rows, offset))

    def _step(self, x: Array, h: Array, rows: Array, offset: Array) -> tuple[Array]:
        (xz, xr, xn), (rz, rr, rn), (bz, br, bn) = (np.split(a, 3, axis=-1) for a in (x, rows, offset))
        gate, candidate = self.activations
        z, reset = self.gate(0, gate, xz + h @ rz + bz), self.gate(0, gate, xr + h @ rr + br)
        past = reset * (h @ rn + bn) if self.linear_before_reset else (reset * h) @ rn + bn
        return (np.asarray((1 - z) * self.gate(1, candidate, xn + past) + z * h),)


@operation("lstm", "x w r bias? lengths? h? c? peephole?", levels=MODEL)
class LSTM(Recurrent):
    """Long short-term memory with the gates input i, output o, forget f, cell n, in the order of ONNX:
    c = f c + i n, h = o act(c). `peephole` [3 * hidden] adds its products with c to i, o and f; with `input_forget`
    f is 1 - i. Results: all h, the last h, the last c."""

    gates = 4
    states = 2
    activations: tuple[Activation, Activation, Activation] = ("sigmoid", "tanh", "tanh")
    input_forget: bool = False
    clip: float = 0.0
    alpha: tuple[float, ...] = ()
    beta: tuple[float, ...] = ()

    def evaluate(self, x: Array, w: Array, r: Array, bias: Array | None = None, lengths: Array | None = None,
                 h: Array | None = None, c: Array | None = None, peephole: Array | None = None) -> tuple[Array, ...]:
        inputs, rows, offset, x = self.prepare(x, w, r, bias)
        looks = np.zeros((1, 3 * rows.shape[1])) if peephole is None else peephole
        return self.run(inputs, lengths, (self.first(h, x, rows), self.first(c, x, rows)),
                        lambda x, h, c: self._step(x + h @ rows + offset, c, looks[:, None, :]))

    def _step(self, sums: Array, c: Array, looks: Array) -> tuple[Array, Array]:
        (i, o, f, n), (look_i, look_o, look_f) = np.split(sums, 4, axis=-1), np.split(looks, 3, axis=-1)
        gate, cell, state = self.activations
        i = self.gate(0, gate, i + look_i * c)
        f = 1 - i if self.input_forget else self.gate(0, gate, f + look_f * c)
        c = np.asarray(f * c + i * self.gate(1, cell, n))
        return np.asarray(self.gate(0, gate, o + look_o * c) * self.activation(2, state, c)), c
