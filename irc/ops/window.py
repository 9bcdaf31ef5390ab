"""The line buffer: an actor whose input FIFO is a circular memory that it re-reads in an affine order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from irc.actor import Actor, Firings
from irc.graph import Constant
from irc.operation import DATAFLOW, operation
from irc.ops.linear import conv_sizes
from irc.types import Array, IntArray, StreamType


@operation("window", "x", levels=DATAFLOW)
class Window(Actor):
    """Sliding windows over a raster-order feature map of `size` (rows, columns) with `channels` channels.

    Each firing reads `taps` neighbouring taps of the kernel (part of a row, or whole rows; more than one only when a
    token is a whole pixel) and makes one token of taps * x.lanes elements.
    block=0: a position is an output pixel, its elements are (tap, channel): what a dot product takes; each position is
    sent `repeat` times. block=x.lanes: a position is (output pixel, block of channels), its elements are (tap, lane):
    what pooling takes. A 1 x 1 kernel makes it the re-reading buffer of a folded dense layer.

    A pixel starts once its whole window has arrived, and gives back what precedes the top left tap of the next pixel
    when it ends; pixels whose window starts in the padding above give nothing back; the last one waits for the rest of
    the frame and gives it back. A 1 x 1 window without stride (`is_buffer`) works token by token: the first pass waits
    for each, the last pass gives each back. `pad_value` is what padding reads.
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
        columns = self.kernel[1]
        tiled = columns % self.taps == 0 or (self.taps % columns == 0 and kernel % self.taps == 0)
        if self.channels % x.lanes or not tiled or (self.taps > 1 and x.lanes != self.channels):
            raise TypeError(f"{x.lanes} lanes and {self.taps} taps do not tile {self.channels} channels, {kernel} taps")
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

    def reads(self, lanes: int) -> IntArray:
        """Token of the frame that each firing reads at each tap [firings, taps], -1 in the padding, for an input of
        `lanes` lanes."""
        blocks, pixel = self.channels // lanes, self.pixel_taps()
        grouped = pixel.reshape(len(pixel), -1, self.taps)  # [pixels, groups, taps]
        b = np.arange(blocks)
        if self.block:
            token = np.where(grouped[:, None] < 0, -1, grouped[:, None] * blocks + b[:, None, None])
        else:
            token = np.where(grouped[:, :, None] < 0, -1, grouped[:, :, None] * blocks + b[:, None])
            token = np.repeat(token.reshape(len(pixel), 1, -1, self.taps), self.repeat, axis=1)
        return token.reshape(-1, self.taps)

    @property
    def is_buffer(self) -> bool:
        """Whether tokens are only re-read: a 1 x 1 kernel, every pixel in turn."""
        plain = math.prod(self.kernel) == 1 and self.strides == (1, 1) and not any(self.pads)
        return plain and not self.block

    def pixel_needs(self, blocks: int) -> IntArray:
        """Tokens of the frame that must have arrived before each output pixel starts."""
        last = self.pixel_taps().max(axis=1) + 1
        needs = np.asarray(np.maximum.accumulate(last * blocks), np.int64)
        needs[-1] = math.prod(self.size) * blocks
        return needs

    def pixel_releases(self, blocks: int) -> IntArray:
        """Tokens of the frame given back once each output pixel is done."""
        rows, columns = self.output_size
        following = np.arange(1, rows * columns + 1, dtype=np.int64)
        top = following // columns * self.strides[0] - self.pads[0]
        left = np.clip(following % columns * self.strides[1] - self.pads[1], 0, self.size[1])
        before = np.where(top < 0, 0, top * self.size[1] + left) * blocks
        needs = self.pixel_needs(blocks)
        releases: IntArray = np.minimum(before, needs)  # a pixel does not wait for what only the next one skips
        releases[-1] = needs[-1]
        return releases

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        blocks, count = self.channels // inputs[0].lanes, outputs[0].tokens
        ramp = np.arange(1, count + 1, dtype=np.int64)
        if self.is_buffer:
            needs, releases = self._token_by_token(blocks, inputs[0].tokens)
        else:
            steps = count // math.prod(self.output_size)
            done = self.pixel_releases(blocks)
            needs = np.repeat(self.pixel_needs(blocks), steps)
            releases = np.repeat(np.concatenate(([0], done[:-1])), steps)
            releases[steps - 1 :: steps] = done
        # address, line buffer read, register, choice between tap and padding
        return Firings(count, (needs,), (releases,), (ramp,), latency=4)

    def _token_by_token(self, blocks: int, tokens: int) -> tuple[IntArray, IntArray]:
        seen = np.arange(1, tokens + 1, dtype=np.int64).reshape(-1, 1, blocks)  # [positions, passes, blocks]
        needs = np.repeat(seen[:, :, -1:], blocks, axis=2).repeat(self.repeat, axis=1)
        releases = np.repeat(seen[:, :, :1] - 1, blocks, axis=2).repeat(self.repeat, axis=1)
        needs[:, 0], releases[:, -1] = seen[:, 0], seen[:, 0]
        return needs.ravel(), releases.ravel()
