"""What a real value has become while `integer` walks the graph: an integer value and what its integers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from irc.graph import Constant
from irc.types import Array, Encoding, IntArray, Integer, TensorType

Scale: TypeAlias = tuple[Fraction, ...]  # one entry, or one a channel
ONE: Scale = (Fraction(1),)


@dataclass(frozen=True, slots=True)
class Quantity:
    """real = min(max(scale * (q + offset - zero) + shift, low), high), with q the integer value `name`.

    `scale` has one entry, or one for each index of `axis`. `offset` and `shift` (shaped to broadcast; integers, and
    rationals that are no whole steps), `low` and `high` are pending: they become nodes when something needs the value,
    unless a requantization absorbs them.
    """

    name: str
    type: TensorType
    scale: Scale = ONE
    axis: int = 1
    zero: int = 0
    offset: IntArray | None = None
    shift: Array | None = None
    low: Fraction | None = None
    high: Fraction | None = None

    @property
    def format(self) -> Integer:
        form = self.type.format
        return form if isinstance(form, Integer) else Integer(True, form.bits)

    @property
    def bounded(self) -> bool:
        return self.low is not None or self.high is not None

    def encoding(self, zero: float | None = None) -> Encoding:
        """The meaning of the integers, for a port."""
        return Encoding(tuple(float(s) for s in self.scale), self.zero if zero is None else zero, self.axis)

    def scales(self) -> Array:
        """The scale, shaped to broadcast."""
        shape = [1] * len(self.type.shape)
        if len(self.scale) > 1:
            shape[self.axis] = len(self.scale)
        return np.array(self.scale, object).reshape(shape)

    def whole(self) -> Quantity:
        """The same with the shift as part of the offset, where it is a whole number of steps everywhere."""
        if self.shift is None or not all(self.scale):
            return self
        shift, scale = np.broadcast_arrays(self.shift, self.scales())
        if any((b / a).denominator != 1 for b, a in zip(shift.flat, scale.flat, strict=True)):  # mostly the first
            return self
        moved = np.asarray(shift / scale).astype(np.int64)
        return replace(self, shift=None, offset=moved if self.offset is None else self.offset + moved)


def fractions(scale: Array) -> Scale:
    """Exact values of float scales; a single one when all are equal."""
    exact = tuple(Fraction(float(s)) for s in scale.reshape(-1))
    return exact[:1] if len(set(exact)) == 1 else exact


def exact(values: Array) -> Array:
    """An array of floats as an array of fractions."""
    different, which = np.unique(values, return_inverse=True)
    return np.array([Fraction(v) for v in different.tolist()], object)[which.reshape(-1)].reshape(np.shape(values))


def common_step(a: Fraction, b: Fraction) -> Fraction:
    """The largest step of which both are multiples."""
    return Fraction(math.gcd(a.numerator * b.denominator, b.numerator * a.denominator), a.denominator * b.denominator)


def centred(constant: Constant, zero: Constant | None, axis: int) -> tuple[IntArray, TensorType]:
    """The integers of a quantized constant with the zero point taken away; the format grows only if it must."""
    if zero is None or not zero.data.any():
        return constant.data, constant.type
    shape = tuple(-1 if i == axis else 1 for i in range(constant.data.ndim)) if zero.data.size > 1 else ()
    data = constant.data - zero.data.reshape(shape)
    bits = max(int(-data.min() - 1).bit_length(), int(data.max()).bit_length(), 1) + 1
    return data, TensorType(Integer(True, bits), constant.type.shape)


def lifted(values: Array, rank: int) -> Array:
    """The same array with leading axes of length 1 up to `rank`."""
    return np.reshape(values, (1,) * (rank - np.ndim(values)) + np.shape(values))
