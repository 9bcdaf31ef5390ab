"""Integers as bits, and between integer formats: what ONNX computes modulo two to the number of bits."""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import numpy as np

from irc.operation import MODEL, Op, operation
from irc.ops.comparison import joined
from irc.ops.elementary import require_real
from irc.ops.elementwise import aligned, broadcast
from irc.types import Array, Float, Integer, TensorType, smallest_integer

WIDEST = Integer(True, 64)


def require_integer(x: TensorType, name: str) -> Integer:
    """The format of `x`, or TypeError when it is not an integer."""
    if not isinstance(x.format, Integer):
        raise TypeError(f"{name} takes integers, not {x}")
    return x.format


@operation("wrap", "x", levels=MODEL)
class Wrap(Op):
    """The lowest bits of x as a number of the format `to`, in two's complement."""

    to: Integer

    def infer(self, x: TensorType) -> TensorType:
        require_integer(x, self.name)
        return TensorType(self.to, x.shape)

    def evaluate(self, x: Array) -> Array:
        if self.to.bits >= 63:
            return x  # no number of 64 bits is cut; the interpreter checks the sign
        half, mask = (1 << (self.to.bits - 1) if self.to.signed else 0), (1 << self.to.bits) - 1
        return np.asarray(((x + half) & mask) - half)


@operation("truncate", "x", levels=MODEL)
class Truncate(Op):
    """The whole part of a real, cut toward zero, as an integer of the format `to`, which must hold it."""

    to: Integer

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(self.to, require_real(x, self.name).shape)

    def evaluate(self, x: Array) -> Array:
        whole = np.trunc(x)
        if not (np.abs(whole) < 2.0**63).all():
            raise OverflowError(f"a number is too large for {self.to}")
        return whole.astype(np.int64)


class Bitwise(Op):
    """Shared rule of two-operand operations on bits."""

    __slots__ = ()

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        for operand in (a, b):
            require_integer(operand, self.name)
        return TensorType(joined(a, b), broadcast(a, b))

    @abstractmethod
    def combine(self, a: Array, b: Array) -> Array:
        """NumPy meaning on broadcast arrays of one format."""

    def evaluate(self, a: Array, b: Array) -> Array:
        rank = max(a.ndim, b.ndim) - 1
        return self.combine(aligned(a, rank), aligned(b, rank))


@operation("bitwise_and", "a b", levels=MODEL)
class BitwiseAnd(Bitwise):
    """a and b, bit by bit; of truth values: both."""

    def combine(self, a: Array, b: Array) -> Array:
        return np.asarray(a & b)


@operation("bitwise_or", "a b", levels=MODEL)
class BitwiseOr(Bitwise):
    """a or b, bit by bit; of truth values: any."""

    def combine(self, a: Array, b: Array) -> Array:
        return np.asarray(a | b)


@operation("bitwise_xor", "a b", levels=MODEL)
class BitwiseXor(Bitwise):
    """a xor b, bit by bit; of truth values: exactly one."""

    def combine(self, a: Array, b: Array) -> Array:
        return np.asarray(a ^ b)


class Shift(Bitwise):
    """Shared rule: a number of `bits` bits has no more to shift out; so does a shift by a negative number."""

    __slots__ = ()
    bits: int

    def everything(self, by: Array) -> Array:
        """Where every bit is shifted out."""
        return np.asarray((by < 0) | (by >= self.bits))


@operation("shift_left", "a b", levels=MODEL)
class ShiftLeft(Shift):
    """a * 2^b modulo 2^64, 0 where b is not one of 0 to `bits` - 1."""

    bits: int = 64

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        signed = cast(Integer, super().infer(a, b).format).signed
        return TensorType(WIDEST if signed else Integer(False, 63), broadcast(a, b))

    def combine(self, a: Array, b: Array) -> Array:
        return np.where(self.everything(b), 0, a << np.clip(b, 0, 63))


@operation("shift_right", "a b", levels=MODEL)
class ShiftRight(Shift):
    """a / 2^b, rounded to minus infinity: 0 or -1 where b is not one of 0 to `bits` - 1."""

    bits: int = 64

    def combine(self, a: Array, b: Array) -> Array:
        return np.asarray(a >> np.where(self.everything(b), 63, b))


@operation("quotient", "a b", levels=MODEL)
class Quotient(Bitwise):
    """a / b on integers, cut toward zero."""

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        form, by = require_integer(a, self.name), require_integer(b, self.name)
        largest = max(-form.minimum, form.maximum)
        kind = smallest_integer(-largest if form.signed or by.signed else 0, largest)
        return TensorType(Integer(kind.signed, min(kind.bits, 64)), broadcast(a, b))

    def combine(self, a: Array, b: Array) -> Array:
        if not b.all():
            raise OverflowError("an integer is divided by zero")
        return np.asarray(np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b))


@operation("modulo", "a b", levels=MODEL)
class Modulo(Op):
    """Remainder of a / b, with the sign of b; with that of a when `truncated` is set."""

    truncated: bool = False

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        return TensorType(joined(a, b), broadcast(a, b))

    def evaluate(self, a: Array, b: Array) -> Array:
        rank = max(a.ndim, b.ndim) - 1
        if b.dtype.kind == "i" and not b.all():
            raise OverflowError("an integer is divided by zero")
        with np.errstate(invalid="ignore"):
            rest = np.fmod if self.truncated else np.mod
            return np.asarray(rest(aligned(a, rank), aligned(b, rank)))


@operation("power", "a b", levels=MODEL)
class Power(Op):
    """a to the power of b; an integer to the power of an integer modulo 2^64."""

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        form = joined(a, b)
        return TensorType(form if isinstance(form, Float) else WIDEST, broadcast(a, b))

    def evaluate(self, a: Array, b: Array) -> Array:
        rank = max(a.ndim, b.ndim) - 1
        if b.dtype.kind == "i" and (b < 0).any():
            raise OverflowError("an integer to a negative power")
        with np.errstate(all="ignore"):
            return np.asarray(np.power(aligned(a, rank), aligned(b, rank)))


class Magnitude(Op):
    """Shared rule of functions that look at sign and size of a real or an integer."""

    __slots__ = ()

    def infer(self, x: TensorType) -> TensorType:
        if isinstance(x.format, Float):
            return x
        low, high = self.bounds(require_integer(x, self.name))
        form = smallest_integer(low, high)
        return TensorType(Integer(form.signed, min(form.bits, 64)), x.shape)

    @abstractmethod
    def bounds(self, form: Integer) -> tuple[int, int]:
        """Least and largest result for an operand of a format."""


@operation("abs", "x", levels=MODEL)
class Abs(Magnitude):
    """x without its sign."""

    def bounds(self, form: Integer) -> tuple[int, int]:
        return (0, max(-form.minimum, form.maximum)) if form.bits < 64 else (form.minimum, form.maximum)

    def evaluate(self, x: Array) -> Array:
        return np.abs(x)


@operation("neg", "x", levels=MODEL)
class Neg(Magnitude):
    """-x."""

    def bounds(self, form: Integer) -> tuple[int, int]:
        return -form.maximum, -form.minimum

    def evaluate(self, x: Array) -> Array:
        return np.negative(x)


@operation("sign", "x", levels=MODEL)
class Sign(Magnitude):
    """1, 0 or -1, as x is above, equal to or below zero."""

    def bounds(self, form: Integer) -> tuple[int, int]:
        return (-1 if form.signed else 0), 1

    def evaluate(self, x: Array) -> Array:
        return np.sign(x)
