"""Reading between the elements: interpolation at computed places, pooling of regions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

import numpy as np

from irc.operation import MODEL, Op, operation
from irc.ops.elementary import require_real
from irc.ops.index import checked, require_indices, together
from irc.types import Array, TensorType

Interpolation: TypeAlias = Literal["nearest", "linear", "cubic"]
Outside: TypeAlias = Literal["zeros", "border", "reflection"]
_MOST_SAMPLES = 1 << 12  # of a cell along an axis
_KEYS = -0.75  # coefficient of the cubic convolution (Keys 1981)


def _cubic(distance: Array) -> Array:
    t, a = np.abs(distance), _KEYS
    near, far = ((a + 2) * t - (a + 3)) * t * t + 1, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.asarray(np.where(t <= 1, near, np.where(t < 2, far, 0)))


def _taps(places: Array, mode: Interpolation) -> tuple[Array, Array]:
    """The elements around each place, as whole numbers, and their weights: both with a last axis more."""
    match mode:
        case "nearest":
            return np.rint(places)[..., None], np.ones((*places.shape, 1))
        case "linear":
            taps = np.floor(places)[..., None] + np.arange(2)
            return taps, 1 - np.abs(taps - places[..., None])
        case "cubic":
            taps = np.floor(places)[..., None] + np.arange(-1, 3)
            return taps, _cubic(taps - places[..., None])


def _reflected(places: Array, low: float, high: float) -> Array:
    """Turned around at both borders as often as needed."""
    span = max(high - low, np.finfo(np.float64).tiny)
    along = np.mod(places - low, 2 * span)
    return np.asarray(low + np.minimum(along, 2 * span - along))


@operation("grid_sample", "x grid", levels=MODEL)
class GridSample(Op):
    """x [batch, channels, *sizes] read at the places of `grid` [batch, *result, axes], last axis of x first.

    -1 and 1 are the middles of the first and the last element with `align_corners`, else their outer edges. Between
    the elements `mode` interpolates; `outside` says what lies beyond them.
    """

    mode: Interpolation = "linear"
    outside: Outside = "zeros"
    align_corners: bool = False

    def infer(self, x: TensorType, grid: TensorType) -> TensorType:
        for operand in (x, grid):
            require_real(operand, self.name)
        sizes = x.shape[2:]
        if len(grid.shape) != len(x.shape) or grid.shape[0] != x.shape[0] or grid.shape[-1] != len(sizes) or not sizes:
            raise TypeError(f"the grid {grid} does not fit {x}")
        return TensorType(x.format, (*x.shape[:2], *grid.shape[1:-1]))

    def evaluate(self, x: Array, grid: Array) -> Array:
        x, grid = together(x, grid)
        batch, channels, *sizes = x.shape[1:]
        places = grid[..., ::-1].reshape(len(x) * batch, -1, len(sizes))
        axes = [self._axis(places[..., i], size) for i, size in enumerate(sizes)]
        flat = x.reshape(len(x) * batch, channels, -1)
        out = np.zeros((*flat.shape[:2], places.shape[1]))
        for corner in product(range(axes[0][0].shape[-1]), repeat=len(sizes)):
            out += self._read(flat, sizes, axes, corner)
        return out.reshape(len(x), batch, channels, *grid.shape[2:-1])

    def _axis(self, places: Array, size: int) -> tuple[Array, Array]:
        """Indices and weights of the elements that are read along one axis."""
        low, high = (0.0, size - 1.0) if self.align_corners else (-0.5, size - 0.5)
        at = np.nan_to_num(low + (places + 1) / 2 * (high - low), nan=-2.0)
        at = self._inside(np.rint(at) if self.mode == "nearest" else at, size, low, high)
        taps, weights = _taps(at, self.mode)
        if self.outside == "zeros":
            weights = np.where((taps >= 0) & (taps < size), weights, 0)
        taps = _reflected(taps, low, high) if self.outside == "reflection" else taps
        return np.clip(taps, 0, size - 1).astype(np.int64), weights

    def _inside(self, at: Array, size: int, low: float, high: float) -> Array:
        """Places beyond the borders, brought back."""
        beyond = (at < low) | (at > high)
        match self.outside:
            case "zeros":
                return np.clip(at, -2.0, size + 1.0)
            case "border":  # cubic interpolation, as PyTorch has it, falls off behind the border
                return np.clip(at, -2.0, size + 1.0) if self.mode == "cubic" else np.where(
                    beyond, np.clip(at, 0, size - 1), at)
            case "reflection":
                return np.where(beyond, _reflected(at, low, high), at)

    def _read(self, flat: Array, sizes: list[int], axes: list[tuple[Array, Array]], corner: tuple[int, ...]) -> Array:
        """One of the elements around each place, weighted."""
        picked = [taps[..., tap] for (taps, _), tap in zip(axes, corner, strict=True)]
        weight = np.prod([weights[..., tap] for (_, weights), tap in zip(axes, corner, strict=True)], axis=0)
        index = np.ravel_multi_index(picked, sizes)
        return np.asarray(np.take_along_axis(flat, index[:, None, :], axis=2) * weight[:, None, :])


@operation("roi_align", "x rois batch", levels=MODEL)
class RoiAlign(Op):
    """Regions of x [batch, channels, height, width], each pooled to `size` (He et al. 2017, Mask R-CNN).

    `rois` [regions, 4] has left, top, right and bottom of each, which `scale` brings to the elements of x; `batch`
    says where it lies. Every cell is the mean of `samples` by `samples` interpolated places, or the largest of their
    weighted elements; 0 samples are as many as the cell has elements. Without `half_pixel` no region is smaller than
    one element.
    """

    size: tuple[int, int]
    samples: int = 0
    scale: float = 1.0
    largest: bool = False
    half_pixel: bool = True

    def infer(self, x: TensorType, rois: TensorType, batch: TensorType) -> TensorType:
        for operand in (x, rois):
            require_real(operand, self.name)
        require_indices(batch)
        if len(x.shape) != 4 or rois.shape[1:] != (4,) or batch.shape != rois.shape[:1] or min(self.size) < 1:
            raise TypeError(f"regions {rois} of {batch} do not fit {x}")
        return TensorType(x.format, (rois.shape[0], x.shape[1], *self.size))

    def evaluate(self, x: Array, rois: Array, batch: Array) -> Array:
        x, rois, batch = together(x, rois, checked(batch, x.shape[1], self.name))
        images = x[np.arange(len(x))[:, None], batch]  # [samples, regions, channels, height, width]
        spans = rois * self.scale - 0.5 * self.half_pixel
        rows, columns = (self._axis(spans[..., i], spans[..., i + 2], cells, images.shape[4 - i])
                         for i, cells in ((1, self.size[0]), (0, self.size[1])))
        if self.largest:
            return _largest(images, rows, columns)
        return np.asarray(np.einsum("sryh,srchw,srxw->srcyx", rows.mean(), images, columns.mean(), optimize=True))

    def _axis(self, start: Array, end: Array, cells: int, size: int) -> Cells:
        """Where the samples of each cell lie along one axis."""
        step = (end - start if self.half_pixel else np.maximum(end - start, 1.0)) / cells
        counts = np.full(start.shape, self.samples) if self.samples else np.ceil(step).astype(np.int64)
        if counts.max(initial=1) > _MOST_SAMPLES:
            raise OverflowError(f"a region has cells of {counts.max()} elements")
        sample = np.arange(counts.max(initial=1))
        inner = (sample + 0.5) / np.maximum(counts, 1)[..., None]  # in cells, from the start of the cell
        at = start[..., None, None] + (np.arange(cells)[:, None] + inner[..., None, :]) * step[..., None, None]
        return Cells(np.clip(at, 0, size - 1), (at >= -1) & (at <= size), sample < counts[..., None], size)


@dataclass(frozen=True, slots=True)
class Cells:
    """Samples of the cells of regions along one axis of `size` elements: places `at` [..., cells, samples], whether
    they are `near` enough to the image to count, and which of them are `used` [..., samples]."""

    at: Array
    near: Array
    used: Array
    size: int

    def mean(self) -> Array:
        """Weights [..., cells, size] of the elements in the mean of each cell."""
        weights = np.maximum(1 - np.abs(self.at[..., None] - np.arange(self.size)), 0)
        counted = (self.near & self.used[..., None, :])[..., None]
        return np.asarray((weights * counted).sum(axis=-2) / np.maximum(self.used.sum(axis=-1), 1)[..., None, None])

    def taps(self) -> tuple[Array, Array]:
        """Indices and weights [..., cells, samples, 2] of the elements around each place; without a sample NaN."""
        taps, weights = _taps(self.at, "linear")
        weights = np.where(self.near[..., None], weights, 0)
        used = self.used[..., None, :, None]
        return np.minimum(taps, self.size - 1).astype(np.int64), np.where(used, weights, np.nan)


def _largest(images: Array, rows: Cells, columns: Cells) -> Array:
    """The largest weighted element of each cell, 0 where there is none."""
    (high, tall), (across, wide) = rows.taps(), columns.taps()
    regions, (cells_y, cells_x) = images.shape[:2], (high.shape[2], across.shape[2])
    flat = [a.reshape(*regions, -1) for a in (high, tall, across, wide)]
    sample, region = np.ogrid[: regions[0], : regions[1]]
    picked = images.swapaxes(2, 4)[sample[..., None, None], region[..., None, None],
                                   flat[2][:, :, None, :], flat[0][:, :, :, None]]  # [..., y, x, channels]
    weighted = picked * (flat[1][:, :, :, None] * flat[3][:, :, None, :])[..., None]
    split = weighted.reshape(*regions, cells_y, -1, cells_x, flat[3].shape[2] // cells_x, images.shape[2])
    best = np.fmax.reduce(split, axis=(3, 5))
    return np.asarray(np.nan_to_num(np.moveaxis(best, -1, 2)))
