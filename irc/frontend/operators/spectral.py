"""Fourier transforms as products with a constant matrix, and the filter bank behind them."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.frontend.tensors import element_format
from irc.ops.bits import WIDEST
from irc.ops.contraction import Einsum
from irc.ops.elementwise import Mul
from irc.ops.shape import Gather, Reshape
from irc.types import Array, Float

_AXES = "abcdefgh"


@operator("DFT", since=17, until=19)
def dft_by_attribute(call: Call) -> str:
    return _dft(call, call.attribute("axis", 1))


@operator("DFT", since=20)
def dft(call: Call) -> str:
    return _dft(call, (call.integers(2) or (-2,))[0])


def _dft(call: Call, named: int) -> str:
    shape, axis = call.shape(), call.axis(named, len(call.shape()))
    inverse, onesided = bool(call.attribute("inverse", 0)), bool(call.attribute("onesided", 0))
    have = shape[axis]
    length = (call.integers(1) or (2 * (have - 1) if inverse and onesided else have,))[0]
    if axis == len(shape) - 1 or shape[-1] not in (1, 2) or len(shape) > len(_AXES) or length < 1:
        raise call.refusal(f"a transform of length {length} along axis {axis} does not fit {list(shape)}")
    return _transformed(call, call.operand(0), axis, length, inverse, onesided)


def _transformed(call: Call, value: str, axis: int, length: int, inverse: bool, onesided: bool) -> str:
    """The sums over `axis` and over the parts, real and imaginary, of the last axis."""
    shape = call.type(value).shape
    call.bounded(4 * shape[axis] * max(length, shape[axis]))
    matrix = call.real(_matrix(shape[axis], shape[-1], length, inverse, onesided), "transform")
    axes = _AXES[: len(shape) - 1]
    result = axes.replace(axes[axis], "y") + "z"
    return call.emit(Einsum(f"{axes}x,{axes[axis]}xyz->{result}"), value, matrix)


def _matrix(size: int, parts: int, length: int, inverse: bool, onesided: bool) -> Array:
    """What each part of each element adds to each part of each result: [size, parts, results, 1 or 2]."""
    units = np.eye(size)[:, None, :] * np.array([1, 1j])[:parts, None]
    if inverse and onesided:
        return np.fft.irfft(units, length)[..., None]
    found = np.fft.ifft(units, length) if inverse else np.fft.fft(units, length)
    kept = found[..., : length // 2 + 1] if onesided else found
    return np.stack([kept.real, kept.imag], axis=-1)


@operator("STFT", since=17)
def short_time_dft(call: Call) -> str:
    """Frames of the signal, one every `step` elements, each weighted by the window and transformed."""
    shape, (step,) = call.shape(), call.integers(1) or (0,)
    length = (call.integers(3) or call.shape(2))[0]
    if len(shape) != 3 or not 0 < length <= shape[1] or step < 1 or (call.has(2) and call.shape(2) != (length,)):
        raise call.refusal(f"frames of {length}, one every {step}, do not fit {list(shape)} and the window")
    starts = np.arange(0, shape[1] - length + 1, step)
    call.bounded(len(starts) * length)
    places = call.make(np.add.outer(starts, np.arange(length)), WIDEST, "places")
    frames = call.emit(Gather(1), call.operand(0), places, part="frames")
    if call.has(2):
        weights = call.emit(Reshape((length, 1)), call.operand(2), part="window")
        frames = call.emit(Mul(), frames, weights, part="weighted")
    return _transformed(call, frames, 2, length, False, bool(call.attribute("onesided", 1)))


@operator("MelWeightMatrix", since=17)
def mel_weight_matrix(call: Call) -> str:
    """Triangles between points that lie equally far apart on the mel scale: [bins of a spectrum, bands]."""
    bands, length, rate, low, high = (float(cast(Array, call.constant(i)).item()) for i in range(5))
    form = element_format(call.attribute("output_datatype", 1))
    if not isinstance(form, Float) or bands < 1 or length < 1 or rate < 1 or not 0 <= low <= high <= rate / 2:
        raise call.refusal(f"{bands:.0f} bands from {low} to {high} Hz, sampled at {rate} Hz, are not supported")
    call.bounded((length // 2 + 1) * bands)
    first, last = (2595 * math.log10(1 + edge / 700) for edge in (low, high))
    mel = first + np.arange(bands + 2) * (last - first) / (bands + 2)
    edges = (length + 1) * (700 * (10 ** (mel / 2595) - 1)) // rate
    bins, (left, centre, right) = np.arange(length // 2 + 1)[:, None], (edges[:-2], edges[1:-1], edges[2:])
    rising = np.where(left == centre, bins == centre, (bins - left) / np.maximum(centre - left, 1))
    falling = (right - bins) / np.maximum(right - centre, 1)
    inside = np.where(bins <= centre, bins >= left, bins < right)
    return call.make(np.where(inside, np.where((bins < centre) | (right == centre), rising, falling), 0), form)
