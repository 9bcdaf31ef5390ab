"""Element-wise datapaths on streams: one token in, one token out, constants per channel from a small ROM."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, cast

import numpy as np

from irc import expression as ex
from irc.actor import Actor, Firings, one_to_one
from irc.graph import Constant
from irc.operation import DATAFLOW, operation
from irc.ops.matvec import product, weight_variable
from irc.types import Array, Integer, PowerOfTwo, StreamType, TensorType, smallest_integer


class Map(Actor):
    """Shared by all element-wise actors. A constant operand has one entry, or one for each of `channels` channels;
    the channel of an element is its index in the raster modulo `channels`."""

    __slots__ = ()
    channels: int
    columns: ClassVar[bool] = False  # whether constants are [channels, n] (n values for each element)

    @abstractmethod
    def datapath(self, x: ex.Expression, parameters: Sequence[Sequence[ex.Expression]],
                 formats: Sequence[Integer | PowerOfTwo]) -> ex.Expression:
        """One lane's result from its element and, for each constant operand, that channel's values."""

    @abstractmethod
    def compute(self, x: Array, *parameters: Array) -> Array:
        """NumPy meaning; x [samples, positions, channels], parameters [channels or 1] (or [.., n])."""

    @abstractmethod
    def result_format(self, x: Integer) -> Integer:
        """Default format of the result; range analysis may have declared a narrower one."""

    def infer(self, x: StreamType, *parameters: TensorType) -> StreamType:
        total = x.positions * x.elements
        if total % self.channels or self.channels % x.lanes or x.repeat != 1:
            raise TypeError(f"{x} does not hold positions of {self.channels} channels")
        if any(p.shape[0] not in (1, self.channels) for p in parameters):
            raise TypeError(f"constants must have 1 or {self.channels} entries")
        return StreamType(self.result_format(x.format), total // self.channels, self.channels, x.lanes)

    def evaluate(self, x: Array, *parameters: Array) -> Array:
        return self.compute(x.reshape(len(x), -1, self.channels), *(p[0] for p in parameters))

    def lanes(self, x: StreamType, roms: Sequence[Constant]) -> list[ex.Expression]:
        """The datapath of every lane, over variables x<lane> and p<operand>_<lane>_<n>. A constant with one entry for
        all channels, or that fits a single token, is wired in."""
        return [self._lane(x, roms, lane) for lane in range(x.lanes)]

    def _lane(self, x: StreamType, roms: Sequence[Constant], lane: int) -> ex.Expression:
        element = ex.variable(f"x{lane}", x.format.minimum, x.format.maximum)
        values = [[self._parameter(rom, k, lane, n, x.lanes) for n in range(rom.data[0].size)]
                  for k, rom in enumerate(roms)]
        formats = [cast(Integer | PowerOfTwo, rom.type.format) for rom in roms]
        return self.datapath(element, values, formats)

    def _parameter(self, rom: Constant, k: int, lane: int, n: int, lanes: int) -> ex.Expression:
        rows = rom.data.reshape(len(rom.data), -1)[:, n]
        if self.wired(rom, lanes):
            return ex.constant(int(rows[lane % len(rows)]))
        form = rom.type.format
        if isinstance(form, PowerOfTwo):
            return weight_variable(f"p{k}_{lane}_{n}", form)
        mine = rows[lane::lanes]
        return ex.variable(f"p{k}_{lane}_{n}", int(mine.min()), int(mine.max()))

    def wired(self, rom: Constant, lanes: int) -> bool:
        """Whether a constant needs no ROM: every token sees the same values."""
        return len(rom.data) == 1 or lanes == self.channels

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        # FIFO read (beside it the constant ROM), then the datapath
        return one_to_one(inputs[0].tokens, 1 + ex.depth(self.lanes(inputs[0], roms)))


@operation("map_add", "x offset", levels=DATAFLOW)
class MapAdd(Map):
    """x + offset: the bias of a layer whose sums leave the network as they are."""

    channels: int
    to: Integer

    def result_format(self, x: Integer) -> Integer:
        return self.to

    def datapath(self, x: ex.Expression, parameters: Sequence[Sequence[ex.Expression]],
                 formats: Sequence[Integer | PowerOfTwo]) -> ex.Expression:
        return limited(ex.add(x, parameters[0][0]), self.to)

    def compute(self, x: Array, *parameters: Array) -> Array:
        return np.asarray(x + parameters[0])


def limited(e: ex.Expression, to: Integer) -> ex.Expression:
    """The same expression with the range that range analysis proved, which intervals alone do not see."""
    if (to.minimum <= e.low and e.high <= to.maximum) or not e.operands:
        return e
    return ex.Expression(e.kind, e.operands, max(e.low, to.minimum), min(e.high, to.maximum), e.value, e.name, e.width)


@operation("map_clip", "x", levels=DATAFLOW)
class MapClip(Map):
    """min(max(x, low), high); a ReLU is map_clip with the zero point as low and the format's largest value as high."""

    channels: int
    low: int
    high: int

    def result_format(self, x: Integer) -> Integer:
        low, high = max(self.low, x.minimum), min(self.high, x.maximum)
        return smallest_integer(low, max(low, high))

    def datapath(self, x: ex.Expression, parameters: Sequence[Sequence[ex.Expression]],
                 formats: Sequence[Integer | PowerOfTwo]) -> ex.Expression:
        return ex.clip(x, self.low, self.high)

    def compute(self, x: Array, *parameters: Array) -> Array:
        return np.clip(x, self.low, self.high)


@operation("map_scale", "x multiplier offset", levels=DATAFLOW)
class MapScale(Map):
    """clip((x * multiplier + offset) >> shift) to `to`: requantization, proven equal to the exact rational one.

    A multiplier in a power-of-two format is applied by shifts, a constant one by shift-and-add: no `*` then.
    """

    channels: int
    to: Integer
    shift: int

    def result_format(self, x: Integer) -> Integer:
        return self.to

    def datapath(self, x: ex.Expression, parameters: Sequence[Sequence[ex.Expression]],
                 formats: Sequence[Integer | PowerOfTwo]) -> ex.Expression:
        (multiplier,), (offset,) = parameters
        scaled = ex.add(product(x, multiplier, formats[0]), offset)
        return ex.clip(ex.shift_right(scaled, self.shift), self.to.minimum, self.to.maximum)

    def compute(self, x: Array, *parameters: Array) -> Array:
        return np.asarray(np.clip((x * parameters[0] + parameters[1]) >> self.shift, self.to.minimum, self.to.maximum))


@operation("map_threshold", "x thresholds", levels=DATAFLOW)
class MapThreshold(Map):
    """low + number of thresholds [channels or 1, steps] that are <= x."""

    channels: int
    to: Integer
    low: int

    def result_format(self, x: Integer) -> Integer:
        return self.to

    def datapath(self, x: ex.Expression, parameters: Sequence[Sequence[ex.Expression]],
                 formats: Sequence[Integer | PowerOfTwo]) -> ex.Expression:
        count = ex.tree([ex.at_least(x, t) for t in parameters[0]])
        return limited(ex.add(count, ex.constant(self.low)), self.to)

    def compute(self, x: Array, *parameters: Array) -> Array:
        moved = x.reshape(-1, x.shape[-1]).T if len(parameters[0]) > 1 else x.reshape(1, -1)
        found = np.stack([np.searchsorted(t, v, side="right") for t, v in zip(parameters[0], moved, strict=True)])
        return np.asarray(found.T.reshape(x.shape) + self.low)
