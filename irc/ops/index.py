"""Reading and writing by computed indices. Negative indices count from the end."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from irc.diagnostics import error
from irc.operation import MODEL, Op, operation
from irc.types import Array, Float, Integer, TensorType

Reduction: TypeAlias = Literal["none", "add", "mul", "max", "min"]
_COMBINE = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def require_indices(indices: TensorType) -> None:
    """Raise TypeError unless `indices` are integers."""
    if isinstance(indices.format, Float):
        raise TypeError(f"indices must be integers, not {indices}")


def together(*arrays: Array) -> tuple[Array, ...]:
    """Arrays with as many samples each."""
    count = max(len(a) for a in arrays)
    return tuple(np.broadcast_to(a, (count, *a.shape[1:])) for a in arrays)


def checked(indices: Array, size: int, op: str) -> Array:
    """`indices`, or E401 when one lies outside `size` rows."""
    if indices.size and not -size <= indices.min() <= indices.max() < size:
        raise error("E401", f"an index in [{indices.min()}, {indices.max()}] is outside a table of {size} rows",
                    operator=op)
    return indices


def _mesh(shape: tuple[int, ...], rank: int) -> tuple[Array, ...]:
    """For each axis of `shape` its indices, shaped to broadcast over `rank` axes."""
    return tuple(np.arange(n).reshape(-1, *(1,) * (rank - axis - 1)) for axis, n in enumerate(shape))


def _write(out: Array, place: tuple[Array, ...], updates: Array, reduction: Reduction) -> Array:
    if reduction == "none":
        out[place] = updates
    else:
        _COMBINE[reduction].at(out, place, updates)
    return out


@operation("gather_elements", "data indices", levels=MODEL)
class GatherElements(Op):
    """For each place of `indices` the element of `data` at this place, but at the index along `axis`."""

    axis: int = 0

    def infer(self, data: TensorType, indices: TensorType) -> TensorType:
        require_indices(indices)
        if len(data.shape) != len(indices.shape) or not 0 <= self.axis < len(data.shape):
            raise TypeError(f"indices {indices} along axis {self.axis} do not fit {data}")
        if any(i > n for axis, (i, n) in enumerate(zip(indices.shape, data.shape, strict=True)) if axis != self.axis):
            raise TypeError(f"indices {indices} are larger than {data}")
        return TensorType(data.format, indices.shape)

    def evaluate(self, data: Array, indices: Array) -> Array:
        data, indices = together(data, checked(indices, data.shape[self.axis + 1], self.name))
        mesh = list(_mesh(indices.shape, indices.ndim))
        mesh[self.axis + 1] = indices
        return np.asarray(data[tuple(mesh)])


@operation("gather_nd", "data indices", levels=MODEL)
class GatherND(Op):
    """The last axis of `indices` holds places in `data`; what lies there is collected. The first `batch_dims` axes are
    common to both."""

    batch_dims: int = 0

    def infer(self, data: TensorType, indices: TensorType) -> TensorType:
        require_indices(indices)
        common, depth = self.batch_dims, indices.shape[-1]
        if data.shape[:common] != indices.shape[:common] or not 0 < depth <= len(data.shape) - common:
            raise TypeError(f"indices {indices} with {common} common axes do not fit {data}")
        return TensorType(data.format, indices.shape[:-1] + data.shape[common + depth :])

    def evaluate(self, data: Array, indices: Array) -> Array:
        data, indices = together(data, indices)
        common = self.batch_dims + 1
        places = tuple(checked(place, data.shape[common + i], self.name)
                       for i, place in enumerate(np.moveaxis(indices, -1, 0)))
        return np.asarray(data[(*_mesh(indices.shape[:common], indices.ndim - 1), *places)])


@operation("scatter_elements", "data indices updates", levels=MODEL)
class ScatterElements(Op):
    """`data`, where each element of `updates` goes to its own place, but at the index along `axis`. It replaces what
    was there, or is combined with it by `reduction`."""

    axis: int = 0
    reduction: Reduction = "none"

    def infer(self, data: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        require_indices(indices)
        if indices.shape != updates.shape or len(data.shape) != len(indices.shape):
            raise TypeError(f"indices {indices} and updates {updates} do not fit {data}")
        if not 0 <= self.axis < len(data.shape):
            raise TypeError(f"axis {self.axis} is not an axis of {data}")
        return data

    def evaluate(self, data: Array, indices: Array, updates: Array) -> Array:
        data, indices, updates = together(data, checked(indices, data.shape[self.axis + 1], self.name), updates)
        mesh = list(_mesh(indices.shape, indices.ndim))
        mesh[self.axis + 1] = indices
        return _write(data.copy(), tuple(mesh), updates, self.reduction)


@operation("scatter_nd", "data indices updates", levels=MODEL)
class ScatterND(Op):
    """`data`, where the last axis of `indices` holds the places that take `updates`. They replace what was there, or
    are combined with it by `reduction`."""

    reduction: Reduction = "none"

    def infer(self, data: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        require_indices(indices)
        depth = indices.shape[-1]
        if depth > len(data.shape) or updates.shape != indices.shape[:-1] + data.shape[depth:]:
            raise TypeError(f"indices {indices} and updates {updates} do not fit {data}")
        return data

    def evaluate(self, data: Array, indices: Array, updates: Array) -> Array:
        data, indices, updates = together(data, indices, updates)
        places = tuple(checked(place, data.shape[i + 1], self.name)
                       for i, place in enumerate(np.moveaxis(indices, -1, 0)))
        return _write(data.copy(), (*_mesh(indices.shape[:1], indices.ndim - 1), *places), updates, self.reduction)


@operation("top_k", "x", levels=MODEL)
class TopK(Op):
    """The `k` largest (or smallest) elements along `axis`, best first, and their indices; of equal ones the first."""

    axis: int
    k: int
    largest: bool = True

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        if not 0 <= self.axis < len(x.shape) or not 0 < self.k <= x.shape[self.axis]:
            raise TypeError(f"the best {self.k} along axis {self.axis} of {x}")
        shape = (*x.shape[: self.axis], self.k, *x.shape[self.axis + 1 :])
        return TensorType(x.format, shape), TensorType(Integer(True, 64), shape)

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        axis = self.axis + 1
        order = np.argsort(-x if self.largest else x, axis=axis, kind="stable")
        best = np.take(order, np.arange(self.k), axis)
        return np.take_along_axis(x, best, axis), best
