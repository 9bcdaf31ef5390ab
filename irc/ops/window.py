"""The line buffer: an actor whose input FIFO is a circular memory that it re-reads in an affine order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from irc.actor import Actor, Firings
from irc.graph import Constant
from irc.operation import DATAFLOW, operation
from irc.ops.linear import conv_sizes
from irc.types import Array, IntArray, StreamType


@dataclass(frozen=True, slots=True)
class Walk:
    """Where each firing of a window reads: `token` [firings, taps] of this frame, -1 where it reads padding."""

    token: IntArray
    releases: IntArray  # [firings], tokens given back after each firing


@operation("window", "x", levels=DATAFLOW)
class Window(Actor):
    """Sliding windows over a raster-order feature map of `size` (rows, columns) with `channels` channels.

    Each firing reads `taps` neighbouring taps of the kernel and makes one token of taps * x.lanes elements.
    block=0: a position is an output pixel, its elements are (tap, channel): what a dot product takes; each position is
    sent `repeat` times. block=x.lanes: a position is (output pixel, block of channels), its elements are (tap, lane):
    what pooling takes. A 1 x 1 kernel makes it the re-reading buffer of a folded dense layer.

    Tokens are given back after each output pixel: all that precede the top left tap of the next pixel. Pixels whose
    window starts in the padding above give nothing back; the last pixel gives back the rest of the frame. A firing that
    gives tokens back waits for them. `pad_value` is what padding reads.
    """

    size: tuple[int, int]
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    pad_value: int = 0
    block: int = 0
    taps: int = 1
    repeat: int = 1

    @property
    def output_size(self) -> tuple[int, int]:
        rows, columns = conv_sizes(self.size, self.kernel, self.strides, self.pads, self.dilations)
        return rows, columns

    def infer(self, x: StreamType) -> StreamType:
        kernel = math.prod(self.kernel)
        if x.positions * x.elements != math.prod(self.size) * self.channels or x.repeat != 1:
            raise TypeError(f"{x} is not a map of {list(self.size)} with {self.channels} channels")
        if self.channels % x.lanes or kernel % self.taps or (self.taps > 1 and x.lanes != self.channels):
            raise TypeError(f"{x.lanes} lanes and {self.taps} taps do not tile {self.channels} channels and {kernel} taps")
        if self.block and (self.block != x.lanes or self.repeat != 1):
            raise TypeError("a window in blocks takes tokens of one block and is not repeated")
        pixels, lanes = math.prod(self.output_size), self.taps * x.lanes
        if self.block:
            return StreamType(x.format, pixels * (self.channels // self.block), kernel * self.block, lanes)
        return StreamType(x.format, pixels, kernel * self.channels, lanes, self.repeat)

    def evaluate(self, x: Array) -> Array:
        count, kernel = len(x), math.prod(self.kernel)
        flat = x.reshape(count, math.prod(self.size), self.channels)
        padded = np.concatenate((flat, np.full((count, 1, self.channels), self.pad_value, flat.dtype)), axis=1)
        picked = padded[:, self.pixel_taps()]  # [samples, pixels, taps, channels]; -1 picks the padding
        if not self.block:
            return picked.reshape(count, -1, kernel * self.channels)
        blocks = picked.reshape(count, -1, kernel, self.channels // self.block, self.block)
        return blocks.swapaxes(2, 3).reshape(count, -1, kernel * self.block)

    def pixel_taps(self) -> IntArray:
        """Input pixel [output pixels, kernel taps] of each tap, -1 in the padding."""
        rows, columns = self.output_size
        y = np.arange(rows)[:, None] * self.strides[0] - self.pads[0] + np.arange(self.kernel[0]) * self.dilations[0]
        x = np.arange(columns)[:, None] * self.strides[1] - self.pads[1] + np.arange(self.kernel[1]) * self.dilations[1]
        inside = ((y >= 0) & (y < self.size[0]))[:, None, :, None] & ((x >= 0) & (x < self.size[1]))[None, :, None, :]
        index = np.where(inside, y[:, None, :, None] * self.size[1] + x[None, :, None, :], -1)
        return index.reshape(rows * columns, -1).astype(np.int64)

    def walk(self, lanes: int) -> Walk:
        """Tokens read and given back by each firing of a frame, for an input of `lanes` lanes."""
        blocks, pixel = self.channels // lanes, self.pixel_taps()
        grouped = pixel.reshape(len(pixel), -1, self.taps)  # [pixels, groups, taps]
        b = np.arange(blocks)
        if self.block:
            token = np.where(grouped[:, None] < 0, -1, grouped[:, None] * blocks + b[:, None, None])
        else:
            token = np.where(grouped[:, :, None] < 0, -1, grouped[:, :, None] * blocks + b[:, None])
            token = np.repeat(token.reshape(len(pixel), 1, -1, self.taps), self.repeat, axis=1)
        steps = token.reshape(len(pixel), -1, self.taps)
        done = self._given_back(blocks)
        releases = np.repeat(np.concatenate(([0], done[:-1])), steps.shape[1])
        releases[steps.shape[1] - 1 :: steps.shape[1]] = done
        return Walk(steps.reshape(-1, self.taps), releases)

    def _given_back(self, blocks: int) -> IntArray:
        """Tokens given back once each output pixel is done."""
        rows, columns = self.output_size
        pixel = np.arange(1, rows * columns, dtype=np.int64)
        top = pixel // columns * self.strides[0] - self.pads[0]
        left = np.clip(pixel % columns * self.strides[1] - self.pads[1], 0, self.size[1])
        total = math.prod(self.size)
        before = np.where(top < 0, 0, np.minimum(top * self.size[1] + left, total))
        return np.concatenate((before, [total])) * blocks

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        walk = self.walk(inputs[0].lanes)
        needs = np.maximum(walk.token.max(axis=1) + 1, walk.releases)  # what is given back must have arrived
        ramp = np.arange(1, len(needs) + 1, dtype=np.int64)
        return Firings(len(needs), (needs,), (walk.releases,), (ramp,), latency=2)
