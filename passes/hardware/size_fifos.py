"""Find the smallest FIFOs that keep the design at its throughput limit.

No design is faster than its busiest actor: the limit is the largest number of firings a frame, and unlimited FIFOs
reach it. Starting from those, the depth of one channel after the other is bisected between what its consumer needs to
fire at all and the most tokens that the earliest schedule at the limit has in it (see irc/dataflow/periodic.py);
channels that carry the most bits a frame come first, so that tokens wait where they are small. Branches that join again
cannot deadlock, because the schedule covers them.

A search that takes long counts as failed, so that a depth may come out a few slots too large. With `exact` the timing
law then decides: one slot less in any channel makes the design slower or stops it.

before:  c1_window: stream u8[784, 25] lanes=1 repeat=6 depth=5 = window(image, ...)
after:   c1_window: stream u8[784, 25] lanes=1 repeat=6 depth=4 = window(image, ...)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import numpy as np

from irc.actor import stream
from irc.dataflow.depths import at_depths
from irc.dataflow.law import DeadlockError, Network, solve
from irc.dataflow.periodic import PeriodicSchedule
from irc.dataflow.timing import channel_names, firing_limit, law_network
from irc.graph import Graph
from irc.pipeline.step import Context, Contract, Exact, Pass, option
from irc.types import Level

PATIENCE = 12  # sweeps before a depth counts as too small: more find next to nothing, and cost time at each failure
RUN_IN = 64  # frames in which a design has to settle


@dataclass(frozen=True, slots=True)
class SizeFifos(Pass):
    """Set the depth of every FIFO to the least that keeps the throughput of the busiest actor."""

    keeps: ClassVar[Contract] = Exact()
    requires: ClassVar[Level | None] = Level.DATAFLOW
    exact: bool = field(default=False, metadata=option("lower every depth until one slot less would cost throughput"))

    def run(self, graph: Graph, context: Context) -> Graph:
        if context.trial:
            return graph
        network, order = law_network(graph), heaviest_first(graph)
        period = firing_limit(network)
        depths = sufficient_depths(network, period, order)
        if self.exact:
            depths = least_depths(network, period, depths)
        for name in channel_names(graph):
            context.note("fifo depth", depths[name], node=name)
        context.note("interval", period)
        context.note("fifo bits", sum(depth * stream(graph, name).width for name, depth in depths.items()))
        return at_depths(graph, depths)


def heaviest_first(graph: Graph) -> list[str]:
    """Channels by the bits they carry in a frame: a token that waits for a given time costs so much memory."""
    types = {name: stream(graph, name) for name in channel_names(graph)}
    return sorted(types, key=lambda name: -types[name].tokens * types[name].width)


def sufficient_depths(network: Network, period: int, order: Sequence[str]) -> dict[str, int]:
    """Small depths with which the network runs at one frame every `period` cycles, in the order of their choice."""
    schedule, depths = PeriodicSchedule(network, period), dict[str, int]()
    least, first = structural_depths(network), first_guesses(network)
    for name in order:
        held = schedule.needed_depth(name)
        schedule.limit(name, held, PATIENCE)  # changes no start, but holds from now on
        holds = partial(schedule.limit, name, patience=PATIENCE)
        depths[name] = smallest(holds, least[name], held, min(first[name], held - 1))
    return depths


def smallest(holds: Callable[[int], bool], low: int, high: int, middle: int) -> int:
    """The least number from `low` on that holds, when `high` does, by bisection; `middle` is the first guess."""
    while low < high:
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
        middle = (low + high) // 2
    return high


def first_guesses(network: Network) -> dict[str, int]:
    """Of each channel: what its consumer needs to fire, and the slots that a round trip at full rate keeps busy."""
    latency = {out.channel: actor.latency for actor in network.actors for out in actor.outputs}
    return {name: least + latency[name] + 1 for name, least in structural_depths(network).items()}


def structural_depths(network: Network) -> dict[str, int]:
    """Of each channel: the most tokens that a firing of its consumer needs at once."""
    return {put.channel: int(np.max(put.needs - np.concatenate(([0], put.releases[:-1])), initial=1))
            for actor in network.actors for put in actor.inputs}


def least_depths(network: Network, period: int, depths: Mapping[str, int]) -> dict[str, int]:
    """Depths none of which can be lowered alone, from depths that suffice."""
    found, least = dict(depths), structural_depths(network)
    for name, depth in depths.items():
        found[name] = smallest(partial(keeps_interval, network, period, found, name), least[name], depth, depth - 1)
    return found


def keeps_interval(network: Network, period: int, depths: Mapping[str, int], name: str, depth: int) -> bool:
    """Whether the network settles at `period` cycles a frame when the FIFO `name` has another depth."""
    changed = {**depths, name: depth}
    channels = tuple(replace(c, depth=changed[c.name]) for c in network.channels)
    try:
        schedule = solve(replace(network, channels=channels), RUN_IN)
    except DeadlockError:
        return False
    return schedule.period > 0 and schedule.interval <= period
