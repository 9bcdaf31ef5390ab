"""Smooth activation functions, on reals."""

from __future__ import annotations

import numpy as np

from irc.operation import MODEL, Op, operation
from irc.types import Array, Float, TensorType


def _require_real(x: TensorType, name: str) -> TensorType:
    if not isinstance(x.format, Float):
        raise TypeError(f"{name} takes reals, not {x}")
    return x


@operation("sigmoid", "x", levels=MODEL)
class Sigmoid(Op):
    """1 / (1 + exp(-x))."""

    def infer(self, x: TensorType) -> TensorType:
        return _require_real(x, self.name)

    def evaluate(self, x: Array) -> Array:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))  # the same function, without overflow


@operation("tanh", "x", levels=MODEL)
class Tanh(Op):
    """Hyperbolic tangent."""

    def infer(self, x: TensorType) -> TensorType:
        return _require_real(x, self.name)

    def evaluate(self, x: Array) -> Array:
        return np.asarray(np.tanh(x))


@operation("softmax", "x", levels=MODEL)
class Softmax(Op):
    """exp(x) / sum(exp(x)), the sum over `axes` together."""

    axes: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if any(not 0 <= a < len(x.shape) for a in self.axes):
            raise TypeError(f"axes {list(self.axes)} are not all axes of {x}")
        return _require_real(x, self.name)

    def evaluate(self, x: Array) -> Array:
        axes = tuple(a + 1 for a in self.axes)
        powers = np.exp(x - x.max(axis=axes, keepdims=True))
        return np.asarray(powers / powers.sum(axis=axes, keepdims=True))
