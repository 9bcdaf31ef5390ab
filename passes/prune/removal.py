"""Channels that no longer matter are taken out of the graph, exactly.

A channel may go when every layer that reads it can do without: its weights for the channel are zero, or the channel is
the same constant everywhere. What the constant gave is added to the layer's bias; only behind padding, whose zeros are
not that constant, a channel with a constant other than zero has to stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from irc.graph import Constant, Graph, Node
from irc.operation import Op
from irc.ops.contraction import BroadcastTo
from irc.ops.linear import Conv
from irc.ops.shape import Pad, Reshape, Slice
from irc.types import Array, IntArray, TensorType
from passes.layers import Layer, layers
from passes.prune.channels import Channels, Mixer, mixers
from passes.prune.ties import channels_of
from passes.reconstruction.apply import with_refits
from passes.reconstruction.products import products
from passes.reconstruction.walk import Refit
from passes.simplify.clean import without_dead_code


@dataclass(frozen=True, slots=True)
class Reading:
    """How a layer reads its input channels: the component of each, its constant (NaN when it has none), what one unit
    of it adds to each output, all but padding left out, and whether the layer can do without it."""

    layer: Layer
    component: IntArray
    constant: Array
    gain: Array
    spared: Array


def removable(channels: Channels, known: Mapping[str, Array]) -> Array:
    """For each component whether the network is the same without it (but for constants that go into biases)."""
    found = np.ones(channels.count, np.bool_)
    found[0] = False
    for reading in readings(channels, known):
        found[reading.component[~reading.spared]] = False
    return found


def readings(channels: Channels, known: Mapping[str, Array]) -> Iterator[Reading]:
    """How every layer reads its inputs; depthwise ones, whose channels go with their results, left out."""
    found = {layer.node.name: layer for layer in layers(channels.graph)}
    foldable = {product.node.name for product in products(channels.graph)}
    for mixer in mixers(channels):
        if not mixer.depthwise:
            yield _reading(found[mixer.node.name], mixer, known, mixer.node.name in foldable)


def _reading(layer: Layer, mixer: Mixer, known: Mapping[str, Array], takes_bias: bool) -> Reading:
    op, weight = layer.node.op, known[layer.weight]
    x = np.moveaxis(known[layer.x], 1 if isinstance(op, Conv) else -1, 0)
    flat = x.reshape(len(x), -1)
    constant = np.where((flat == flat[:, :1]).all(axis=1), flat[:, 0], np.nan)
    shaped = (weight if isinstance(op, Conv) else weight.T).reshape(*mixer.outputs.shape, -1, mixer.taps)
    unread = ~shaped.any(axis=(1, 3)).reshape(-1)
    padded = isinstance(op, Conv) and any(op.pads)
    foldable = (constant == 0) | (~np.isnan(constant) & (takes_bias and not padded))
    gain = shaped.sum(axis=3)  # [groups, rows, channels]
    return Reading(layer, mixer.inputs.reshape(-1)[:: mixer.taps], constant, gain, unread | foldable)


def without(graph: Graph, known: Mapping[str, Array], gone: Array, channels: Channels) -> Graph:
    """The graph without the components that `gone` marks, all of them `removable`."""
    folded = _with_constants_folded(graph, known, gone, channels)
    if folded is graph:
        return _cut(channels, gone)
    # nodes were added: the same channels have other numbers now, but the rows of the same weights
    renumbered = channels_of(folded)
    return _cut(renumbered, channels.same(renumbered, gone))


def _with_constants_folded(graph: Graph, known: Mapping[str, Array], gone: Array, channels: Channels) -> Graph:
    """What the constants of channels that go contributed is in the biases behind them."""
    shifts = {reading.layer.node.name: _contribution(reading, gone) for reading in readings(channels, known)}
    return with_refits(graph, (
        Refit(product, tuple(graph.constants[name].data for name in product.weights), shifts[product.node.name])
        for product in products(graph) if shifts.get(product.node.name, np.zeros(1)).any()))


def _contribution(reading: Reading, gone: Array) -> Array:
    """What the channels that go add to each output channel."""
    value = np.where(gone[reading.component] & ~np.isnan(reading.constant), reading.constant, 0)
    groups = value.reshape(len(reading.gain), 1, -1)
    return np.asarray((reading.gain * groups).sum(axis=2).reshape(-1))


def _cut(channels: Channels, gone: Array) -> Graph:
    """Only the indices that stay, of every axis of every value."""
    graph = channels.graph
    left = {value: tuple(np.flatnonzero(~gone[channels.component[axis]]) for axis in axes)
            for value, axes in channels.axes.items()}
    constants = {name: _shorter(constant, left[name]) for name, constant in graph.constants.items()}
    types = {name: replace(kind, shape=tuple(map(len, left[name]))) for name, kind in graph.types.items()
             if isinstance(kind, TensorType)}
    nodes = tuple(replace(node, op=_resized(channels, node, left, types), types=tuple(types[r] for r in node.results))
                  for node in graph.nodes)
    return without_dead_code(replace(graph, constants=constants, nodes=nodes))


def _shorter(constant: Constant, left: Sequence[IntArray]) -> Constant:
    if constant.type.shape == tuple(map(len, left)):
        return constant
    data = constant.data[np.ix_(*left)]
    return Constant(constant.name, TensorType(constant.type.format, data.shape), data)


def _resized(channels: Channels, node: Node, left: Mapping[str, Sequence[IntArray]],
             types: Mapping[str, TensorType]) -> Op:
    """The op with the sizes that are among its attributes."""
    match node.op:
        case Conv() if types[node.operands[1]].shape[1] * node.op.group != types[node.operands[0]].shape[1]:
            return replace(node.op, group=types[node.operands[0]].shape[1])  # depthwise
        case Reshape() | BroadcastTo():
            return replace(node.op, shape=types[node.name].shape)
        case Slice():
            before = left[node.operands[0]]
            starts = [int((axis < start).sum()) if step == 1 else start
                      for axis, start, step in zip(before, node.op.starts, node.op.steps, strict=True)]
            return replace(node.op, starts=tuple(starts), sizes=types[node.name].shape)
        case Pad():
            begins, sizes = node.op.pads, [len(axis) for axis in channels.axes[node.operands[0]]]
            new = [(int((axis < begin).sum()), int((axis >= begin + size).sum()))
                   for axis, begin, size in zip(left[node.name], begins, sizes, strict=False)]
            return replace(node.op, pads=tuple(pad for side in zip(*new, strict=True) for pad in side))
        case _:
            return node.op
