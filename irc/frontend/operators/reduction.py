"""Reductions along axes, running sums, and the place of the largest value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

import numpy as np

from irc.frontend.call import Call
from irc.frontend.integers import fitted
from irc.frontend.table import operator
from irc.operation import Op
from irc.ops.bits import WIDEST, Abs, Neg, Power, Wrap
from irc.ops.elementary import Log, Sqrt
from irc.ops.elementwise import Mul, Sub
from irc.ops.pooling import ArgMax, ReduceMax, ReduceMean, ReduceSum
from irc.ops.reduction import CumulativeProduct, CumulativeSum, ReduceLogSumExp, ReduceMin, ReduceProd
from irc.ops.shape import Slice

Axes: TypeAlias = "tuple[int, ...]"
_NONE = cast(Axes, ())
_REDUCTIONS: Mapping[str, Callable[[Axes, bool], Op]] = {
    "ReduceMax": ReduceMax, "ReduceMin": ReduceMin, "ReduceMean": ReduceMean, "ReduceProd": ReduceProd,
    "ReduceLogSumExp": ReduceLogSumExp, "GlobalMaxPool": ReduceMax, "GlobalAveragePool": ReduceMean,
    "ReduceSum": ReduceSum, "ReduceL1": ReduceSum, "ReduceL2": ReduceSum, "ReduceLogSum": ReduceSum,
    "ReduceSumSquare": ReduceSum,
}
_BY_AXES = tuple(name for name in _REDUCTIONS if name.startswith("Reduce") and name != "ReduceSum")
_RUNNING: Mapping[str, Callable[[int, bool, bool], Op]] = {"CumSum": CumulativeSum, "CumProd": CumulativeProduct}


@operator("GlobalMaxPool", "GlobalAveragePool")
def global_pool(call: Call) -> str:
    return _reduce(call, tuple(range(2, len(call.shape()))), keepdims=True)


@operator("GlobalLpPool")
def global_norm_pool(call: Call) -> str:
    """(sum |x|^p)^(1/p) over all positions."""
    power = float(call.attribute("p", 2))
    raised = call.emit(Power(), call.emit(Abs(), call.operand(0), part="abs"), call.real(power, "p"), part="power")
    total = call.emit(ReduceSum(tuple(range(2, len(call.shape()))), True), raised, part="sum")
    return call.emit(Power(), total, call.real(1 / power, "root"))


@operator("ReduceSum", until=12)
@operator(*_BY_AXES, until=17)
def reduce_by_attribute(call: Call) -> str:
    axes = call.attribute("axes", _NONE)
    return _reduce(call, axes or tuple(range(len(call.shape()))), bool(call.attribute("keepdims", 1)))


@operator("ReduceSum", since=13)
@operator(*_BY_AXES, since=18)
def reduce_by_input(call: Call) -> str:
    axes, keepdims = call.integers(1) or (), bool(call.attribute("keepdims", 1))
    everything = () if call.attribute("noop_with_empty_axes", 0) else tuple(range(len(call.shape())))
    return _reduce(call, axes or everything, keepdims)


def _reduce(call: Call, axes: Axes, keepdims: bool) -> str:
    shape = call.shape()
    if 0 in shape:
        raise call.refusal("a reduction over an empty tensor")
    after = _AFTER.get(call.node.op_type)
    value = _before(call)
    if axes:
        op = _REDUCTIONS[call.node.op_type](tuple(sorted(call.axis(a, len(shape)) for a in axes)), keepdims)
        value = call.emit(op, value, part="sum" if after else "")
    return call.emit(after, value) if after else fitted(call, value, 0)


def _before(call: Call) -> str:
    """What the norms do to each element."""
    value = call.operand(0)
    match call.node.op_type:
        case "ReduceL1":
            return call.emit(Abs(), value, part="abs")
        case "ReduceL2" | "ReduceSumSquare":
            return call.emit(Mul(), value, value, part="square")
        case _:
            return value


_AFTER: Mapping[str, Op] = {"ReduceL2": Sqrt(), "ReduceLogSum": Log()}


@operator("ArgMax", "ArgMin")
def argmax(call: Call) -> str:
    """The last of equal values is the first from behind."""
    value, shape = call.operand(0), call.shape()
    axis = call.axis(call.attribute("axis", 0), len(shape))
    keepdims, last = bool(call.attribute("keepdims", 1)), call.attribute("select_last_index", 0)
    if call.node.op_type == "ArgMin":
        value = call.emit(Neg(), value, part="negated")
    if last:
        value = call.emit(_backwards(shape, axis), value, part="backwards")
    found = call.emit(ArgMax(axis, keepdims), value, part="from_behind" if last else "")
    if last:
        found = call.emit(Sub(), call.make(np.int64(shape[axis] - 1), WIDEST, "end"), found)
    return found if not _ambiguous(call, found) else call.emit(Wrap(WIDEST), found, part="index")


def _ambiguous(call: Call, index: str) -> bool:
    """Whether the format of an index looks like a type of ONNX that it does not have there: int64."""
    return call.type(index).format.bits in (8, 16, 32)


def _backwards(shape: Axes, axis: int) -> Slice:
    starts = tuple(n - 1 if i == axis else 0 for i, n in enumerate(shape))
    return Slice(starts, shape, tuple(-1 if i == axis else 1 for i in range(len(shape))))


@operator(*_RUNNING)
def running(call: Call) -> str:
    axes = call.integers(1) or (0,)
    exclusive, reverse = bool(call.attribute("exclusive", 0)), bool(call.attribute("reverse", 0))
    op = _RUNNING[call.node.op_type](call.axis(axes[0], len(call.shape())), exclusive, reverse)
    return fitted(call, call.emit(op, call.operand(0)), 0)
