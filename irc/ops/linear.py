"""Matrix product and convolution, on reals and on exact integers."""

from __future__ import annotations

import math

import numpy as np

from irc.operation import ARITHMETIC, Op, operation, same_format
from irc.types import Array, Float, Format, Integer, PowerOfTwo, Shape, TensorType, smallest_integer

_EXACT = 1 << 53  # every integer up to here is a float64


def exact_product(a: Array, b: Array, terms: int) -> Array:
    """`a @ b` without rounding. Integer operands go through float64 BLAS when the largest possible sum of `terms`
    products stays below 2^53, where float64 is exact; otherwise through int64."""
    if a.dtype.kind == "f" or b.dtype.kind == "f":
        return np.asarray(a @ b)
    largest = terms * int(np.abs(a).max(initial=0)) * int(np.abs(b).max(initial=0))
    if largest < _EXACT:
        return np.asarray(np.rint(a.astype(np.float64) @ b.astype(np.float64)), np.int64)
    if largest >= 1 << 63:
        raise OverflowError("a sum of products does not fit 64 bits")
    return np.asarray(a @ b)


def product_format(a: Format, b: Format, terms: int) -> Format:
    """Format of a sum of `terms` products: float, or the integer that holds every possible sum."""
    if isinstance(a, Float) or isinstance(b, Float):
        return max(a, b, key=lambda f: f.bits)
    corners = [terms * p * q for p in (a.minimum, a.maximum) for q in (b.minimum, b.maximum)]
    form = smallest_integer(min(0, *corners), max(0, *corners))
    return Integer(form.signed, min(form.bits, 64))


@operation("matmul", "a b", levels=ARITHMETIC)
class MatMul(Op):
    """Matrix product as `numpy.matmul`: 1-D operands are promoted, leading axes broadcast."""

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        same_format(a, b)
        if not a.shape or not b.shape:
            raise TypeError("matmul takes no scalars")
        left: tuple[int, ...] = a.shape if len(a.shape) > 1 else (1, *a.shape)
        right: tuple[int, ...] = b.shape if len(b.shape) > 1 else (*b.shape, 1)
        if left[-1] != right[-2]:
            raise TypeError(f"inner sizes differ: {list(a.shape)} times {list(b.shape)}")
        try:
            lead = np.broadcast_shapes(left[:-2], right[:-2])
        except ValueError:
            raise TypeError(f"shapes {list(a.shape)} and {list(b.shape)} do not broadcast") from None
        shape = (*lead, *(left[-2:-1] if len(a.shape) > 1 else ()), *(right[-1:] if len(b.shape) > 1 else ()))
        return TensorType(product_format(a.format, b.format, left[-1]), shape)

    def evaluate(self, a: Array, b: Array) -> Array:
        left: Array = a[:, None] if a.ndim == 2 else a
        right: Array = b[..., None] if b.ndim == 2 else b
        rank, inner = max(left.ndim, right.ndim), a.shape[-1]
        left = left.reshape(len(a), *(1,) * (rank - left.ndim), *left.shape[1:])
        right = right.reshape(len(b), *(1,) * (rank - right.ndim), *right.shape[1:])
        if len(b) == 1 and rank == 3 and left.shape[1] == 1:  # the usual dense layer: one BLAS call
            out = exact_product(left.reshape(-1, inner), right[0], inner).reshape(len(a), 1, -1)
        else:
            out = exact_product(left, right, inner)
        out = out[..., 0, :] if a.ndim == 2 else out
        return out[..., 0] if b.ndim == 2 else out


