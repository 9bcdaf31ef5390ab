"""What is the same for every input: each element of each value, NaN where the inputs decide.

A filter of zeros makes a plane of its bias, `relu` of it is another constant, and padding may give its border other
values: all this falls out of evaluating the network once, with NaN for what is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from irc.graph import MISSING, Constant, Graph, Node
from irc.interpreter import computed
from irc.operation import Op
from irc.ops.activation import Softmax
from irc.ops.contraction import BroadcastTo
from irc.ops.elementwise import Mul
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import AvgPool, MaxPool, ReduceMax, ReduceMean, ReduceSum
from irc.ops.quantization import Dequantize, Quantize
from irc.ops.rectifier import LogSoftmax
from irc.ops.reduction import ReduceMin, ReduceProd
from irc.ops.shape import Concat, Pad, Reshape, Slice, Transpose
from irc.types import Array
from passes.prune.ties import POINTWISE

# NaN goes through these as it is to
TRANSPARENT: tuple[type[Op], ...] = (
    Transpose, Reshape, Concat, Slice, Pad, BroadcastTo, MaxPool, AvgPool, ReduceMax, ReduceMin, ReduceSum, ReduceMean,
    ReduceProd, Softmax, LogSoftmax)


def known_values(graph: Graph, constants: Mapping[str, Constant] | None = None) -> dict[str, Array]:
    """All values [*shape], with NaN for the elements that depend on inputs. `constants` override those of the graph."""
    replaced = constants or {}
    values = {name: computed(replaced.get(name, c).data) for name, c in graph.constants.items()}
    values |= {port.name: np.full(graph.tensor(port.name).shape, np.nan) for port in graph.inputs}
    for node in graph.nodes:
        operands = [values[o][None] if o != MISSING else None for o in node.operands]
        given = [o for o in operands if o is not None]
        results = _evaluated(node.op.evaluate, operands) if not any(map(_unknown, given)) else _partly(node, given)
        shapes = (graph.tensor(result).shape for result in node.results)
        values.update((name, np.broadcast_to(found.reshape(found.shape[1:]), shape))
                      for name, found, shape in zip(node.results, results, shapes, strict=True))
    return values


def _unknown(array: Array) -> bool:
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def _evaluated(function: Callable[..., Array | tuple[Array, ...]], operands: list[Array | None]) -> tuple[Array, ...]:
    found = function(*operands)
    return found if isinstance(found, tuple) else (found,)


def _partly(node: Node, operands: list[Array]) -> tuple[Array, ...]:
    """A node some of whose operands are not known in part."""
    op = node.op
    if isinstance(op, Conv | MatMul):
        return (_product(op, operands),)
    if isinstance(op, POINTWISE):
        return (_pointwise(op, operands),)
    if isinstance(op, Quantize | Dequantize) and not any(map(_unknown, operands[1:])):
        (found,) = _evaluated(op.evaluate, [_filled(operands[0]), *operands[1:]])
        return (np.where(np.isnan(operands[0]), np.nan, found),)
    if isinstance(op, TRANSPARENT):
        return _evaluated(op.evaluate, list(operands))
    return tuple(np.full((1, *kind.shape), np.nan) for kind in node.types if hasattr(kind, "shape"))


def _filled(array: Array) -> Array:
    return np.where(np.isnan(array), 0, array) if _unknown(array) else array


def _product(op: Conv | MatMul, operands: list[Array]) -> Array:
    """A sum of products is known where every unknown factor meets a zero."""
    sure = _evaluated(op.evaluate, [_filled(o) for o in operands])[0]
    open_, there = ([o.astype(np.float64) for o in parts] for parts in (
        (np.isnan(a) for a in operands[:2]), ((np.isnan(a) | (a != 0)) for a in operands[:2])))
    meets = op.evaluate(open_[0], there[1]) + op.evaluate(there[0], open_[1])
    bias = np.isnan(operands[2]).any() if len(operands) > 2 else False
    return np.where((meets > 0) | bias, np.nan, sure)


def _pointwise(op: Op, operands: list[Array]) -> Array:
    """What is computed element by element is known where all operands are, or where one of two factors is zero."""
    rank = max(a.ndim for a in operands)
    open_ = [np.isnan(a).reshape(1, *(1,) * (rank - a.ndim), *a.shape[1:]) for a in operands]
    (found,) = _evaluated(op.evaluate, [_filled(a) for a in operands])
    unknown = np.logical_or.reduce(np.broadcast_arrays(*open_))
    if isinstance(op, Mul):
        unknown &= ~np.logical_or.reduce(np.broadcast_arrays(*(
            (a == 0).reshape(part.shape) for a, part in zip(operands, open_, strict=True))))
    return np.where(unknown, np.nan, found)
