"""Resize and Upsample: a gather (nearest) or a linear map (linear, cubic) along each axis that changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np

from irc.diagnostics import error
from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.ops.bits import WIDEST
from irc.ops.comparison import TRUTH, Where
from irc.ops.contraction import LinearMap
from irc.ops.shape import Gather
from irc.types import Array

_REACH = {"linear": 1, "cubic": 2}  # half the width of the kernel


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one axis of `size` elements becomes one of `target`."""

    size: int
    target: int
    scale: float
    region: tuple[float, float]

    @property
    def changes(self) -> bool:
        return not (self.target == self.size and math.isclose(self.scale, 1) and self.region == (0.0, 1.0))


@operator("Upsample", until=8)
def upsample_by_attribute(call: Call) -> str:
    return _upsample(call, call.attribute("scales", cast("tuple[float, ...]", ())))


@operator("Upsample", since=9)
def upsample(call: Call) -> str:
    return _upsample(call, _reals(call, 1))


def _upsample(call: Call, scales: tuple[float, ...]) -> str:
    if len(scales) != len(call.shape()) or min(scales, default=1) <= 0:
        raise error("E106", f"scales {list(scales)} do not fit {list(call.shape())}")
    axes = [Sampling(n, int(n * s), s, (0.0, 1.0)) for n, s in zip(call.shape(), scales, strict=True)]
    return _resample(call, dict(enumerate(axes)), "asymmetric", "floor")


@operator("Resize", until=10)
def resize_as_upsample(call: Call) -> str:
    return _upsample(call, _reals(call, 1))


@operator("Resize", since=11)
def resize(call: Call) -> str:
    rank = len(call.shape())
    axes = tuple(call.axis(a, rank) for a in call.attribute("axes", tuple(range(rank))))
    how = call.attribute("coordinate_transformation_mode", "half_pixel")
    region = _reals(call, 1)
    if how != "tf_crop_and_resize" or not region:
        region = (0.0,) * len(axes) + (1.0,) * len(axes)
    regions = list(zip(region[: len(axes)], region[len(axes) :], strict=True))
    sampled = {axis: Sampling(call.shape()[axis], target, scale, part)
               for axis, (target, scale), part in zip(axes, _targets(call, axes), regions, strict=True)}
    return _resample(call, sampled, how, call.attribute("nearest_mode", "round_prefer_floor"))


def _reals(call: Call, index: int) -> tuple[float, ...]:
    data = call.constant(index)
    return () if data is None else tuple(data.astype(np.float64).reshape(-1).tolist())


def _targets(call: Call, axes: tuple[int, ...]) -> list[tuple[int, float]]:
    """Size and scale of each axis, from the scales or from the sizes that the node names."""
    have = [call.shape()[axis] for axis in axes]
    scales, sizes = _reals(call, 2), call.integers(3) or ()
    policy = call.attribute("keep_aspect_ratio_policy", "stretch")
    if bool(scales) == bool(sizes) or len(scales or sizes) != len(axes) or min(*scales, *sizes, 1) <= 0:
        raise error("E106", f"scales {list(scales)} and sizes {list(sizes)} do not fit {len(axes)} axes")
    if scales:
        return [(int(n * s), s) for n, s in zip(have, scales, strict=True)]
    ratios = [size / n for size, n in zip(sizes, have, strict=True)]
    match policy:
        case "stretch":
            return list(zip(sizes, ratios, strict=True))
        case "not_larger" | "not_smaller":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            return [(int(ratio * n + 0.5), ratio) for n in have]
        case _:
            raise call.refusal(f"the policy '{policy}' is not supported")


def _resample(call: Call, axes: dict[int, Sampling], how: str, nearest: str) -> str:
    mode, value = call.attribute("mode", "nearest"), call.operand(0)
    outside = call.attribute("extrapolation_value", 0.0)
    kernel = _kernel(call, mode)
    for axis, sampling in axes.items():
        if not sampling.changes:
            continue
        if sampling.target < 1:
            raise call.refusal("the result is empty")
        call.bounded(sampling.target * (1 if kernel is None else sampling.size + 8))
        places = _coordinates(call, how, sampling)
        if kernel is None:
            picked = np.clip(_nearest(call, nearest, places), 0, sampling.size - 1)
            value = call.emit(Gather(axis), value, call.make(picked.astype(np.int64), WIDEST, "places"))
        else:
            value = call.emit(LinearMap(axis), value, call.real(kernel.matrix(places, sampling), "weights"))
        if how == "tf_crop_and_resize":
            value = _extrapolated(call, value, axis, (places >= 0) & (places <= sampling.size - 1), outside)
    return value


