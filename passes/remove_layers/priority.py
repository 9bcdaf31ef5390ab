"""How much a residual block matters: three priorities, small for blocks that can go.

`activation`: E ||F(x)|| / E ||x|| over the calibration data, the size of what the block adds to what it is added to.

`gain`: mean over the channels of the norm of the weights of the branch's last layer, times the scale behind it. It
needs no data, and is the same before and after batch norms are folded. It stands for the mean |gamma| of the block's
last batch norm: on inputs that are white, gamma / sigma times the norm of the weights is gamma.

`output`: mean squared change of the network's first output on the calibration data when the block is skipped, over the
mean square of that output. The most expensive one: it evaluates the rest of the network once for each block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from irc.graph import Graph
from irc.interpreter import evaluate
from irc.samples import sample_count
from irc.types import Array
from passes.layers import per_channel
from passes.remove_layers.blocks import Block
from passes.remove_layers.segment import segment
from passes.simplify.affine import affine, channels

_CHUNK = 16  # samples whose values at all blocks are held together


def chunks(feeds: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Calibration data, some samples at a time."""
    for at in range(0, sample_count(feeds), _CHUNK):
        yield {name: array[at : at + _CHUNK] for name, array in feeds.items()}


def activation_ratios(graph: Graph, blocks: Sequence[Block], feeds: Mapping[str, Array]) -> list[float]:
    probe = segment(graph, (), (value for b in blocks for value in (b.branch, b.skip)))
    sums = np.zeros((len(blocks), 2))
    for part in chunks(feeds):
        seen = evaluate(probe, part)
        sums += [(_norms(seen[b.branch]).sum(), _norms(seen[b.skip]).sum()) for b in blocks]
    return [float(branch / max(skip, 1e-30)) for branch, skip in sums]


def _norms(values: Array) -> Array:
    """The norm of each sample."""
    return np.asarray(np.linalg.norm(values.reshape(len(values), -1), axis=1))


def gains(graph: Graph, blocks: Sequence[Block]) -> list[float]:
    return [_gain(graph, block) for block in blocks]


def _gain(graph: Graph, block: Block) -> float:
    layer = block.layers[-1]
    weight = evaluate(segment(graph, (), (layer.weight,)), {})[layer.weight][0]
    found = np.linalg.norm(per_channel(weight, layer.weight_axis), axis=1)
    value = layer.result
    while value != block.branch and (read := affine(graph.users[value][0], graph.constants)):
        value = graph.users[value][0].name
        scale = None if read.scale is None else channels(read.scale, graph.tensor(value).shape, layer.axis)
        found = found if scale is None else found * np.abs(scale)
    return float(found.mean())


def output_changes(graph: Graph, blocks: Sequence[Block], feeds: Mapping[str, Array]) -> list[float]:
    shown = graph.outputs[0].value
    probe = segment(graph, (), (shown, *(b.skip for b in blocks)))
    rests = [segment(graph, (b.name,), (shown,)) for b in blocks]
    change, size = np.zeros(len(blocks)), 0.0
    for part in chunks(feeds):
        seen = evaluate(probe, part)
        size += float(np.square(seen[shown]).sum())
        change += [np.square(evaluate(rest, {**part, b.name: seen[b.skip]})[shown] - seen[shown]).sum()
                   for b, rest in zip(blocks, rests, strict=True)]
    return [float(c / max(size, 1e-30)) for c in change]
