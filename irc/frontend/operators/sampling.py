"""Reading between the elements: GridSample, RoiAlign, DeformConv; and Col2Im, which adds overlapping windows up."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.window import Window, per_axis, window
from irc.ops.bits import WIDEST
from irc.ops.contraction import Einsum
from irc.ops.elementwise import Add, Mul
from irc.ops.index import ScatterElements
from irc.ops.sampling import GridSample, Interpolation, Outside, RoiAlign
from irc.ops.shape import Gather, Reshape, Slice, Transpose
from irc.types import Array

_MODES: Mapping[str, Interpolation] = {"nearest": "nearest", "linear": "linear", "bilinear": "linear",
                                       "cubic": "cubic", "bicubic": "cubic"}
_OUTSIDE: Mapping[str, Outside] = {"zeros": "zeros", "border": "border", "reflection": "reflection"}


@operator("GridSample", since=16)
def grid_sample(call: Call) -> str:
    mode, outside = call.attribute("mode", "linear"), call.attribute("padding_mode", "zeros")
    if mode not in _MODES or outside not in _OUTSIDE or len(call.shape()) > 5:
        raise call.refusal(f"the mode '{mode}' with padding_mode '{outside}' over {len(call.shape()) - 2} axes is not "
                           f"supported")
    op = GridSample(_MODES[mode], _OUTSIDE[outside], bool(call.attribute("align_corners", 0)))
    return call.emit(op, call.operand(0), call.operand(1))


@operator("RoiAlign", since=10, until=15)
def roi_align_by_edge(call: Call) -> str:
    return _roi_align(call, "output_half_pixel")


@operator("RoiAlign", since=16)
def roi_align(call: Call) -> str:
    return _roi_align(call, call.attribute("coordinate_transformation_mode", "half_pixel"))


def _roi_align(call: Call, coordinates: str) -> str:
    mode, samples = call.attribute("mode", "avg"), call.attribute("sampling_ratio", 0)
    if mode not in ("avg", "max") or coordinates not in ("half_pixel", "output_half_pixel") or samples < 0:
        raise call.refusal(f"the mode '{mode}' in coordinates '{coordinates}' is not supported")
    size = (call.attribute("output_height", 1), call.attribute("output_width", 1))
    call.bounded(samples * max(size) * call.shape(1)[0] * max(call.shape()[2:]))
    op = RoiAlign(size, samples, call.attribute("spatial_scale", 1.0), mode == "max", coordinates == "half_pixel")
    return call.emit(op, call.operand(0), call.operand(1), call.operand(2))


@operator("DeformConv", since=19)
def deform_conv(call: Call) -> str:
    """A convolution whose taps are read at computed places: a sampled image of all windows, then one product."""
    weight, batch, channels = call.shape(1), *call.shape()[:2]
    view = window(call, call.attribute("kernel_shape", weight[2:]))
    groups, parts, taps = call.attribute("group", 1), call.attribute("offset_group", 1), math.prod(view.kernel)
    if len(view.kernel) != 2 or channels % parts or weight[0] % groups:
        raise call.refusal(f"{groups} groups and {parts} groups of offsets do not fit {list(weight)}")
    result = call.shape(2)[2:]
    if result != (windows := _windows(view, call.shape()[2:])):
        raise call.refusal(f"offsets {list(call.shape(2))} do not fit {list(windows)} windows")
    call.bounded(taps * math.prod(result) * 2)
    images = call.emit(Reshape((batch * parts, channels // parts, *call.shape()[2:])), call.operand(0), part="images")
    seen = call.emit(GridSample(), images, _places(call, view.kernel, (batch * parts, taps, *result)), part="seen")
    if call.has(4):
        mask = call.emit(Reshape((batch * parts, 1, taps, math.prod(result))), call.operand(4), part="mask")
        seen = call.emit(Mul(), seen, mask, part="masked")
    grouped = call.emit(Reshape((batch, groups, channels // groups, taps, *result)), seen, part="windows")
    rows = call.emit(Reshape((groups, weight[0] // groups, weight[1], taps)), call.operand(1), part="rows")
    sums = call.emit(Einsum("bgckyx,gock->bgoyx"), grouped, rows, part="sums")
    out = call.emit(Reshape((batch, weight[0], *result)), sums, part="" if not call.has(3) else "product")
    if not call.has(3):
        return out
    return call.emit(Add(), out, call.emit(Reshape((weight[0], 1, 1)), call.operand(3), part="bias"))


def _windows(view: Window, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """How many windows there are along each axis."""
    ends = zip(sizes, view.pads, view.pads[len(sizes) :], view.kernel, view.dilations, view.strides, strict=False)
    return tuple((n + begin + end - d * (k - 1) - 1) // s + 1 for n, begin, end, k, d, s in ends)


def _places(call: Call, kernel: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """The grid [batch, taps, positions, 2] that GridSample reads: each tap's own place, and its offset."""
    batch, taps, *result = shape
    view, sizes = window(call, kernel), call.shape()[2:]
    starts = [np.arange(n) * s - p for n, s, p in zip(result, view.strides, view.pads, strict=False)]
    reach = [np.arange(k) * d for k, d in zip(view.kernel, view.dilations, strict=True)]
    rows, columns = (np.add.outer(r, s) for r, s in zip(reach, starts, strict=True))  # [kernel, result] of each axis
    own = np.stack(np.broadcast_arrays(rows[:, None, :, None], columns[None, :, None, :]))
    own = own.reshape(1, 2, taps, math.prod(result))
    given = call.emit(Reshape((batch, taps, 2, math.prod(result))), call.operand(2), part="offsets")
    moved = call.emit(Transpose((0, 2, 1, 3)), given, part="offsets")
    at = call.emit(Add(), moved, call.real(own, "places"), part="places")
    size = np.array(sizes, np.float64).reshape(2, 1, 1)  # outer edges at -1 and 1
    scaled = call.emit(Add(), call.emit(Mul(), at, call.real(2 / size, "scale"), part="scaled"),
                       call.real(1 / size - 1, "shift"), part="grid")
    return call.emit(Gather(3), call.emit(Transpose((0, 2, 3, 1)), scaled, part="grid"),
                     call.make(np.array([1, 0]), WIDEST, "last_axis_first"), part="grid")


