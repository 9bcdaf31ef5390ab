"""Actors that take many tokens to one: reduce (pooling) and argmax; and embed, which makes many of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from irc.actor import Actor, Firings
from irc.diagnostics import error
from irc.graph import Constant
from irc.operation import DATAFLOW, operation
from irc.rom import is_banked
from irc.types import Array, Float, Integer, StreamType, TensorType, smallest_integer


@operation("reduce", "x", levels=DATAFLOW)
class Reduce(Actor):
    """Maximum or sum over `taps` consecutive vectors of `channels` channels: pooling behind a window, or over time."""

    taps: int
    channels: int
    function: Literal["max", "sum"] = "max"

    def infer(self, x: StreamType) -> StreamType:
        total = x.positions * x.elements
        if total % (self.taps * self.channels) or self.channels % x.lanes or x.repeat != 1:
            raise TypeError(f"{x} does not hold groups of {self.taps} vectors of {self.channels} channels")
        form = x.format
        if self.function == "sum":
            form = smallest_integer(self.taps * form.minimum, self.taps * form.maximum)
        return StreamType(form, total // (self.taps * self.channels), self.channels, x.lanes)

    def evaluate(self, x: Array) -> Array:
        groups = x.reshape(len(x), -1, self.taps, self.channels)
        return np.asarray(groups.max(axis=2) if self.function == "max" else groups.sum(axis=2))

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        blocks = self.channels // inputs[0].lanes
        ramp = np.arange(1, inputs[0].tokens + 1, dtype=np.int64)
        makes = (ramp - 1) // blocks % self.taps == self.taps - 1
        return Firings(len(ramp), (ramp,), (ramp,), (np.cumsum(makes, dtype=np.int64),), latency=2)


@operation("stream_argmax", "x", levels=DATAFLOW)
class StreamArgMax(Actor):
    """Index of the first largest of every `classes` elements; takes one lane."""

    classes: int

    def infer(self, x: StreamType) -> StreamType:
        if x.lanes != 1 or x.repeat != 1 or x.positions * x.elements % self.classes:
            raise TypeError(f"{x} does not hold vectors of {self.classes} elements, one a token")
        form = Integer(False, max(1, (self.classes - 1).bit_length()))
        return StreamType(form, x.positions * x.elements // self.classes, 1)

    def evaluate(self, x: Array) -> Array:
        return np.asarray(np.argmax(x.reshape(len(x), -1, self.classes), axis=2, keepdims=True))

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        ramp = np.arange(1, inputs[0].tokens + 1, dtype=np.int64)
        return Firings(len(ramp), (ramp,), (ramp,), (ramp // self.classes,), latency=2)


@operation("embed", "x table", levels=DATAFLOW)
class Embed(Actor):
    """Rows of a table [rows, elements] picked by token ids; `lanes` elements a token."""

    lanes: int = 1

    def infer(self, x: StreamType, table: TensorType) -> StreamType:
        if not isinstance(table.format, Integer) or isinstance(table.format, Float):
            raise TypeError(f"a table holds integers, not {table.format}")
        if x.lanes != 1 or x.format.signed or table.shape[1] % self.lanes or x.repeat != 1:
            raise TypeError(f"{x} does not index {table} at {self.lanes} lanes")
        return StreamType(table.format, x.positions * x.elements, table.shape[1], self.lanes)

    def evaluate(self, x: Array, table: Array) -> Array:
        if x.size and x.max() >= table.shape[1]:
            raise error("E401", f"token id {x.max()} is outside a table of {table.shape[1]} rows", operator="embed")
        return np.asarray(table[0][x.reshape(len(x), -1)])

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        blocks = outputs[0].blocks
        ramp = np.arange(1, outputs[0].tokens + 1, dtype=np.int64)
        # FIFO read, row address, ROM read; of a deep table, register and multiplexer
        latency = 5 if is_banked(len(roms[0].data) * blocks, outputs[0].width) else 3
        return Firings(len(ramp), ((ramp + blocks - 1) // blocks,), (ramp // blocks,), (ramp,), latency)
