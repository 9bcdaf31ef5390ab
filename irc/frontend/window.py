"""The geometry that convolution and pooling share: kernel, strides, dilations and all ways to say padding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from irc.frontend.call import Call


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window with explicit pads: begins of all axes, then ends; `extra` is what ceil_mode added
    to the ends."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    extra: tuple[int, ...]


def window(call: Call, kernel: tuple[int, ...]) -> Window:
    """Read the window attributes of a node whose first operand is [N, C, *spatial]."""
    sizes, rank = call.shape()[2:], len(kernel)
    if not 1 <= rank <= 3 or len(sizes) != rank:
        raise call.refusal(f"a window of {rank} axes over {len(sizes)} spatial axes; 1 to 3 are supported")
    strides = per_axis(call, "strides", rank)
    dilations = per_axis(call, "dilations", rank)
    if min(kernel) < 1:
        raise call.refusal(f"the kernel {list(kernel)} is empty")
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    pads = _pads(call, sizes, reach, strides)
    ends = _ceil_ends(sizes, reach, strides, pads) if call.attribute("ceil_mode", 0) else pads[rank:]
    padded = (n + begin + end for n, begin, end in zip(sizes, pads, ends, strict=False))
    call.builder.limits.check("tensor", math.prod(padded) * math.prod(call.shape()[:2]), "elements with the padding")
    extra = tuple(end - given for end, given in zip(ends, pads[rank:], strict=True))
    return Window(kernel, strides, (*pads[:rank], *ends), dilations, extra)


def per_axis(call: Call, name: str, rank: int) -> tuple[int, ...]:
    values = call.attribute(name, (1,) * rank)
    if len(values) != rank or min(values) < 1:
        raise call.refusal(f"{name} {list(values)} does not fit {rank} spatial axes")
    return values


def _pads(call: Call, sizes: tuple[int, ...], reach: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    given, rank = call.attribute("pads", (0,) * (2 * len(sizes))), len(sizes)
    match call.attribute("auto_pad", "NOTSET"):
        case "NOTSET" | "":
            if len(given) != 2 * rank or min(given) < 0:
                raise call.refusal(f"pads {list(given)} does not fit {rank} spatial axes")
            return given
        case "VALID":
            return (0,) * (2 * rank)
        case "SAME_UPPER":
            low, high = _same(sizes, reach, strides)
            return (*low, *high)
        case "SAME_LOWER":
            low, high = _same(sizes, reach, strides)
            return (*high, *low)
        case other:
            raise call.refusal(f"auto_pad '{other}' is not supported")


def _same(sizes: tuple[int, ...], reach: tuple[int, ...],
          strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Smaller and larger half of the padding that makes ceil(size / stride) windows."""
    n, r, s = (np.array(v) for v in (sizes, reach, strides))
    total = np.maximum((-(-n // s) - 1) * s + r - n, 0)
    return tuple((total // 2).tolist()), tuple((total - total // 2).tolist())


def _ceil_ends(sizes: tuple[int, ...], reach: tuple[int, ...], strides: tuple[int, ...],
               pads: tuple[int, ...]) -> tuple[int, ...]:
    """End pads that turn the ceil rule into the floor rule; no window may start in the end padding."""
    n, r, s, begin, end = (np.array(v) for v in (sizes, reach, strides, pads[: len(sizes)], pads[len(sizes) :]))
    count = -(-(n + begin + end - r) // s) + 1
    count -= (count - 1) * s >= n + begin
    return tuple(np.maximum((count - 1) * s + r - n - begin, end).tolist())