def _extrapolated(call: Call, value: str, axis: int, inside: Array, outside: float) -> str:
    if inside.all():
        return value
    rank = len(call.type(value).shape)
    mask = call.make(inside.astype(np.int64).reshape(-1, *(1,) * (rank - axis - 1)), TRUTH, "inside")
    return call.emit(Where(), mask, value, call.real(outside, "outside"))


def _coordinates(call: Call, how: str, axis: Sampling) -> Array:
    """Where each element of the result lies among the elements of x."""
    at, width = np.arange(axis.target, dtype=np.float64), axis.scale * axis.size
    start, end = axis.region
    match how:
        case "half_pixel":
            return (at + 0.5) / axis.scale - 0.5
        case "pytorch_half_pixel":
            return np.asarray((at + 0.5) / axis.scale - 0.5) if width != 1 else np.full(axis.target, -0.5)
        case "half_pixel_symmetric":
            return axis.size / 2 * (1 - axis.target / width) + (at + 0.5) / axis.scale - 0.5
        case "asymmetric":
            return at / axis.scale
        case "align_corners":
            return at * (axis.size - 1) / (width - 1) if width != 1 else np.zeros(axis.target)
        case "tf_crop_and_resize":
            step = at * (end - start) / (width - 1) if width != 1 else np.full(axis.target, (end - start) / 2)
            return (step + start) * (axis.size - 1)
        case _:
            raise call.refusal(f"the coordinates '{how}' are not supported")


def _nearest(call: Call, mode: str, places: Array) -> Array:
    match mode:
        case "round_prefer_floor":
            return np.ceil(places - 0.5)
        case "round_prefer_ceil":
            return np.floor(places + 0.5)
        case "floor":
            return np.floor(places)
        case "ceil":
            return np.ceil(places)
        case _:
            raise call.refusal(f"the nearest_mode '{mode}' is not supported")


@dataclass(frozen=True, slots=True)
class Kernel:
    """Linear interpolation, or cubic convolution with the coefficient `cubic` (Keys 1981)."""

    mode: str
    cubic: float
    antialias: bool
    exclude_outside: bool

    def matrix(self, places: Array, axis: Sampling) -> Array:
        """The weights [target, size] of each element for each result; elements outside are those at the edge."""
        squeeze = min(axis.scale, 1.0) if self.antialias else 1.0
        reach = math.ceil(_REACH[self.mode] / squeeze)
        taps = np.floor(places)[:, None] + np.arange(-reach, reach + 2)
        weights = self._weights((taps - places[:, None]) * squeeze)
        if self.exclude_outside:
            weights = np.where((taps < 0) | (taps >= axis.size), 0, weights)
        if self.antialias or self.exclude_outside:
            weights = weights / weights.sum(axis=1, keepdims=True)
        matrix = np.zeros((axis.target, axis.size))
        np.add.at(matrix, (np.arange(axis.target)[:, None], np.clip(taps, 0, axis.size - 1).astype(np.int64)), weights)
        return matrix

    def _weights(self, distance: Array) -> Array:
        t, a = np.abs(distance), self.cubic
        if self.mode == "linear":
            return np.asarray(np.maximum(1 - t, 0))
        near, far = ((a + 2) * t - (a + 3)) * t * t + 1, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        return np.asarray(np.where(t <= 1, near, np.where(t < 2, far, 0)))


def _kernel(call: Call, mode: str) -> Kernel | None:
    cubic = call.attribute("cubic_coeff_a", -0.75)
    antialias, exclude = bool(call.attribute("antialias", 0)), bool(call.attribute("exclude_outside", 0))
    match mode:
        case "nearest":
            return None
        case "linear" | "bilinear" | "trilinear":
            return Kernel("linear", cubic, antialias, exclude)
        case "cubic":
            return Kernel("cubic", cubic, antialias, exclude)
        case _:
            raise call.refusal(f"the mode '{mode}' is not supported")
