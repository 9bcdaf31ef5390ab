"""`equalize`: cross-layer equalisation, which makes channels use the range of their weights equally.

Method: relu(s x) = s relu(x) for every s > 0, so a channel may be divided by s where it is made, and be multiplied by s
where it is read, and nothing changes. With s = sqrt(r1 / r2), r1 and r2 being the largest weights that make and read
the channel, both are equally large (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction"; Meller et al. 2019, "Same, Same But Different"). Before::

    const w1: f32[2, 1, 1, 1] = [[[[8.0]]], [[[0.5]]]]
    const b1: f32[2] = [4.0, 1.0]
    const w2: f32[1, 2, 1, 1] = [[[[0.5]], [[2.0]]]]
    h: f32[1, 2, 4, 4] = conv(x, w1, b1, ...)
    r: f32[1, 2, 4, 4] = relu(h)
    y: f32[1, 1, 4, 4] = conv(r, w2, ...)

and after, with the same y::

    const w1: f32[2, 1, 1, 1] = [[[[2.0]]], [[[1.0]]]]
    const b1: f32[2] = [1.0, 2.0]
    const w2: f32[1, 2, 1, 1] = [[[[2.0]], [[1.0]]]]

The factors are then rounded to powers of two: both are equally large up to a factor of 2, and the network stays the
same to the last bit.

Channels are followed through relu, pooling, reshape, transpose, concat, slice, zero padding and additions: all that is
added has one factor, so the stream of a residual network is equalised as a whole. Several layers that make (or read) a
channel count with the geometric mean of their largest weights. A depthwise convolution both reads and makes. Channels
of the input and of outputs keep their scale, and so do those in front of or behind anything that is not positively
homogeneous: relu6 (`clip`), sigmoid, a product of two values, quantized weights.

It pays where one scale serves many channels, `quantize{granularity=tensor}`, most of all where batch norms were folded:
run `fold` first. Channels with scales of their own have little to gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, cast

import numpy as np

from irc.graph import Constant, Graph, Node
from irc.operation import Op
from irc.ops.comparison import Extremum
from irc.ops.elementwise import Add, Relu, Sub
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import AvgPool, MaxPool, ReduceMax, ReduceMean, ReduceSum
from irc.ops.rectifier import LeakyRelu
from irc.ops.reduction import ReduceMin
from irc.ops.shape import Concat, Pad, Reshape, Slice, Transpose
from irc.pipeline.step import Context, Contract, Exact, Pass, option
from irc.types import Array
from passes.prune.channels import Axes, Channels, Mixer, Numbering, mixers, pinned
from passes.prune.ties import Rule, channels_of, usual

HOMOGENEOUS: tuple[type[Op], ...] = (
    Relu, LeakyRelu, MaxPool, AvgPool, ReduceMax, ReduceMin, ReduceSum, ReduceMean, Reshape, Transpose, Concat, Slice)
"""Ops with f(s x) = s f(x) for s > 0, channel by channel."""

_CONVERGED = 1e-3  # largest change of the logarithm of a factor


@dataclass(frozen=True, slots=True)
class Equalize(Pass):
    """Balance the weights of consecutive layers channel by channel, so that one scale fits all channels."""

    keeps: ClassVar[Contract] = Exact()
    rounds: int = field(default=100, metadata=option("rounds over all layers, at most", low=1))

    def run(self, graph: Graph, context: Context) -> Graph:
        channels = channels_of(graph, lambda graph, node: _rule(graph, node, context.selected))
        layers = [_Layer.of(graph, mixer) for mixer in mixers(channels) if mixer.node.operands[1] in graph.constants]
        factors = np.exp2(np.rint(_balanced(layers, channels.count, self.rounds)))
        if (factors == 1).all():
            return graph
        context.note("equalized_channels", int((factors != 1).sum()))
        context.note("largest_factor", float(np.maximum(factors, 1 / factors).max()))
        return _scaled(graph, channels, layers, factors)


# --- which channels may have a factor


def _rule(graph: Graph, node: Node, selected: Callable[[Node], bool]) -> Rule | None:
    """How a node hands factors on; None when it must see its values as they are."""
    touched = any(o in graph.constants for o in node.operands)
    if touched and not selected(node):
        return None
    match node.op:
        case Conv() | MatMul() if node.operands[1] in graph.constants:
            alone = len(graph.users[node.operands[1]]) == 1 and not graph.is_output(node.operands[1])
            return (_conv if isinstance(node.op, Conv) else usual(graph, node)) if alone else None
        case Add() | Sub() | Extremum():
            return _together
        case Pad(value=0.0):
            return usual(graph, node)
        case _:
            return usual(graph, node) if isinstance(node.op, HOMOGENEOUS) else None


def _conv(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    """The factors of what a convolution reads and of what it makes are independent, depthwise or not."""
    x, weight, *bias = operands
    for axes in bias:
        numbering.tie(axes[0], weight[0])
    return (x[0], weight[0], *(pinned(n) for n in numbering.graph.tensor(node.name).shape[2:]))


def _together(numbering: Numbering, node: Node, operands: list[Axes]) -> Axes:
    """Values that meet element by element have the same factors; one element for a whole axis allows none there."""
    rule = cast(Rule, usual(numbering.graph, node))
    for axes in operands:
        others = (other for other in operands if other is not axes)
        for other in others:
            shared = min(len(axes), len(other))
            numbering.pin(b for a, b in zip(axes[len(axes) - shared :], other[len(other) - shared :], strict=True)
                          if len(a) != len(b))
            numbering.pin(other[: len(other) - shared])
    return rule(numbering, node, operands)


# --- the factors


@dataclass(frozen=True, slots=True)
class _Layer:
    """The magnitudes of a layer's weights, [groups, rows, columns], largest of all taps."""

    mixer: Mixer
    sizes: Array

    @classmethod
    def of(cls, graph: Graph, mixer: Mixer) -> _Layer:
        data = np.abs(graph.constants[mixer.node.operands[1]].data.astype(np.float64))
        groups, rows = mixer.outputs.shape
        by_row = data if isinstance(mixer.node.op, Conv) else data.T
        return cls(mixer, by_row.reshape(groups, rows, -1, mixer.taps).max(axis=3))

    @property
    def inputs(self) -> Array:
        """The component of each input channel, [groups, columns without taps]."""
        return self.mixer.inputs[:, :: self.mixer.taps]

    def scaled(self, factors: Array) -> Array:
        """The magnitudes when every channel is divided by its factor."""
        return self.sizes * factors[self.inputs][:, None] / factors[self.mixer.outputs][..., None]


