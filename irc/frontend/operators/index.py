"""Reading and writing by index, sorting, and what exporters make of it."""

from __future__ import annotations

from typing import cast

import numpy as np

from irc.frontend.call import Call
from irc.frontend.integers import fitted
from irc.frontend.table import DATA_SIZED, operator
from irc.ops.bits import WIDEST, BitwiseAnd, Modulo, Truncate
from irc.ops.comparison import Equal, Less, LessOrEqual, Where
from irc.ops.contraction import BroadcastTo
from irc.ops.elementwise import Add, Sub
from irc.ops.index import GatherElements, GatherND, Reduction, ScatterElements, ScatterND, TopK
from irc.ops.shape import Gather, Reshape
from irc.types import Array


@operator("GatherElements")
def gather_elements(call: Call) -> str:
    axis = call.axis(call.attribute("axis", 0), len(call.shape()))
    return call.emit(GatherElements(axis), call.operand(0), call.operand(1))


@operator("GatherND")
def gather_nd(call: Call) -> str:
    return call.emit(GatherND(call.attribute("batch_dims", 0)), call.operand(0), call.operand(1))


@operator("ScatterElements", "Scatter")
def scatter_elements(call: Call) -> str:
    axis = call.axis(call.attribute("axis", 0), len(call.shape()))
    op = ScatterElements(axis, _reduction(call))
    return fitted(call, call.emit(op, call.operand(0), call.operand(1), call.operand(2)), 0)


@operator("ScatterND")
def scatter_nd(call: Call) -> str:
    op = ScatterND(_reduction(call))
    return fitted(call, call.emit(op, call.operand(0), call.operand(1), call.operand(2)), 0)


def _reduction(call: Call) -> Reduction:
    named = call.attribute("reduction", "none")
    if named not in ("none", "add", "mul", "max", "min"):
        raise call.refusal(f"the reduction '{named}' is not supported")
    return cast(Reduction, named)


@operator("TopK", until=9)
def top_k_by_attribute(call: Call) -> tuple[str, ...]:
    return _top_k(call, call.attribute("k", 0))


@operator("TopK", since=10)
def top_k(call: Call) -> tuple[str, ...]:
    (k,) = call.integers(1) or (0,)
    call.attribute("sorted", 1)
    return _top_k(call, k)


def _top_k(call: Call, k: int) -> tuple[str, ...]:
    axis = call.axis(call.attribute("axis", -1), len(call.shape()))
    return call.emit_all(TopK(axis, k, bool(call.attribute("largest", 1))), call.operand(0))


@operator("OneHot")
def one_hot(call: Call) -> str:
    """on where the place along the new axis is the index, off elsewhere."""
    given, values = cast(Array, call.constant(1)), call.operand(2)
    if given.size != 1 or given.item() < 1:
        raise call.refusal("the depth is not one positive number")
    depth = int(given.item())
    call.bounded(depth)
    rank = len(call.shape()) + 1
    axis = call.axis(call.attribute("axis", -1), rank)
    shape = call.shape()
    size = call.make(np.int64(depth), WIDEST, "depth")
    whole = call.operand(0) if not call.is_real() else call.emit(Truncate(WIDEST), call.operand(0), part="whole")
    indices = call.emit(Where(), _within(call, whole, depth), call.emit(Modulo(), whole, size, part="place"),
                        call.make(np.int64(-1), WIDEST, "nowhere"), part="index")
    spread = call.emit(Reshape((*shape[:axis], 1, *shape[axis:])), indices, part="spread")
    places = call.make(np.arange(depth).reshape(-1, *(1,) * (rank - axis - 1)), WIDEST, "places")
    at = call.emit(Equal(), spread, places, part="at")
    off, on = (call.emit(Gather(0), values, call.make(np.int64(i), WIDEST, "which"), part=part)
               for i, part in enumerate(("off", "on")))
    return call.emit(Where(), at, on, off)


