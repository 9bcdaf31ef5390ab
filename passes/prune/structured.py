"""The engine of channel pruning: choose channels, mask them, make good for them, take them out.

All steps but the last two keep the shape of the network, so the masked network is there to compare with: the pruned one
computes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from irc.diagnostics import error
from irc.graph import Graph, Node
from irc.types import Array, IntArray
from passes.layers import layers
from passes.prune.budget import Filters, Quotas, Work
from passes.prune.channels import Channels, Mixer, mixers
from passes.prune.importance import Importance, Norm, OutputError
from passes.prune.known import known_values
from passes.prune.masking import masked, prunable
from passes.prune.removal import removable, without
from passes.prune.ties import channels_of
from passes.reconstruction.apply import with_refits
from passes.reconstruction.compensate import aligned
from passes.reconstruction.walk import Visit, reconstruct

CRITERIA = ("second_order", "l1", "l2")
DAMPING = 0.01


@dataclass(frozen=True, slots=True)
class Pruned:
    """The network without some channels, and the one that still has them, with zeros for what made them."""

    graph: Graph
    masked: Graph

    def filters(self) -> Iterable[tuple[str, int, int]]:
        """Layers that lost filters: node, how many are left, how many there were."""
        lost = {layer.node.name: layer for layer in layers(self.graph)}
        for layer in layers(self.masked):
            if layer.node.name in lost:
                left, before = (graph.tensor(one.weight).shape[one.weight_axis] for graph, one in (
                    (self.graph, lost[layer.node.name]), (self.masked, layer)))
                if left < before:
                    yield layer.node.name, left, before


@dataclass(frozen=True, slots=True)
class Target:
    """How much is to go: a fraction of the multiply-accumulates, else of the filters, of each layer or of all."""

    sparsity: float = 0.0
    macs: float = 0.0
    scope: str = "layer"
    min_channels: int = 1


def pruned(graph: Graph, target: Target, criterion: str = "second_order", feeds: Mapping[str, Array] | None = None,
           compensate: bool = True, selected: Callable[[Node], bool] = lambda node: True) -> Pruned:
    """Prune channels of the selected layers. `feeds` are bound calibration data, needed for second order and to
    compensate. Raises E304 when the target is out of reach."""
    channels = channels_of(graph)
    candidates = _candidates(channels, selected)
    gone = _chosen(channels, candidates, target, _importance(channels, criterion, feeds))
    if not gone.any():
        return Pruned(graph, graph)
    network = masked(channels, gone)
    if compensate and feeds is not None:
        network = _compensated(graph, network, feeds)
    return Pruned(_without(network, channels, gone), network)


def without_dead_channels(graph: Graph, selected: Callable[[Node], bool] = lambda node: True) -> Graph:
    """The same network without the channels of selected layers that nothing depends on; one of every axis stays."""
    channels, known = channels_of(graph), known_values(graph)
    gone = _of_selected(channels, removable(channels, known), selected)
    for axis in channels.lines():
        if gone[axis].all():
            gone[axis[0]] = False
    return without(graph, known, gone, channels) if gone.any() else graph


def _without(network: Graph, channels: Channels, gone: Array) -> Graph:
    """Compensation may have added biases: the channels are numbered again."""
    found, known = channels_of(network), known_values(network)
    return without(network, known, channels.same(found, gone) & removable(found, known), found)


def _candidates(channels: Channels, selected: Callable[[Node], bool]) -> Array:
    """What may go: `prunable`, and made by selected layers only."""
    return _of_selected(channels, prunable(channels), selected)


def _of_selected(channels: Channels, found: Array, selected: Callable[[Node], bool]) -> Array:
    for mixer in mixers(channels):
        if not selected(mixer.node):
            found[mixer.outputs] = False
    return found


def _chosen(channels: Channels, candidates: Array, target: Target, importance: Importance) -> Array:
    """Greedily the component that costs least for what it saves, until the target is reached."""
    mixing = mixers(channels)
    saved = Work(channels, mixing) if target.macs else Filters(channels, mixing)
    quotas = Quotas(channels, candidates, list(_limits(channels, mixing, target)))
    by_layer = not target.macs and target.scope == "layer"
    start, gone = saved.total, np.zeros(channels.count, np.bool_)
    goal = 0.0 if by_layer else start * (1 - (target.macs or target.sparsity))
    while saved.total > goal + 1e-9 * start and quotas.open.any():
        price = importance.scores / np.maximum(saved.saving, 1e-30)
        best = int(np.argmin(np.where(quotas.open, price, np.inf)))
        gone[best] = True
        for part in (quotas, saved, importance):
            part.take(best)
    if not by_layer and saved.total > goal + 1e-9 * start:
        _refuse(target, 1 - saved.total / start)
    return gone


def _limits(channels: Channels, mixing: Iterable[Mixer], target: Target) -> Iterable[tuple[IntArray, int]]:
    """Of each axis how many indices must stay."""
    for axis in channels.lines():
        yield axis, min(target.min_channels, len(axis))
    if not target.macs and target.scope == "layer":
        for mixer in mixing:
            rows = mixer.outputs.reshape(-1)
            yield rows, len(rows) - int(target.sparsity * len(rows) + 1e-9)


def _refuse(target: Target, reached: float) -> None:
    option, wanted = ("macs", target.macs) if target.macs else ("sparsity", target.sparsity)
    raise error("E304", f"{option}={wanted:g} is out of reach: without the channels that may go, {reached:.3g} is gone",
                remedy=f"ask for at most {np.floor(reached * 1000) / 1000:g}, or select more layers")


def _importance(channels: Channels, criterion: str, feeds: Mapping[str, Array] | None) -> Importance:
    if criterion != "second_order":
        return Norm(channels, 1 if criterion == "l1" else 2)
    if feeds is None:
        raise error("E402", "second-order channel pruning needs calibration data",
                    remedy="give them with --calib data.npz, or choose criterion=l2 compensate=false")
    wanted = {m.node.name: m for m in mixers(channels) if not m.depthwise and m.inputs.any()}
    found: dict[str, tuple[Mixer, Array, Array]] = {}

    def note(visit: Visit) -> Array:
        name = visit.product.node.name
        found[name] = wanted[name], visit.matrix, visit.statistics.gram
        return visit.matrix

    reconstruct(channels.graph, channels.graph, feeds, note, lambda node: node.name in wanted)
    return OutputError(channels, found, DAMPING)


def _compensated(graph: Graph, network: Graph, feeds: Mapping[str, Array]) -> Graph:
    """Least squares, layer by layer: the columns that are left give what all of them gave (He et al. 2017)."""
    return with_refits(network, reconstruct(graph, network, feeds, _refitted, shortcuts=True))


def _refitted(visit: Visit) -> Array:
    """The rows that are left, with the outputs they had; dead columns stay out, since their inputs do not vary."""
    drift = visit.drift.cross if visit.drift else 0.0
    new = aligned(visit.target, visit.matrix, visit.statistics, DAMPING, drift)
    return np.where(visit.matrix.any(axis=2, keepdims=True), new, 0.0)
