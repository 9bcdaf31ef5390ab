"""More reductions along axes, and running sums and products."""

from __future__ import annotations

import numpy as np

from irc.operation import MODEL, Op, operation
from irc.ops.bits import WIDEST
from irc.ops.elementary import require_real
from irc.ops.pooling import reduced_shape
from irc.types import Array, Float, TensorType


@operation("reduce_min", "x", levels=MODEL)
class ReduceMin(Op):
    """Smallest value along `axes`."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(x.format, reduced_shape(x, self.axes, self.keepdims))

    def evaluate(self, x: Array) -> Array:
        return np.asarray(x.min(axis=tuple(a + 1 for a in self.axes), keepdims=self.keepdims))


@operation("reduce_prod", "x", levels=MODEL)
class ReduceProd(Op):
    """Product along `axes`; of integers modulo 2^64."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, x: TensorType) -> TensorType:
        form = x.format if isinstance(x.format, Float) else WIDEST
        return TensorType(form, reduced_shape(x, self.axes, self.keepdims))

    def evaluate(self, x: Array) -> Array:
        return np.asarray(x.prod(axis=tuple(a + 1 for a in self.axes), keepdims=self.keepdims))


@operation("reduce_log_sum_exp", "x", levels=MODEL)
class ReduceLogSumExp(Op):
    """log(sum(exp(x))) along `axes`, without overflow."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(x.format, reduced_shape(require_real(x, self.name), self.axes, self.keepdims))

    def evaluate(self, x: Array) -> Array:
        axes = tuple(a + 1 for a in self.axes)
        top = x.max(axis=axes, keepdims=True)
        top = np.where(np.isfinite(top), top, 0)
        with np.errstate(divide="ignore"):
            found = np.log(np.exp(x - top).sum(axis=axes, keepdims=True)) + top
        return np.asarray(found if self.keepdims else found.squeeze(axes))


class Running(Op):
    """Shared rule of running results along one axis."""

    __slots__ = ()
    axis: int
    exclusive: bool
    reverse: bool

    def infer(self, x: TensorType) -> TensorType:
        if not 0 <= self.axis < len(x.shape):
            raise TypeError(f"axis {self.axis} is not an axis of {x}")
        return x if isinstance(x.format, Float) else TensorType(WIDEST, x.shape)

    def scanned(self, scan: np.ufunc, x: Array) -> Array:
        axis = self.axis + 1
        x = np.flip(x, axis) if self.reverse else x
        found = scan.accumulate(x, axis=axis)
        if self.exclusive:
            first = np.full_like(np.take(x, [0], axis), scan.identity)
            found = np.concatenate([first, np.delete(found, -1, axis)], axis)
        return np.asarray(np.flip(found, axis) if self.reverse else found)


@operation("cumulative_sum", "x", levels=MODEL)
class CumulativeSum(Running):
    """Sum of all elements up to each along `axis`: without itself when `exclusive`, from the end when `reverse`."""

    axis: int
    exclusive: bool = False
    reverse: bool = False

    def evaluate(self, x: Array) -> Array:
        return self.scanned(np.add, x)


@operation("cumulative_product", "x", levels=MODEL)
class CumulativeProduct(Running):
    """Product of all elements up to each along `axis`: without itself when `exclusive`, from the end when `reverse`."""

    axis: int
    exclusive: bool = False
    reverse: bool = False

    def evaluate(self, x: Array) -> Array:
        return self.scanned(np.multiply, x)
