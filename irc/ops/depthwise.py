"""Depthwise convolution behind a window: every channel has its own dot product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from irc import expression as ex
from irc.actor import Actor, Firings
from irc.graph import Constant
from irc.operation import DATAFLOW, operation
from irc.ops.linear import product_format
from irc.ops.matvec import product, weight_variable
from irc.rom import is_banked
from irc.types import Array, Float, Integer, PowerOfTwo, StreamType, TensorType


@operation("depthwise", "x weight", levels=DATAFLOW)
class Depthwise(Actor):
    """weight [channels, taps] times windows in blocks: a token is one tap of x.lanes channels, and the last tap of a
    window makes a token of as many sums."""

    def infer(self, x: StreamType, weight: TensorType) -> StreamType:
        channels, taps = weight.shape
        if isinstance(weight.format, Float):
            raise TypeError("weights must be integers")
        total = x.positions * x.elements
        if x.repeat != 1 or x.elements != taps * x.lanes or channels % x.lanes or total % weight.size:
            raise TypeError(f"{x} does not hold windows of {taps} taps for blocks of {channels} channels")
        form = cast(Integer, product_format(x.format, weight.format, taps))
        return StreamType(form, total // weight.size, channels, x.lanes)

    def evaluate(self, x: Array, weight: Array) -> Array:
        channels, taps = weight.shape[1:]
        lanes = x.shape[2] // taps
        blocks = x.reshape(len(x), -1, channels // lanes, taps, lanes)
        sums = np.einsum("npbtl,blt->npbl", blocks, weight[0].reshape(-1, lanes, taps))
        return np.asarray(sums.reshape(len(x), -1, channels))

    def products(self, x: StreamType, weight: Constant) -> list[ex.Expression]:
        """The product of each lane, over variables x<lane> and w<lane>."""
        form = cast(Integer | PowerOfTwo, weight.type.format)
        inputs = [ex.variable(f"x{i}", x.format.minimum, x.format.maximum) for i in range(x.lanes)]
        return [product(a, weight_variable(f"w{i}", form), form) for i, a in enumerate(inputs)]

    def rom_shape(self, x: StreamType, weight: Constant) -> tuple[int, int]:
        """Words and bits of the weight ROM: for each block, a word a tap."""
        return weight.data.size // x.lanes, x.lanes * cast(Integer | PowerOfTwo, weight.type.format).bits

    def read_latency(self, x: StreamType, weight: Constant) -> int:
        """Cycles until token and weights stand in registers: FIFO and ROM read, register, multiplexer of a deep ROM."""
        return 2 + is_banked(*self.rom_shape(x, weight))

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        x, weight = inputs[0], roms[0]
        taps = weight.type.shape[1]
        ramp = np.arange(1, x.tokens + 1, dtype=np.int64)
        latency = self.read_latency(x, weight) + ex.depth(self.products(x, weight)) + (taps > 1)
        return Firings(x.tokens, (ramp,), (ramp,), (ramp // taps,), latency)
