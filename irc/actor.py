"""What an actor is: an op on streams with a static firing schedule (cyclo-static dataflow).

The timing law (docs/timing.md): firing i of an actor starts in the first cycle in which firing i-1 has started, every
token it needs has arrived at least one cycle ago, and every channel it produces into has a free slot, tokens in flight
counted. Its results arrive `latency` cycles after the start. `Firings` holds what is static about that: which firing
needs, releases and produces which tokens of a frame.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from irc.graph import Constant, Graph, Node
from irc.operation import Op
from irc.types import IntArray, StreamType


@dataclass(frozen=True, slots=True)
class Firings:
    """Schedule of one frame; every array is [count] and counts tokens of this frame, non-decreasing where cumulative.

    `needs[k][i]`: tokens of input k that must have arrived before firing i starts.
    `releases[k][i]`: tokens of input k given back once firing i has started (cumulative).
    `produces[k][i]`: tokens of output k made by firings up to and including i (cumulative, at most one a firing).
    """

    count: int
    needs: tuple[IntArray, ...]
    releases: tuple[IntArray, ...]
    produces: tuple[IntArray, ...]
    latency: int

    def least_depth(self, k: int) -> int:
        """Smallest FIFO depth of input k with which the actor can fire at all."""
        before = np.concatenate(([0], self.releases[k][:-1]))
        return int(np.max(self.needs[k] - before, initial=1))


class Actor(Op):
    """Base of the dataflow ops. Stream operands come first, constants (ROM contents) after them."""

    __slots__ = ()

    @abstractmethod
    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        """The static schedule of one frame, from the channels and the constants."""


def one_to_one(count: int, latency: int, outputs: int = 1) -> Firings:
    """Every firing takes one token from its input and makes one on each output."""
    ramp = np.arange(1, count + 1, dtype=np.int64)
    return Firings(count, (ramp,), (ramp,), (ramp,) * outputs, latency)


def stream_operands(graph: Graph, node: Node) -> tuple[str, ...]:
    """The channels an actor reads, in order."""
    return tuple(o for o in node.operands if o not in graph.constants)


def rom_operands(graph: Graph, node: Node) -> tuple[Constant, ...]:
    """The constants an actor reads, in order."""
    return tuple(graph.constants[o] for o in node.operands if o in graph.constants)


def node_firings(graph: Graph, node: Node) -> Firings:
    """The schedule of a node of a dataflow graph."""
    assert isinstance(node.op, Actor), f"{node.op.name} is no actor"
    inputs = [stream(graph, o) for o in stream_operands(graph, node)]
    return node.op.firings(inputs, [stream(graph, r) for r in node.results], rom_operands(graph, node))


def stream(graph: Graph, name: str) -> StreamType:
    """The type of a value that is known to be a channel."""
    found = graph.types[name]
    assert isinstance(found, StreamType), f"{name} is a tensor"
    return found
