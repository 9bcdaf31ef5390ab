"""One emitter for each dataflow op: the body of the C function of an actor. A new op is one entry in `EMITTERS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from backends.hls.dot import emit_depthwise, emit_matvec
from backends.hls.elementwise import emit_map, emit_threshold
from backends.hls.site import Code, Feed, Site
from backends.hls.statements import PIPELINE, UNROLL, Lines, counter, index, loop, partition
from backends.hls.storage import INT32, computed_type, converted, stored_type
from backends.hls.windows import each_position, element, emit_window, gather, position
from irc.operation import Op
from irc.ops.depthwise import Depthwise
from irc.ops.matvec import MatVec
from irc.ops.routing import Fork, StreamConcat, Width
from irc.ops.stream_add import StreamAdd
from irc.ops.stream_map import MapAdd, MapClip, MapScale, MapThreshold
from irc.ops.stream_reduce import Embed, Reduce, StreamArgMax
from irc.ops.window import Window

Emitter: TypeAlias = Callable[[Site], Code]


def emit_reduce(site: Site) -> Code:
    """Running maximum or sum of every channel; the last tap stores it."""
    op, lanes = site.node.op, site.feed.stream.lanes
    assert isinstance(op, Reduce)
    work = _reduce_type(site, op)
    channel = index((counter("channel", op.channels // lanes), lanes), (counter("lane", lanes), 1))
    seen = f"{element(site.feed, index((counter('tap', op.taps), op.channels), (channel, 1)))}"
    step = f"best[{channel}] + a" if op.function == "sum" else f"a > best[{channel}] ? a : best[{channel}]"
    seen = converted(seen, stored_type(site.feed.stream.format), work)
    first = f"tap == 0 ? a : ({step})" if op.taps > 1 else "a"
    update = [f"const {work} a = {seen};", f"const {work} unit = {first};", f"best[{channel}] = unit;"]
    store = site.store(index((position(site.feed), op.channels), (channel, 1)), "unit", work)
    last = [f"if (tap == {op.taps - 1}) {{", f"    {store}", "}"] if op.taps > 1 else [store]
    lane = loop("lane", lanes, [*update, *last], UNROLL)
    taps = loop("tap", op.taps, loop("channel", op.channels // lanes, lane, PIPELINE))
    return Code([f"{work} best[{op.channels}];", *partition("best", lanes), *each_position(site, taps)], gather(site))


def _reduce_type(site: Site, op: Reduce) -> str:
    """The type of the running result: a sum of some taps can leave the format that all of them fit."""
    form, count = site.feed.stream.format, op.taps if op.function == "sum" else 1
    return computed_type(count * form.minimum, count * form.maximum)


def emit_argmax(site: Site) -> Code:
    op, form = site.node.op, site.feed.stream.format
    assert isinstance(op, StreamArgMax)
    work = computed_type(form.minimum, form.maximum)
    at = counter("label", op.classes)
    take = [f"const {work} a = ({work}){element(site.feed, at)};",
            "if (label == 0 || a > best) {", "    best = a;", "    unit = label;", "}"]
    search = loop("label", op.classes, take, PIPELINE) if op.classes > 1 else []
    start = [f"{work} best = 0;", "int32_t unit = 0;"] if op.classes > 1 else ["const int32_t unit = 0;", "(void)x;"]
    store = site.store(position(site.feed), "unit", INT32)
    return Code(each_position(site, [*start, *search, store]))


def emit_embed(site: Site) -> Code:
    """Rows of the table; an index behind its end reads the last row, so that no input reads foreign memory."""
    rom, lanes, count = site.roms[site.node.operands[1]], site.stream.lanes, site.stream.elements
    rows = rom.constant.type.shape[0]
    place = counter("position", site.stream.positions)
    work = computed_type(0, max(rows, site.feed.stream.format.maximum))
    guard = f"unit < {rows} ? unit : {rows - 1}"
    row = [f"const {work} unit = ({work})x[{place}];"]
    row += [f"const {work} row = {guard if site.feed.stream.format.maximum >= rows else 'unit'};"]
    at = index((counter("element", count // lanes), lanes), (counter("lane", lanes), 1))
    entry = f"{rom.name}[row][{at}]"
    copy = site.store(index((place, count), (at, 1)), entry, stored_type(rom.format))
    body = loop("element", count // lanes, loop("lane", lanes, [copy], UNROLL), PIPELINE)
    return Code(loop("position", site.stream.positions, [*row, *body]))


def emit_concat(site: Site) -> Code:
    op = site.node.op
    assert isinstance(op, StreamConcat)
    body: Lines = []
    for k, (name, channels) in enumerate(zip(site.inputs(), op.channels, strict=True)):
        body += _part(site, name, site.feeds[k], channels, sum(op.channels[:k]))
    return Code(loop("position", site.stream.positions, body))


def _part(site: Site, name: str, feed: Feed, channels: int, offset: int) -> Lines:
    """One input's channels of a position, stored from channel `offset` on."""
    lanes, total = site.stream.lanes, site.stream.elements
    place = counter("position", site.stream.positions)
    at = index((counter("channel", channels // lanes), lanes), (counter("lane", lanes), 1))
    to = index((place, total), (str(offset), 1), (at, 1))
    source = f"{name}[{index((place, channels), (at, 1))}]"
    copy = site.store(to, source, feed.buffer.type)
    return loop("channel", channels // lanes, loop("lane", lanes, [copy], UNROLL), PIPELINE)


def emit_stream_add(site: Site) -> Code:
    """Two arrays in the same order, element by element."""
    lanes, size = site.feed.stream.lanes, site.feed.buffer.size
    at = index((counter("element", size // lanes), lanes), (counter("lane", lanes), 1))
    forms = [feed.stream.format for feed in site.feeds]
    work = computed_type(sum(f.minimum for f in forms), sum(f.maximum for f in forms))
    terms = [converted(f"{x}[{at}]", feed.buffer.type, work) for x, feed in zip(site.inputs(), site.feeds, strict=True)]
    store = site.store(at, f"({' + '.join(terms)})", work)
    return Code(loop("element", size // lanes, loop("lane", lanes, [store], UNROLL), PIPELINE))


def emit_copy(site: Site) -> Code:
    """The same values in one or more further arrays: each array of the program has one reader."""
    lanes, size = site.feed.stream.lanes, site.feed.buffer.size
    at = index((counter("element", size // lanes), lanes), (counter("lane", lanes), 1))
    source = site.feed.buffer.type
    copies = [f"{y}[{at}] = {converted(f'x[{at}]', source, buffer.type)};"
              for y, buffer in zip(site.results(), site.outputs, strict=True)]
    return Code(loop("element", size // lanes, loop("lane", lanes, copies, UNROLL), PIPELINE))


EMITTERS: dict[type[Op], Emitter] = {
    Window: emit_window,
    MatVec: emit_matvec,
    MapAdd: emit_map,
    MapClip: emit_map,
    MapScale: emit_map,
    MapThreshold: emit_threshold,
    Reduce: emit_reduce,
    StreamArgMax: emit_argmax,
    Embed: emit_embed,
    StreamConcat: emit_concat,
    StreamAdd: emit_stream_add,
    Depthwise: emit_depthwise,
    Fork: emit_copy,
    Width: emit_copy,  # only where it cannot be left out: from an input of the program to an output
}
