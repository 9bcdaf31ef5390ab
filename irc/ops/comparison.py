"""Comparison and choice, element by element with NumPy broadcasting. Truth values are u1."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from irc.operation import MODEL, Op, operation, same_format
from irc.ops.elementwise import aligned, broadcast
from irc.types import Array, Float, Format, Integer, TensorType, smallest_integer

TRUTH = Integer(False, 1)


def joined(a: TensorType, b: TensorType) -> Format:
    """The format that holds the numbers of both."""
    same_format(a, b)
    if isinstance(a.format, Float) or isinstance(b.format, Float):
        return max(a.format, b.format, key=lambda f: f.bits)
    if a.format == b.format:
        return a.format
    return smallest_integer(min(a.format.minimum, b.format.minimum), max(a.format.maximum, b.format.maximum))


class Comparison(Op):
    """Shared rule: a truth value for two numbers."""

    __slots__ = ()

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        same_format(a, b)
        return TensorType(TRUTH, broadcast(a, b))

    @abstractmethod
    def compare(self, a: Array, b: Array) -> Array:
        """Truth values (0 or 1) on arrays that broadcast."""

    def evaluate(self, a: Array, b: Array) -> Array:
        rank = max(a.ndim, b.ndim) - 1
        return self.compare(aligned(a, rank), aligned(b, rank)).astype(np.int64)


@operation("equal", "a b", levels=MODEL)
class Equal(Comparison):
    """Whether a = b."""

    def compare(self, a: Array, b: Array) -> Array:
        return np.asarray(a == b)


@operation("less", "a b", levels=MODEL)
class Less(Comparison):
    """Whether a < b."""

    def compare(self, a: Array, b: Array) -> Array:
        return np.asarray(a < b)


@operation("less_or_equal", "a b", levels=MODEL)
class LessOrEqual(Comparison):
    """Whether a <= b."""

    def compare(self, a: Array, b: Array) -> Array:
        return np.asarray(a <= b)


class Extremum(Op):
    """Shared rule of minimum and maximum."""

    __slots__ = ()

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        return TensorType(joined(a, b), broadcast(a, b))

    @abstractmethod
    def pick(self, a: Array, b: Array) -> Array:
        """The chosen of two values, on arrays that broadcast."""

    def evaluate(self, a: Array, b: Array) -> Array:
        rank = max(a.ndim, b.ndim) - 1
        return self.pick(aligned(a, rank), aligned(b, rank))


@operation("minimum", "a b", levels=MODEL)
class Minimum(Extremum):
    """The smaller of a and b."""

    def pick(self, a: Array, b: Array) -> Array:
        return np.asarray(np.minimum(a, b))


@operation("maximum", "a b", levels=MODEL)
class Maximum(Extremum):
    """The larger of a and b."""

    def pick(self, a: Array, b: Array) -> Array:
        return np.asarray(np.maximum(a, b))


@operation("where", "condition a b", levels=MODEL)
class Where(Op):
    """a where the condition holds, else b."""

    def infer(self, condition: TensorType, a: TensorType, b: TensorType) -> TensorType:
        if condition.format != TRUTH:
            raise TypeError(f"the condition is {condition}, not truth values (u1)")
        chosen = TensorType(joined(a, b), broadcast(a, b))
        return TensorType(chosen.format, broadcast(condition, chosen))

    def evaluate(self, condition: Array, a: Array, b: Array) -> Array:
        rank = max(condition.ndim, a.ndim, b.ndim) - 1
        return np.where(aligned(condition, rank) != 0, aligned(a, rank), aligned(b, rank))
