"""The arithmetic of each actor as NumPy code on value arrays [samples, positions, elements]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from irc.actor import rom_operands, stream, stream_operands
from irc.graph import Constant, Graph, Node
from irc.operation import Op
from irc.ops.depthwise import Depthwise
from irc.ops.matvec import MatVec
from irc.ops.routing import Fork, StreamConcat, Width
from irc.ops.stream_add import StreamAdd
from irc.ops.stream_map import MapAdd, MapClip, MapScale, MapThreshold
from irc.ops.stream_reduce import Embed, Reduce, StreamArgMax
from irc.ops.window import Window
from irc.types import StreamType


@dataclass(frozen=True, slots=True)
class Site:
    """One actor to be written: the Python names of the channels it reads, their types, and its constants."""

    reads: tuple[str, ...]
    types: tuple[StreamType, ...]
    roms: tuple[Constant, ...]

    def rom(self, k: int) -> str:
        """A constant as the emitted code finds it."""
        return f"DATA[{self.roms[k].name!r}]"

    def grouped(self, channels: int) -> str:
        """The first input with `channels` elements a position."""
        x, type = self.reads[0], self.types[0]
        return x if type.elements == channels else f"{x}.reshape(len({x}), -1, {channels})"


Writer: TypeAlias = Callable[[Any, Site], Sequence[str]]  # a docstring line, then the lines of the body


def actor_code(graph: Graph, node: Node, reads: Sequence[str]) -> tuple[str, ...]:
    """Docstring and body of the function of an actor."""
    types = tuple(stream(graph, o) for o in stream_operands(graph, node))
    return tuple(WRITERS[type(node.op)](node.op, Site(tuple(reads), types, rom_operands(graph, node))))


def window(op: Window, site: Site) -> Sequence[str]:
    x, (rows, columns), (high, wide) = site.reads[0], op.size, op.kernel
    total = rows * columns * op.channels
    if math.prod(op.output_size) == 1 and not any(op.pads) and op.kernel == op.size and not op.block:
        doc = f"The frame of {total} elements as one position, to be read again."
        return doc, f"return {x}.reshape(len({x}), 1, {total})"
    top, left, bottom, right = op.pads
    (down, across), (dy, dx) = op.strides, op.dilations
    doc = f"Line buffer: {high} x {wide} windows of {rows} x {columns} pixels, stride {down} x {across}."
    lines = [doc, f"pixels = {x}.reshape(len({x}), {rows}, {columns}, {op.channels})"]
    if any(op.pads):
        pads = f"((0, 0), ({top}, {bottom}), ({left}, {right}), (0, 0))"
        lines.append(f"pixels = np.pad(pixels, {pads}, constant_values={op.pad_value})")
    reach = ((high - 1) * dy + 1, (wide - 1) * dx + 1)
    lines.append(f"windows = np.lib.stride_tricks.sliding_window_view(pixels, {reach}, axis=(1, 2))")
    if (down, across, dy, dx) != (1, 1, 1, 1):
        lines.append(f"windows = windows[:, ::{down}, ::{across}, :, ::{dy}, ::{dx}]")
    return [*lines, *_window_order(op)]


def _window_order(op: Window) -> list[str]:
    """Axes of `windows` are [samples, row, column, channel, tap row, tap column]."""
    taps = math.prod(op.kernel)
    if not op.block:
        order, elements = "windows.transpose(0, 1, 2, 4, 5, 3)", taps * op.channels
    else:
        order = f"windows.reshape(*windows.shape[:3], {op.channels // op.block}, {op.block}, {taps}).swapaxes(-1, -2)"
        elements = taps * op.block
    return [f"return {order}.reshape(len(pixels), -1, {elements})"]


def matvec(op: MatVec, site: Site) -> Sequence[str]:
    x, (rows, columns) = site.reads[0], site.roms[0].type.shape
    form = site.types[0].format
    largest = max(-form.minimum, form.maximum) * int(np.abs(site.roms[0].data).sum(axis=1).max())
    doc = f"{rows} dot products of {columns} elements a position."
    weight, vectors = site.rom(0), f"{x}.reshape(-1, {columns})"
    for dtype, bits in (("np.float32", 24), ("np.float64", 53)):
        if largest < 1 << bits:
            proof = f"# no partial sum exceeds {largest} < 2**{bits}, so floating point is exact here and BLAS is fast"
            return (doc, proof, f"sums = {vectors}.astype({dtype}) @ {weight}.T.astype({dtype})",
                    f"return sums.astype(np.int64).reshape(len({x}), -1, {rows})")
    return doc, f"return {x} @ {weight}.T"


def depthwise(op: Depthwise, site: Site) -> Sequence[str]:
    x, (channels, taps), lanes = site.reads[0], site.roms[0].type.shape, site.types[0].lanes
    return (f"A dot product of {taps} taps for each of {channels} channels.",
            f"blocks = {x}.reshape(len({x}), -1, {channels // lanes}, {taps}, {lanes})",
            f"weight = {site.rom(0)}.reshape(-1, {lanes}, {taps}).swapaxes(1, 2)",
            f"return (blocks * weight).sum(axis=3).reshape(len({x}), -1, {channels})")


def stream_add(op: StreamAdd, site: Site) -> Sequence[str]:
    a, b = (f"{x}.reshape(len({x}), -1, {op.channels})" for x in site.reads)
    return f"Sum of two maps of {op.channels} channels.", f"return {a} + {b}"


def map_add(op: MapAdd, site: Site) -> Sequence[str]:
    return f"Adds the constants of {op.channels} channels.", f"return {site.grouped(op.channels)} + {site.rom(0)}"


def map_clip(op: MapClip, site: Site) -> Sequence[str]:
    doc = f"Limits to [{op.low}, {op.high}]."
    return doc, f"return np.clip({site.grouped(op.channels)}, {op.low}, {op.high})"


def map_scale(op: MapScale, site: Site) -> Sequence[str]:
    return (f"Requantizes {op.channels} channels to {op.to}.",
            f"scaled = {site.grouped(op.channels)} * {site.rom(0)} + {site.rom(1)}",
            f"return np.clip(scaled >> {op.shift}, {op.to.minimum}, {op.to.maximum})")


def map_threshold(op: MapThreshold, site: Site) -> Sequence[str]:
    steps = site.roms[0].type.shape[-1]
    doc, x = f"{op.low} and one more for each of {steps} thresholds reached.", site.grouped(op.channels)
    if site.roms[0].type.shape[0] == 1:
        count = f"np.searchsorted({site.rom(0)}[0], {x}, side=\"right\")"
        return doc, f"return {count} + {op.low}" if op.low else f"return {count}"
    return (doc, f"channels = zip(np.moveaxis({x}, -1, 0), {site.rom(0)}, strict=True)",
            'counts = [np.searchsorted(thresholds, x, side="right") for x, thresholds in channels]',
            f"return np.stack(counts, axis=-1) + {op.low}")


def reduce(op: Reduce, site: Site) -> Sequence[str]:
    x, what = site.reads[0], {"max": "Largest", "sum": "Sum"}[op.function]
    return (f"{what} of each {op.taps} vectors of {op.channels} channels.",
            f"return {x}.reshape(len({x}), -1, {op.taps}, {op.channels}).{op.function}(axis=2)")


def argmax(op: StreamArgMax, site: Site) -> Sequence[str]:
    return (f"Index of the first largest of each {op.classes} elements.",
            f"return np.argmax({site.grouped(op.classes)}, axis=2, keepdims=True)")


def embed(op: Embed, site: Site) -> Sequence[str]:
    x, (rows, columns) = site.reads[0], site.roms[0].type.shape
    return f"Looks up rows of a table of {rows} x {columns}.", f"return {site.rom(0)}[{x}.reshape(len({x}), -1)]"


def fork(op: Fork, site: Site) -> Sequence[str]:
    return f"The same tokens {op.ways} times.", f"return {', '.join(site.reads * op.ways)}"


def concat(op: StreamConcat, site: Site) -> Sequence[str]:
    parts = ", ".join(f"{x}.reshape(len({x}), -1, {c})" for x, c in zip(site.reads, op.channels, strict=True))
    return f"Joins {' + '.join(map(str, op.channels))} channels.", f"return np.concatenate(({parts}), axis=2)"


def width(op: Width, site: Site) -> Sequence[str]:
    return f"From {site.types[0].lanes} to {op.lanes} elements a token.", f"return {site.reads[0]}"


WRITERS: dict[type[Op], Writer] = {
    Window: window, MatVec: matvec, MapAdd: map_add, MapClip: map_clip, MapScale: map_scale,
    MapThreshold: map_threshold, Reduce: reduce, StreamArgMax: argmax, Embed: embed, Fork: fork,
    StreamConcat: concat, Width: width, Depthwise: depthwise, StreamAdd: stream_add,
}
