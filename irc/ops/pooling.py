"""Windows and axes reduced to one value."""

from __future__ import annotations

import math

import numpy as np

from irc.operation import ARITHMETIC, MODEL, Op, operation
from irc.ops.linear import conv_sizes, windows
from irc.types import Array, Float, Integer, TensorType, smallest_integer


@operation("max_pool", "x", levels=ARITHMETIC)
class MaxPool(Op):
    """Largest value of each window of x [1, C, *spatial]; padding never wins."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if len(x.shape) != len(self.kernel) + 2:
            raise TypeError(f"a window of {len(self.kernel)} axes does not fit {x}")
        out = conv_sizes(x.shape[2:], self.kernel, self.strides, self.pads, self.dilations)
        return TensorType(x.format, (*x.shape[:2], *out))

    def evaluate(self, x: Array) -> Array:
        fill = -np.inf if x.dtype.kind == "f" else np.iinfo(np.int64).min
        view = windows(x.reshape(-1, *x.shape[2:]), self.kernel, self.strides, self.pads, self.dilations, fill)
        out = view.max(axis=tuple(range(-len(self.kernel), 0)))
        return np.asarray(out.reshape(*x.shape[:2], *out.shape[1:]))


@operation("avg_pool", "x", levels=MODEL)
class AvgPool(Op):
    """Mean of each window of x [1, C, *spatial], on reals. Padding counts as zeros when `count_include_pad` is set,
    else not at all."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    count_include_pad: bool = False

    def infer(self, x: TensorType) -> TensorType:
        if not isinstance(x.format, Float) or len(x.shape) != len(self.kernel) + 2:
            raise TypeError(f"a mean over windows of {len(self.kernel)} axes does not fit {x}")
        out = conv_sizes(x.shape[2:], self.kernel, self.strides, self.pads, self.dilations)
        return TensorType(x.format, (*x.shape[:2], *out))

    def evaluate(self, x: Array) -> Array:
        sums = self._sums(x.reshape(-1, *x.shape[2:]))
        whole = np.float64(math.prod(self.kernel))
        counts = whole if self.count_include_pad else self._sums(np.ones((1, 1, *x.shape[3:])))
        # a window of nothing but padding has no mean: 0, as its sum
        out = sums / np.maximum(counts, 1)
        return np.asarray(out.reshape(*x.shape[:2], *out.shape[1:]))

    def _sums(self, x: Array) -> Array:
        view = windows(x, self.kernel, self.strides, self.pads, self.dilations, 0)
        return np.asarray(view.sum(axis=tuple(range(-len(self.kernel), 0))))


def reduced(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """Shape after a reduction over `axes` (non-negative)."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape) if keepdims or i not in axes)


def reduced_shape(x: TensorType, axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """As `reduced`, after checking that `axes` are axes of x."""
    if any(not 0 <= a < len(x.shape) for a in axes):
        raise TypeError(f"axes {list(axes)} are not all axes of {x}")
    return reduced(x.shape, axes, keepdims)


@operation("reduce_max", "x", levels=ARITHMETIC)
class ReduceMax(Op):
    """Largest value along `axes`."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(x.format, reduced_shape(x, self.axes, self.keepdims))

    def evaluate(self, x: Array) -> Array:
        return np.asarray(x.max(axis=tuple(a + 1 for a in self.axes), keepdims=self.keepdims))


@operation("reduce_sum", "x", levels=ARITHMETIC)
class ReduceSum(Op):
    """Sum along `axes`."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, x: TensorType) -> TensorType:
        shape, form = reduced_shape(x, self.axes, self.keepdims), x.format
        if not isinstance(form, Float):
            terms = math.prod(x.shape[a] for a in self.axes)
            form = smallest_integer(min(0, terms * form.minimum), max(0, terms * form.maximum))
            form = Integer(form.signed, min(form.bits, 64))
        return TensorType(form, shape)

    def evaluate(self, x: Array) -> Array:
        return np.asarray(x.sum(axis=tuple(a + 1 for a in self.axes), keepdims=self.keepdims))


@operation("reduce_mean", "x", levels=MODEL)
class ReduceMean(Op):
    """Arithmetic mean along `axes`, on reals."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, x: TensorType) -> TensorType:
        if not isinstance(x.format, Float):
            raise TypeError(f"{self.name} takes reals, not {x}")
        return TensorType(x.format, reduced_shape(x, self.axes, self.keepdims))

    def evaluate(self, x: Array) -> Array:
        return np.asarray(x.mean(axis=tuple(a + 1 for a in self.axes), keepdims=self.keepdims))


@operation("argmax", "x", levels=ARITHMETIC)
class ArgMax(Op):
    """Index of the first largest value along `axis`."""

    axis: int = 1
    keepdims: bool = False

    def infer(self, x: TensorType) -> TensorType:
        if not 0 <= self.axis < len(x.shape):
            raise TypeError(f"axis {self.axis} is not an axis of {x}")
        bits = 64 if isinstance(x.format, Float) else max(1, (x.shape[self.axis] - 1).bit_length())
        form = Integer(bits == 64, bits)
        return TensorType(form, reduced(x.shape, (self.axis,), self.keepdims))

    def evaluate(self, x: Array) -> Array:
        return np.asarray(np.argmax(x, axis=self.axis + 1, keepdims=self.keepdims))
