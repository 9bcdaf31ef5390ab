"""Activation functions with a parameter, and the logarithm of softmax, on reals."""

from __future__ import annotations

import numpy as np

from irc.operation import MODEL, Op, operation
from irc.ops.elementary import require_real
from irc.types import Array, TensorType


@operation("leaky_relu", "x", levels=MODEL)
class LeakyRelu(Op):
    """x above zero, `alpha` * x below."""

    alpha: float = 0.01

    def infer(self, x: TensorType) -> TensorType:
        return require_real(x, self.name)

    def evaluate(self, x: Array) -> Array:
        return np.where(x < 0, self.alpha * x, x)


@operation("elu", "x", levels=MODEL)
class Elu(Op):
    """x above zero, `alpha` * (exp(x) - 1) below."""

    alpha: float = 1.0

    def infer(self, x: TensorType) -> TensorType:
        return require_real(x, self.name)

    def evaluate(self, x: Array) -> Array:
        return np.where(x < 0, self.alpha * np.expm1(np.minimum(x, 0)), x)


@operation("log_softmax", "x", levels=MODEL)
class LogSoftmax(Op):
    """x - log(sum(exp(x))), the sum over `axes` together."""

    axes: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if any(not 0 <= a < len(x.shape) for a in self.axes):
            raise TypeError(f"axes {list(self.axes)} are not all axes of {x}")
        return require_real(x, self.name)

    def evaluate(self, x: Array) -> Array:
        axes = tuple(a + 1 for a in self.axes)
        below = x - x.max(axis=axes, keepdims=True)
        return np.asarray(below - np.log(np.exp(below).sum(axis=axes, keepdims=True)))
