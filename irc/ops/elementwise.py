"""Element-by-element arithmetic with NumPy broadcasting."""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import numpy as np

from irc.operation import ARITHMETIC, MODEL, Op, operation, same_format
from irc.types import Array, Float, Integer, PowerOfTwo, TensorType, smallest_integer


def aligned(a: Array, rank: int) -> Array:
    """Insert axes after the sample axis so that `a` has `rank` axes of its own and broadcasts as its type would."""
    return a.reshape(a.shape[:1] + (1,) * (rank + 1 - a.ndim) + a.shape[1:])


def broadcast(a: TensorType, b: TensorType) -> tuple[int, ...]:
    try:
        return tuple(np.broadcast_shapes(a.shape, b.shape))
    except ValueError:
        raise TypeError(f"shapes {list(a.shape)} and {list(b.shape)} do not broadcast") from None


def _bounds(t: TensorType) -> tuple[int, int]:
    form = cast(Integer | PowerOfTwo, t.format)
    return form.minimum, form.maximum


class Binary(Op):
    """Shared rule of two-operand arithmetic; `bounds` gives the exact integer range of the result."""

    __slots__ = ()

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        same_format(a, b)
        shape = broadcast(a, b)
        if isinstance(a.format, Float) or isinstance(b.format, Float):
            return TensorType(max(a.format, b.format, key=lambda f: f.bits), shape)
        (al, ah), (bl, bh) = _bounds(a), _bounds(b)
        corners = [self.bound(p, q) for p in (al, ah) for q in (bl, bh)]
        form = smallest_integer(min(corners), max(corners))
        return TensorType(Integer(form.signed, min(form.bits, 64)), shape)

    def bound(self, a: int, b: int) -> int:
        """The result for two integers: at the corners of the operands' ranges it gives the range of the result."""
        raise TypeError("operands must be real")

    @abstractmethod
    def apply(self, a: Array, b: Array) -> Array:
        """NumPy meaning on arrays that broadcast."""

    def evaluate(self, a: Array, b: Array) -> Array:
        rank = max(a.ndim, b.ndim) - 1
        return self.apply(aligned(a, rank), aligned(b, rank))


@operation("add", "a b", levels=ARITHMETIC)
class Add(Binary):
    """a + b."""

    def bound(self, a: int, b: int) -> int:
        return a + b

    def apply(self, a: Array, b: Array) -> Array:
        return a + b


@operation("sub", "a b", levels=ARITHMETIC)
class Sub(Binary):
    """a - b."""

    def bound(self, a: int, b: int) -> int:
        return a - b

    def apply(self, a: Array, b: Array) -> Array:
        return a - b


@operation("mul", "a b", levels=ARITHMETIC)
class Mul(Binary):
    """a * b."""

    def bound(self, a: int, b: int) -> int:
        return a * b

    def apply(self, a: Array, b: Array) -> Array:
        return a * b


@operation("div", "a b", levels=MODEL)
class Div(Binary):
    """a / b on reals."""

    def apply(self, a: Array, b: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return cast(Array, a / b)


@operation("relu", "x", levels=ARITHMETIC)
class Relu(Op):
    """max(x, 0)."""

    def infer(self, x: TensorType) -> TensorType:
        return x

    def evaluate(self, x: Array) -> Array:
        return np.maximum(x, 0)


@operation("clip", "x", levels=ARITHMETIC)
class Clip(Op):
    """min(max(x, low), high)."""

    low: float
    high: float

    def infer(self, x: TensorType) -> TensorType:
        return x

    def evaluate(self, x: Array) -> Array:
        return np.clip(x, self.low, self.high).astype(x.dtype)
