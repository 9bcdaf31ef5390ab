"""Actors that only move tokens: fork, concat, width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from irc.actor import Actor, Firings, one_to_one
from irc.graph import Constant
from irc.operation import DATAFLOW, operation
from irc.types import Array, StreamType


@operation("fork", "x", levels=DATAFLOW)
class Fork(Actor):
    """The same tokens on `ways` channels; fires when all have room."""

    ways: int

    def infer(self, x: StreamType) -> tuple[StreamType, ...]:
        return (replace(x, depth=2),) * self.ways

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        return (x,) * self.ways

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        return one_to_one(inputs[0].tokens, 1, self.ways)


@operation("stream_concat", "inputs*", levels=DATAFLOW)
class StreamConcat(Actor):
    """Channels joined, position by position: all of the first input's, then the second's, ... `channels` gives the
    channel count of each input."""

    channels: tuple[int, ...]

    def infer(self, *inputs: StreamType) -> StreamType:
        totals = [x.positions * x.elements for x in inputs]
        if len(inputs) != len(self.channels) or any(t % c for t, c in zip(totals, self.channels, strict=True)):
            raise TypeError(f"{len(inputs)} inputs do not hold {list(self.channels)} channels")
        positions = {t // c for t, c in zip(totals, self.channels, strict=True)}
        lanes = {x.lanes for x in inputs}
        if len(positions) > 1 or len(lanes) > 1 or len({x.format for x in inputs}) > 1:
            raise TypeError("inputs differ in positions, lanes or format: " + ", ".join(str(x) for x in inputs))
        if any(c % inputs[0].lanes for c in self.channels) or any(x.repeat != 1 for x in inputs):
            raise TypeError(f"{inputs[0].lanes} lanes do not tile {list(self.channels)} channels")
        return StreamType(inputs[0].format, positions.pop(), sum(self.channels), inputs[0].lanes)

    def evaluate(self, *inputs: Array) -> Array:
        return np.concatenate([x.reshape(len(x), -1, c) for x, c in zip(inputs, self.channels, strict=True)], axis=2)

    def schedule(self, lanes: int) -> list[int]:
        """Which input each firing of a position reads."""
        return [k for k, c in enumerate(self.channels) for _ in range(c // lanes)]

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        source = np.tile(self.schedule(inputs[0].lanes), outputs[0].positions)
        taken = tuple(np.cumsum(source == k, dtype=np.int64) for k in range(len(inputs)))
        ramp = np.arange(1, len(source) + 1, dtype=np.int64)
        return Firings(len(source), taken, taken, (ramp,), latency=2)


@operation("width", "x", levels=DATAFLOW)
class Width(Actor):
    """The same elements with `lanes` a token: tokens are cut into equal parts, or joined. Where `lanes` does not divide
    the elements of a position, a token becomes a position of its own."""

    lanes: int

    def infer(self, x: StreamType) -> StreamType:
        total = x.positions * x.elements
        if (x.lanes % self.lanes and self.lanes % x.lanes) or x.repeat != 1 or total % self.lanes:
            raise TypeError(f"{x} cannot be changed to {self.lanes} lanes in one step")
        if x.elements % self.lanes:
            return StreamType(x.format, total // self.lanes, self.lanes, self.lanes)
        return replace(x, lanes=self.lanes, depth=2)

    def evaluate(self, x: Array) -> Array:
        return x if x.shape[2] % self.lanes == 0 else x.reshape(len(x), -1, self.lanes)

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        lanes = inputs[0].lanes
        if lanes >= self.lanes:  # cut: each token is read once for each part, given back with the last
            parts = lanes // self.lanes
            ramp = np.arange(1, outputs[0].tokens + 1, dtype=np.int64)
            return Firings(len(ramp), ((ramp + parts - 1) // parts,), (ramp // parts,), (ramp,), latency=2)
        joined = self.lanes // lanes
        ramp = np.arange(1, inputs[0].tokens + 1, dtype=np.int64)
        return Firings(len(ramp), (ramp,), (ramp,), (ramp // joined,), latency=2)