def _within(call: Call, index: str, depth: int) -> str:
    """Whether an index is one of -depth to depth - 1; others are nowhere on."""
    low = call.emit(LessOrEqual(), call.make(np.int64(-depth), WIDEST, "lowest"), index, part="above")
    high = call.emit(Less(), index, call.make(np.int64(depth), WIDEST, "end"), part="below")
    return call.emit(BitwiseAnd(), low, high, part="within")


@operator("Compress")
def compress(call: Call) -> str:
    """What a known condition leaves."""
    kept = np.flatnonzero(cast(Array, call.constant(1, DATA_SIZED, "the size of the result depends on it")))
    axis = call.attribute("axis", -(1 << 40))
    value, places = call.operand(0), call.make(kept, WIDEST, "places")
    if axis == -(1 << 40):
        size = call.type(value).size
        return call.emit(Gather(0), call.emit(Reshape((size,)), value, part="flat"), places)
    return call.emit(Gather(call.axis(axis, len(call.shape()))), value, places)


@operator("NonZero")
def non_zero(call: Call) -> str:
    """Of constants only: how many there are is the shape of the result."""
    data = call.constant(0, DATA_SIZED, "the size of the result depends on the data")
    return call.make(np.stack(np.nonzero(cast(Array, data))), WIDEST)


@operator("ReverseSequence")
def reverse_sequence(call: Call) -> str:
    """Each batch entry turned around up to its length."""
    time, batch = call.attribute("time_axis", 0), call.attribute("batch_axis", 1)
    if {time, batch} != {0, 1} or call.shape(1) != call.shape()[batch : batch + 1]:
        raise call.refusal("time and batch must be the first two axes, with one length for each of the batch")
    return turned_to_length(call, call.operand(0), call.operand(1), time, batch)


def turned_to_length(call: Call, value: str, lengths: str, time: int, batch: int) -> str:
    """Axis `time` turned around, for each index of axis `batch` up to its length; what is behind stays."""
    shape, rest = call.type(value).shape, (1,) * (len(call.type(value).shape) - 2)
    steps = call.make(np.arange(shape[time]).reshape((-1, 1) if time == 0 else (1, -1)), WIDEST, "steps")
    line = (1, shape[batch]) if batch == 1 else (shape[batch], 1)
    ends = call.emit(Reshape(line), lengths, part="ends")
    last = call.emit(Sub(), ends, call.make(np.int64(1), WIDEST, "one"), part="last")
    places = call.emit(Where(), call.emit(Less(), steps, ends, part="inside"),
                       call.emit(Sub(), last, steps, part="turned"), steps, part="places")
    column = call.emit(Reshape((*call.type(places).shape, *rest)), places, part="column")
    spread = call.emit(BroadcastTo(shape), column, part="spread")
    return call.emit(GatherElements(time), value, spread, part="backwards")


@operator("TensorScatter")
def tensor_scatter(call: Call) -> str:
    """A cache [batch, ..., sequence, ...], where new entries follow what each batch entry holds already."""
    shape, update = call.shape(), call.shape(1)
    axis, mode = call.axis(call.attribute("axis", -2), len(shape)), call.attribute("mode", "linear")
    if mode not in ("linear", "circular") or axis == 0:
        raise call.refusal(f"the mode '{mode}' along axis {axis} is not supported")
    along = tuple(-1 if i == axis else 1 for i in range(len(shape)))
    places = call.make(np.arange(update[axis]).reshape(along), WIDEST, "steps")
    if call.has(2):
        starts = call.emit(Reshape((shape[0], *(1,) * (len(shape) - 1))), call.operand(2), part="start")
        places = call.emit(Add(), places, starts, part="places")
    if mode == "circular":
        places = call.emit(Modulo(), places, call.make(np.int64(shape[axis]), WIDEST, "length"), part="circular")
    spread = call.emit(BroadcastTo(update), places, part="spread")
    return call.emit(ScatterElements(axis), call.operand(0), spread, call.operand(1))