@operator("Col2Im", since=18)
def col2im(call: Call) -> str:
    """Each element of the windows added to where it came from, then the padding cut off."""
    image, block = call.integers(1) or (), call.integers(2) or ()
    rank, (batch, rows, count) = len(image), call.shape()
    strides, dilations = per_axis(call, "strides", rank), per_axis(call, "dilations", rank)
    pads = np.array(call.attribute("pads", (0,) * (2 * rank))).reshape(2, rank)
    padded = tuple((np.array(image) + pads.sum(axis=0)).tolist())
    call.bounded(math.prod(padded) * batch * rows / max(math.prod(block), 1))
    channels = rows // math.prod(block)
    windows = math.prod(-((n - d * (k - 1)) // -s)
                        for n, k, s, d in zip(padded, block, strides, dilations, strict=True))
    if windows != count or channels * math.prod(block) != rows or min(*pads.flat, *image, *block, *padded) < 0:
        raise call.refusal(f"{rows} rows of {count} windows do not fit an image {list(image)} and blocks {list(block)}")
    places = _window_places(padded, block, strides, dilations)
    spread = call.make(np.broadcast_to(places.reshape(-1), (batch, channels, places.size)), WIDEST, "places")
    flat = call.emit(Reshape((batch, channels, places.size)), call.operand(0), part="flat")
    empty = call.real(np.zeros((batch, channels, math.prod(padded))), "zero")
    whole = call.emit(Reshape((batch, channels, *padded)),
                      call.emit(ScatterElements(2, "add"), empty, spread, flat, part="sums"), part="padded")
    return call.emit(Slice((0, 0, *pads[0].tolist()), (batch, channels, *image), (1,) * (rank + 2)), whole)


def _window_places(sizes: tuple[int, ...], block: tuple[int, ...], strides: tuple[int, ...],
                   dilations: tuple[int, ...]) -> Array:
    """Flat indices [elements of a block, windows] in an image of `sizes`."""
    inner = [np.arange(k) * d for k, d in zip(block, dilations, strict=True)]
    starts = [np.arange(0, n - d * (k - 1), s) for n, k, s, d in zip(sizes, block, strides, dilations, strict=True)]
    mesh = np.meshgrid(*inner, indexing="ij"), np.meshgrid(*starts, indexing="ij")
    return np.asarray(np.ravel_multi_index([np.add.outer(i.ravel(), s.ravel()) for i, s in zip(*mesh, strict=True)],
                                           sizes))
