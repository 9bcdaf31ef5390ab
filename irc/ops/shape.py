"""Ops that move elements and compute nothing."""

from __future__ import annotations

import math

import numpy as np

from irc.diagnostics import error
from irc.operation import ARITHMETIC, Op, operation, same_format
from irc.types import Array, Float, TensorType


@operation("reshape", "x", levels=ARITHMETIC)
class Reshape(Op):
    """The same elements, in the same row-major order, in another shape (static, no -1)."""

    shape: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if math.prod(self.shape) != x.size:
            raise TypeError(f"{x} cannot be reshaped to {list(self.shape)}")
        return TensorType(x.format, self.shape)

    def evaluate(self, x: Array) -> Array:
        return x.reshape(len(x), *self.shape)


@operation("transpose", "x", levels=ARITHMETIC)
class Transpose(Op):
    """Axes permuted: axis i of the result is axis `perm[i]` of x."""

    perm: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if sorted(self.perm) != list(range(len(x.shape))):
            raise TypeError(f"perm {list(self.perm)} does not permute the axes of {x}")
        return TensorType(x.format, tuple(x.shape[p] for p in self.perm))

    def evaluate(self, x: Array) -> Array:
        return x.transpose(0, *(p + 1 for p in self.perm))


@operation("concat", "inputs*", levels=ARITHMETIC)
class Concat(Op):
    """Operands joined along `axis`."""

    axis: int

    def infer(self, *inputs: TensorType) -> TensorType:
        if not inputs:
            raise TypeError("concat takes at least one operand")
        same_format(*inputs)
        first = inputs[0].shape
        if not 0 <= self.axis < len(first):
            raise TypeError(f"axis {self.axis} is not an axis of {inputs[0]}")
        rest = [t.shape[: self.axis] + t.shape[self.axis + 1 :] for t in inputs]
        if any(r != rest[0] for r in rest):
            raise TypeError("shapes differ beside the joined axis: " + ", ".join(str(t) for t in inputs))
        form = inputs[0].format
        if any(t.format != form for t in inputs):
            if not isinstance(form, Float):
                raise TypeError("formats differ: " + ", ".join(str(t.format) for t in inputs))
            form = max((t.format for t in inputs), key=lambda f: f.bits)
        total = sum(t.shape[self.axis] for t in inputs)
        return TensorType(form, (*first[: self.axis], total, *first[self.axis + 1 :]))

    def evaluate(self, *inputs: Array) -> Array:
        count = max(len(a) for a in inputs)
        spread = [np.broadcast_to(a, (count, *a.shape[1:])) for a in inputs]
        return np.concatenate(spread, axis=self.axis + 1)


@operation("gather", "data indices", levels=ARITHMETIC)
class Gather(Op):
    """Slices of `data` along `axis`, picked by `indices` (negative counts from the end): an embedding look-up."""

    axis: int = 0

    def infer(self, data: TensorType, indices: TensorType) -> TensorType:
        if isinstance(indices.format, Float):
            raise TypeError(f"indices must be integers, not {indices}")
        if not 0 <= self.axis < len(data.shape):
            raise TypeError(f"axis {self.axis} is not an axis of {data}")
        return TensorType(data.format, data.shape[: self.axis] + indices.shape + data.shape[self.axis + 1 :])

    def evaluate(self, data: Array, indices: Array) -> Array:
        size = data.shape[self.axis + 1]
        if indices.size and not -size <= indices.min() <= indices.max() < size:
            raise error("E401", f"an index in [{indices.min()}, {indices.max()}] is outside a table of {size} rows",
                        operator="gather")
        if len(data) == 1:
            out = np.take(data[0], indices, axis=self.axis)  # [*data[:axis], samples, *indices, *data[axis+1:]]
            return np.moveaxis(out, self.axis, 0)
        indices = np.broadcast_to(indices, (len(data), *indices.shape[1:]))
        return np.stack([np.take(d, i, axis=self.axis) for d, i in zip(data, indices, strict=True)])


@operation("slice", "x", levels=ARITHMETIC)
class Slice(Op):
    """Every `steps`-th index of each axis, from `starts`, `sizes` of them; negative steps go backwards."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        rank = len(x.shape)
        if not len(self.starts) == len(self.sizes) == len(self.steps) == rank:
            raise TypeError(f"starts, sizes and steps must have one entry for each axis of {x}")
        for start, size, step, n in zip(self.starts, self.sizes, self.steps, x.shape, strict=True):
            if size and not (0 <= start < n and 0 <= start + (size - 1) * step < n):
                raise TypeError(f"the slice reaches outside {x}")
        return TensorType(x.format, self.sizes)

    def evaluate(self, x: Array) -> Array:
        for axis, (start, size, step) in enumerate(zip(self.starts, self.sizes, self.steps, strict=True)):
            stop = start + size * step
            picked = slice(start, stop if stop >= 0 else None, step) if size else slice(0)
            x = x[(slice(None),) * (axis + 1) + (picked,)]
        return x


@operation("pad", "x", levels=ARITHMETIC)
class Pad(Op):
    """`value` around x: `pads` are begin pads of all axes, then end pads."""

    pads: tuple[int, ...]
    value: float = 0.0

    def infer(self, x: TensorType) -> TensorType:
        rank = len(x.shape)
        if len(self.pads) != 2 * rank or min(self.pads, default=0) < 0:
            raise TypeError(f"pads {list(self.pads)} do not fit {x}")
        grown = (n + self.pads[i] + self.pads[rank + i] for i, n in enumerate(x.shape))
        return TensorType(x.format, tuple(grown))

    def evaluate(self, x: Array) -> Array:
        rank = x.ndim - 1
        width = [(0, 0), *((self.pads[i], self.pads[rank + i]) for i in range(rank))]
        return np.pad(x, width, constant_values=x.dtype.type(self.value))
