"""Two channels that meet again: the addition at the end of a residual block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc import expression as ex
from irc.actor import Actor, Firings
from irc.graph import Constant
from irc.operation import DATAFLOW, operation
from irc.types import Array, StreamType, smallest_integer


@operation("stream_add", "a b", levels=DATAFLOW)
class StreamAdd(Actor):
    """a + b, element by element, of channels that carry `channels` elements a position in the same order."""

    channels: int

    def infer(self, a: StreamType, b: StreamType) -> StreamType:
        total = a.positions * a.elements
        if total != b.positions * b.elements or a.lanes != b.lanes or a.repeat != 1 or b.repeat != 1:
            raise TypeError(f"{a} and {b} do not carry the same tokens")
        if total % self.channels or self.channels % a.lanes:
            raise TypeError(f"{a} does not hold positions of {self.channels} channels")
        ends = [getattr(a.format, end) + getattr(b.format, end) for end in ("minimum", "maximum")]
        return StreamType(smallest_integer(*ends), total // self.channels, self.channels, a.lanes)

    def evaluate(self, a: Array, b: Array) -> Array:
        shape = (-1, a.shape[1] * a.shape[2] // self.channels, self.channels)
        return np.asarray(a.reshape(shape) + b.reshape(shape))

    def sums(self, a: StreamType, b: StreamType) -> list[ex.Expression]:
        """One addition a lane, over variables a<lane> and b<lane>."""
        ends = [(name, x.format.minimum, x.format.maximum) for name, x in (("a", a), ("b", b))]
        lanes = [[ex.variable(f"{name}{i}", low, high) for name, low, high in ends] for i in range(a.lanes)]
        return [ex.add(*pair) for pair in lanes]

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        ramp = np.arange(1, inputs[0].tokens + 1, dtype=np.int64)
        latency = 1 + ex.depth(self.sums(*inputs))  # FIFO read, then the adder
        return Firings(len(ramp), (ramp, ramp), (ramp, ramp), (ramp,), latency)
