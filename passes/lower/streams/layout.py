"""How a tensor travels on a channel: the order of its elements."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from irc.types import IntArray


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor travels: on `channel`, element i of the stream is element `order[i]` of the flat tensor."""

    channel: str
    shape: tuple[int, ...]
    order: IntArray

    def rows(self, columns: int) -> IntArray:
        return self.order.reshape(-1, columns)


def channels_last(rank: int) -> tuple[int, ...]:
    """Axes of a tensor in the order in which they travel: raster order, channels innermost."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def raster(shape: tuple[int, ...]) -> IntArray:
    """The number of each element of a tensor."""
    return np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(shape)


def axes_of(layout: Layout) -> tuple[int, ...]:
    """The order of the axes in which a tensor would travel as `layout` says: the later the second index of an axis
    comes, the further out it is. Axes of one index stand where they make the order smallest."""
    places = raster(layout.shape)
    place = np.empty_like(layout.order)
    place[layout.order] = np.arange(len(place))
    second = {axis: int(place[places.take(1, axis).flat[0]]) for axis, size in enumerate(layout.shape) if size > 1}
    single = [axis for axis, size in enumerate(layout.shape) if size == 1]
    return tuple(heapq.merge(single, sorted(second, key=second.__getitem__, reverse=True)))
