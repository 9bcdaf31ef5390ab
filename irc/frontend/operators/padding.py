"""Padding: constant borders, and borders made of the tensor itself."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import operator
from irc.ops.bits import WIDEST
from irc.ops.shape import Gather, Pad, Slice
from irc.types import Array

_NONE = cast("tuple[int, ...]", ())


@operator("Pad", until=10)
def pad_by_attribute(call: Call) -> str:
    return _pad(call, call.attribute("pads", _NONE), call.attribute("value", 0.0))


@operator("Pad", since=11)
def pad_by_input(call: Call) -> str:
    pads, value, axes = call.integers(1) or (), call.constant(2), call.integers(3)
    if axes is not None:
        pads = _spread(call, pads, axes)
    if value is not None and value.size != 1:
        raise call.refusal("the value of the border is not one number")
    return _pad(call, pads, 0.0 if value is None else float(value.reshape(())))


def _spread(call: Call, pads: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Pads of some axes as pads of all."""
    if len(pads) != 2 * len(axes):
        raise call.refusal(f"pads {list(pads)} do not match axes {list(axes)}")
    rank = len(call.shape())
    full = np.zeros((2, rank), np.int64)
    full[:, [call.axis(a, rank) for a in axes]] = np.reshape(pads, (2, -1))
    return tuple(full.reshape(-1).tolist())


def _pad(call: Call, pads: tuple[int, ...], value: float) -> str:
    """Negative pads cut; then the border is added."""
    shape, mode = call.shape(), call.attribute("mode", "constant")
    if len(pads) != 2 * len(shape):
        raise call.refusal(f"pads {list(pads)} do not fit {list(shape)}")
    table = np.reshape(pads, (2, -1))
    inner = _cut(call, np.minimum(table, 0))
    border = np.maximum(table, 0)
    if not border.any():
        return inner
    if mode == "constant":
        return call.emit(Pad(tuple(border.reshape(-1).tolist()), value), inner)
    for axis in np.flatnonzero(border.any(axis=0)).tolist():
        places = _places(call, mode, call.type(inner).shape[axis], *border[:, axis].tolist())
        inner = call.emit(Gather(axis), inner, call.make(places, WIDEST, "places"))
    return inner


def _cut(call: Call, pads: Array) -> str:
    shape, value = call.shape(), call.operand(0)
    if not pads.any():
        return value
    sizes = tuple((np.array(shape) + pads.sum(axis=0)).tolist())
    if min(sizes) < 1:
        raise call.refusal("nothing is left of the tensor")
    return call.emit(Slice(tuple((-pads[0]).tolist()), sizes, (1,) * len(shape)), value, part="cut")


def _places(call: Call, mode: str, size: int, before: int, after: int) -> Array:
    """Where each element of a padded axis comes from."""
    if mode not in ("reflect", "edge", "wrap"):
        raise call.refusal(f"the mode '{mode}' is not supported")
    call.bounded(size + before + after)
    return np.pad(np.arange(size), (before, after), mode=cast(Any, mode))