@operation("conv", "x weight bias?", levels=ARITHMETIC)
class Conv(Op):
    """Convolution of x [1, C, *spatial] with weight [O, C/group, *kernel] (cross-correlation, as ONNX), 1-D to 3-D.

    `pads` are begin pads of all spatial axes, then end pads; `pad_value` fills them (the zero point, at integer level).
    """

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    group: int = 1
    pad_value: int = 0

    def infer(self, x: TensorType, weight: TensorType, bias: TensorType | None = None) -> TensorType:
        same_format(x, weight, *([bias] if bias else []))
        spatial = len(x.shape) - 2
        if spatial < 1 or len(weight.shape) != spatial + 2:
            raise TypeError(f"conv takes x [N, C, ...] and a weight of as many axes, not {x} and {weight}")
        if not len(self.strides) == len(self.dilations) == len(self.pads) // 2 == spatial:
            raise TypeError("strides, dilations or pads do not match the number of spatial axes")
        if weight.shape[1] * self.group != x.shape[1] or weight.shape[0] % self.group:
            raise TypeError(f"{x.shape[1]} input channels do not fit weight {list(weight.shape)}, group {self.group}")
        if bias is not None and bias.shape != weight.shape[:1]:
            raise TypeError(f"bias must be [{weight.shape[0]}], not {list(bias.shape)}")
        out = conv_sizes(x.shape[2:], weight.shape[2:], self.strides, self.pads, self.dilations)
        form = product_format(x.format, weight.format, math.prod(weight.shape[1:]))
        if bias is not None and isinstance(form, Integer) and isinstance(bias.format, Integer | PowerOfTwo):
            form = smallest_integer(form.minimum + bias.format.minimum, form.maximum + bias.format.maximum)
        return TensorType(form, (x.shape[0], weight.shape[0], *out))

    def evaluate(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        if weight.shape[0] != 1 or (bias is not None and bias.shape[0] != 1):
            count = max(len(x), len(weight))
            parts = [self.evaluate(x[i % len(x)][None], weight[i % len(weight)][None],
                                   None if bias is None else bias[i % len(bias)][None]) for i in range(count)]
            return np.concatenate(parts)
        kernel, (count, batch) = weight[0], x.shape[:2]
        rows = self.patches(x, kernel.shape[2:])
        columns = kernel.reshape(self.group, kernel.shape[0] // self.group, -1).transpose(0, 2, 1)
        sums = exact_product(rows, columns, rows.shape[-1])  # [G, M*out, O/G]
        out = conv_sizes(x.shape[3:], kernel.shape[2:], self.strides, self.pads, self.dilations)
        sums = sums.reshape(self.group, count * batch, math.prod(out), -1).transpose(1, 0, 3, 2)
        result = sums.reshape(count, batch, kernel.shape[0], *out)
        return result if bias is None else result + bias.reshape(1, 1, -1, *(1,) * len(out))

    def patches(self, x: Array, kernel: Shape) -> Array:
        """What the weight rows of each group are multiplied with: [group, samples * batch * out, C/group * kernel]."""
        view = windows(x.reshape(-1, *x.shape[2:]), kernel, self.strides, self.pads, self.dilations, self.pad_value)
        spatial = len(kernel)
        groups = view.reshape(len(view), self.group, -1, *view.shape[2:])  # [M, G, C/G, *out, *kernel]
        order = (1, 0, *range(3, 3 + spatial), 2, *range(3 + spatial, 3 + 2 * spatial))
        places = len(view) * math.prod(view.shape[2 : 2 + spatial])
        return groups.transpose(order).reshape(self.group, places, -1)


def conv_sizes(sizes: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...],
               dilations: tuple[int, ...]) -> tuple[int, ...]:
    """Output sizes of a sliding window (floor rule). Raises TypeError when the window does not fit."""
    half = len(pads) // 2
    out = tuple((n + pads[i] + pads[half + i] - d * (k - 1) - 1) // s + 1
                for i, (n, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)))
    if any(n < 1 for n in out):
        raise TypeError(f"window {list(kernel)} is larger than the padded input {list(sizes)}")
    return out


def windows(x: Array, kernel: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...],
            dilations: tuple[int, ...], fill: float) -> Array:
    """Sliding windows of x [M, C, *sizes]: a view [M, C, *out, *kernel] (copied only to pad)."""
    half, spatial = len(pads) // 2, tuple(range(2, x.ndim))
    if any(pads):
        width = [(0, 0), (0, 0), *((pads[i], pads[half + i]) for i in range(half))]
        x = np.pad(x, width, constant_values=fill)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=spatial)
    steps = tuple(slice(None, None, s) for s in strides)
    taps = tuple(slice(None, None, d) for d in dilations)
    return np.asarray(view[(slice(None), slice(None), *steps, *taps)])
