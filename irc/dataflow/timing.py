"""Timing of a dataflow graph: its actors and channels handed to the law, and what the law says handed back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from irc.actor import node_firings, stream, stream_operands
from irc.dataflow.law import (
    Actor,
    Channel,
    Cycles,
    DeadlockError,
    Input,
    Network,
    Output,
    Schedule,
    sink,
    solve,
    source,
)
from irc.diagnostics import error
from irc.graph import Graph, Node


@dataclass(frozen=True, slots=True)
class Timing:
    """When everything happens in a run of some frames; see `Schedule` for the meaning of each number."""

    schedule: Schedule

    @property
    def cycles(self) -> int:
        """Cycles until the last output token of the run has left."""
        return self.schedule.cycles

    @property
    def latency(self) -> int:
        """Cycles until the last output token of the first frame has left."""
        return self.schedule.latency

    @property
    def interval(self) -> Fraction:
        """Steady-state initiation interval, cycles a frame."""
        return self.schedule.interval

    @property
    def utilisation(self) -> dict[str, float]:
        """Fraction of cycles in which each actor fires, by node; ports are `in:<name>` and `out:<name>`."""
        return self.schedule.utilisation

    def handshakes(self, channel: str, frames: int | None = None) -> tuple[Cycles, Cycles]:
        """Arrival and departure cycle of every token on a channel, of the first `frames` frames or of all."""
        return self.schedule.handshakes(channel, frames)


def simulate_timing(graph: Graph, frames: int) -> Timing:
    """The exact timing of `frames` frames back to back. Raises E603 when the actors wait for each other for ever."""
    return solved(law_network(graph), frames)


def solved(network: Network, frames: int) -> Timing:
    """`solve`, with deadlocks as E603."""
    try:
        return Timing(solve(network, frames))
    except DeadlockError as stuck:
        depths = {c.name: c.depth for c in network.channels}
        waits = "; ".join(f"{actor} waits for {what} in {channel} (depth {depths[channel]})"
                          for actor, channel, what in stuck.waits)
        raise error("E603", f"in frame {stuck.frame}, {waits}", node=stuck.waits[0][0],
                    remedy="run size_fifos, which finds depths that never deadlock") from None


def law_network(graph: Graph, earliest: Mapping[str, Cycles] | None = None) -> Network:
    """The law's view of a dataflow graph. `earliest`: cycles before which the environment offers no token, by input."""
    types = {name: stream(graph, name) for name in channel_names(graph)}
    channels = {name: Channel(name, type.tokens, type.depth) for name, type in types.items()}
    given = earliest or {}
    sources = [source(f"in:{p.name}", channels[p.name], given.get(p.name, ())) for p in graph.inputs]
    sinks = [sink(f"out:{p.name}", channels[p.value]) for p in graph.outputs]
    actors = [law_actor(graph, node) for node in graph.nodes]
    return Network((*sources, *actors, *sinks), tuple(channels.values()))


def channel_names(graph: Graph) -> list[str]:
    """All channels, upstream ones first."""
    return [p.name for p in graph.inputs] + [result for node in graph.nodes for result in node.results]


def law_actor(graph: Graph, node: Node) -> Actor:
    """A node as the law sees it."""
    firings, reads = node_firings(graph, node), stream_operands(graph, node)
    inputs = tuple(Input(*put) for put in zip(reads, firings.needs, firings.releases, strict=True))
    outputs = tuple(Output(*out) for out in zip(node.results, firings.produces, strict=True))
    return Actor(node.name, firings.count, firings.latency, inputs, outputs)


def interval_limit(graph: Graph) -> int:
    """The fewest cycles a frame can take: the most firings of any actor, or tokens on any port."""
    return firing_limit(law_network(graph))


def firing_limit(network: Network) -> int:
    """`interval_limit` of a network."""
    return max(actor.count for actor in network.actors)
