"""Transposed convolution, and where the largest value of a window lies."""

from __future__ import annotations

import math

import numpy as np

from irc.operation import MODEL, Op, operation
from irc.ops.bits import WIDEST
from irc.ops.elementary import require_real
from irc.ops.linear import Conv, conv_sizes, windows
from irc.types import Array, TensorType


@operation("conv_transpose", "x weight bias?", levels=MODEL)
class ConvTranspose(Op):
    """Transposed convolution of x [N, C, *spatial] with weight [C, O/group, *kernel], on reals: each element of x adds
    its multiple of the kernel. `pads` are cut from the result, begins then ends; `output_padding` adds to its ends."""

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    output_padding: tuple[int, ...]
    group: int = 1

    def infer(self, x: TensorType, weight: TensorType, bias: TensorType | None = None) -> TensorType:
        require_real(x, self.name)
        if len(x.shape) != len(weight.shape) or x.shape[1] != weight.shape[0] or x.shape[1] % self.group:
            raise TypeError(f"weight {weight} in {self.group} groups does not fit {x}")
        if not len(self.strides) == len(self.dilations) == len(self.output_padding) == len(x.shape) - 2:
            raise TypeError("strides, dilations or output padding do not match the number of spatial axes")
        channels = weight.shape[1] * self.group
        if bias is not None and bias.shape != (channels,):
            raise TypeError(f"bias must be [{channels}], not {list(bias.shape)}")
        padded = tuple((n - 1) * s + 1 for n, s in zip(x.shape[2:], self.strides, strict=True))
        ones = (1,) * len(padded)
        out = conv_sizes(padded, weight.shape[2:], ones, self._borders(weight.shape[2:]), self.dilations)
        return TensorType(x.format, (x.shape[0], channels, *out))

    def _borders(self, kernel: tuple[int, ...]) -> tuple[int, ...]:
        """Pads of the convolution that this is; negative ones cut."""
        half = len(kernel)
        reach = [d * (k - 1) for d, k in zip(self.dilations, kernel, strict=True)]
        begins = [n - p for n, p in zip(reach, self.pads[:half], strict=True)]
        ends = [n - p + o for n, p, o in zip(reach, self.pads[half:], self.output_padding, strict=True)]
        return (*begins, *ends)

    def evaluate(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        """Zeros between the elements, then a convolution with the kernel turned around."""
        spatial, borders = x.ndim - 3, self._borders(weight.shape[3:])
        sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[3:], self.strides, strict=True)]
        spread: Array = np.zeros((*x.shape[:3], *sizes))
        whole = (slice(None),) * 3
        spread[whole + tuple(slice(None, None, s) for s in self.strides)] = x
        cut = tuple(slice(max(-a, 0), n - max(-b, 0))
                    for n, a, b in zip(sizes, borders[:spatial], borders[spatial:], strict=True))
        count, channels, outputs = weight.shape[0], weight.shape[1], weight.shape[2]
        grouped = weight.reshape(count, self.group, channels // self.group, outputs, *weight.shape[3:])
        kernel = grouped.swapaxes(2, 3).reshape(count, -1, channels // self.group, *weight.shape[3:])
        kernel = np.flip(kernel, tuple(range(3, kernel.ndim)))
        op = Conv((1,) * spatial, tuple(max(p, 0) for p in borders), self.dilations, self.group)
        return op.evaluate(spread[whole + cut], kernel, bias)


@operation("max_pool_places", "x", levels=MODEL)
class MaxPoolPlaces(Op):
    """For each window of `max_pool`, the index of its largest value in the whole tensor as one row; with
    `column_major`, the spatial axes count the other way round."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    column_major: bool = False

    def infer(self, x: TensorType) -> TensorType:
        if len(x.shape) != len(self.kernel) + 2:
            raise TypeError(f"a window of {len(self.kernel)} axes does not fit {x}")
        out = conv_sizes(x.shape[2:], self.kernel, self.strides, self.pads, self.dilations)
        return TensorType(WIDEST, (*x.shape[:2], *out))

    def evaluate(self, x: Array) -> Array:
        flat, shape = x.reshape(-1, *x.shape[2:]), x.shape[1:]
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(np.int64).min
        best = self._taps(flat, lowest).argmax(axis=-1)[..., None]
        planes = np.arange(shape[0] * shape[1]).reshape(shape[0], shape[1], *(1,) * len(self.kernel))
        row: Array = np.arange(math.prod(shape[2:]))
        inside: Array = row.reshape(shape[:1:-1]).T if self.column_major else row.reshape(shape[2:])
        places = np.broadcast_to(self._taps(inside[None, None], 0), (*best.shape[:-1], math.prod(self.kernel)))
        found = np.take_along_axis(places, best, -1)[..., 0]
        return np.asarray(found.reshape(len(x), *shape[:2], *found.shape[2:]) + planes * inside.size)

    def _taps(self, x: Array, fill: float) -> Array:
        """The windows, each as one row."""
        view = windows(x, self.kernel, self.strides, self.pads, self.dilations, fill)
        return view.reshape(*view.shape[: -len(self.kernel)], -1)