def _balanced(layers: Sequence[_Layer], count: int, rounds: int) -> Array:
    """The logarithm to base 2 of what each component is to be divided by; 0 where it must stay, or is made or read by
    nothing."""
    logs = np.zeros(count)
    for _ in range(rounds):
        made, read = _Means(count), _Means(count)
        for layer in layers:
            sizes = layer.scaled(np.exp2(logs))
            made.add(layer.mixer.outputs, sizes.max(axis=2))
            read.add(layer.inputs, sizes.max(axis=1))
        both = (made.counts > 0) & (read.counts > 0)
        both[0] = False
        change = np.where(both, (made.means - read.means) / 2, 0.0)
        logs += change
        if np.abs(change).max(initial=0) < _CONVERGED:
            break
    return logs


class _Means:
    """The mean logarithm, over layers, of the largest weight of each component."""

    def __init__(self, count: int) -> None:
        self.sums, self.counts = np.zeros(count), np.zeros(count)

    def add(self, components: Array, sizes: Array) -> None:
        largest = np.zeros(len(self.sums))
        np.maximum.at(largest, components.reshape(-1), sizes.reshape(-1))
        there = largest > 0  # a dead channel says nothing
        self.sums[there] += np.log2(largest[there])
        self.counts += there

    @property
    def means(self) -> Array:
        return np.asarray(self.sums / np.maximum(self.counts, 1))


# --- the new constants


def _scaled(graph: Graph, channels: Channels, layers: Sequence[_Layer], factors: Array) -> Graph:
    """Every constant in its new scale: weights by what they read and make, others by the axes they are added along."""
    weights = {layer.mixer.node.operands[1]: layer for layer in layers}

    def changed(constant: Constant) -> Constant:
        layer = weights.get(constant.name)
        scale = _of_weight(layer, constant, factors) if layer else _of_axes(channels, constant, factors)
        return constant if (scale == 1).all() else replace(constant, data=constant.data * scale)

    return graph.map_constants(changed)


def _of_weight(layer: _Layer, constant: Constant, factors: Array) -> Array:
    mixer = layer.mixer
    matrix = factors[mixer.inputs][:, None] / factors[mixer.outputs][..., None]
    if isinstance(mixer.node.op, Conv):
        return np.asarray(matrix.reshape(constant.data.shape))
    return np.asarray(matrix[0].T)


def _of_axes(channels: Channels, constant: Constant, factors: Array) -> Array:
    scale = np.ones((1,) * len(constant.data.shape))
    for axis in range(scale.ndim):
        along = 1 / factors[channels.of(constant.name, axis)]
        scale = scale * along.reshape(-1, *(1,) * (scale.ndim - axis - 1))
    return scale
