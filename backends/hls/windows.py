"""Windows: index arithmetic inside the consumer, never a feature map of overlapping copies.

A fused window costs one small array: the neighbourhood of the position at hand, which all row groups of a dot product
share. It is refilled for every position by a gather function that walks the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends.hls.site import Code, Feed, Site
from backends.hls.statements import PIPELINE, UNROLL, Lines, counter, function, index, loop, partition
from backends.hls.storage import literal, stored_type
from irc.ops.window import Window


def is_identity(window: Window) -> bool:
    """Whether every element comes out where it went in: the re-reading buffer of a dense layer."""
    return window.kernel == window.strides == (1, 1) and not any(window.pads)


def element(feed: Feed, at: str) -> str:
    """Element `at` of the position at hand."""
    return f"patch[{at}]" if feed.window else f"x[{index((position(feed), feed.stream.elements), (at, 1))}]"


def position(feed: Feed) -> str:
    return counter("position", feed.stream.positions)


def each_position(site: Site, body: Sequence[str], *pragmas: str) -> Lines:
    """Loops over the positions of the first input, around code that reads it with `element`."""
    feed = site.feed
    if feed.window is None:
        return loop("position", feed.stream.positions, body, *pragmas)
    window, (rows, columns) = feed.window, feed.window.output_size
    blocks = feed.stream.positions // (rows * columns)
    place = index((counter("row", rows), columns * blocks), (counter("column", columns), blocks),
                  (counter("block", blocks), 1))
    arguments = ["x", *_coordinates(window, feed), "patch"]
    inner = [f"const int32_t position = {place};"] if feed.stream.positions > 1 else []
    inner += [f"{site.name}_gather({', '.join(arguments)});", *body]
    nest = inner
    for name, bound in (("block", blocks), ("column", columns), ("row", rows)):
        nest = loop(name, bound, nest, *pragmas)
        pragmas = () if bound > 1 else pragmas
    patch = f"{stored_type(feed.stream.format)} patch[{feed.stream.elements}];"
    return [patch, *partition("patch", feed.stream.lanes), *nest]


def _coordinates(window: Window, feed: Feed) -> list[str]:
    """The loop counters that place the window, those of single trips left out."""
    rows, columns = window.output_size
    bounds = {"row": rows, "column": columns, "block": feed.stream.positions // (rows * columns)}
    return [name for name, bound in bounds.items() if bound > 1]


def gather(site: Site) -> Lines:
    """The function that fills `patch` with the neighbourhood of one position; nothing without a fused window."""
    feed, window = site.feed, site.feed.window
    if window is None:
        return []
    form = stored_type(feed.stream.format)
    places = [f"int32_t {name}" for name in _coordinates(window, feed)]
    parameters = [feed.buffer.parameter("x", readonly=True), *places, f"{form} patch[{feed.stream.elements}]"]
    return [*function(f"static void {site.name}_gather({', '.join(parameters)})", _walk(feed, window)), ""]


def _walk(feed: Feed, window: Window) -> Lines:
    """Kernel rows, kernel columns, blocks of channels, lanes."""
    width = window.block or window.channels
    lanes = feed.stream.lanes // window.taps
    count = width // lanes
    channel = ((counter("channel", count), lanes), (counter("lane", lanes), 1))
    read = index(("map_row", window.size[1] * window.channels), ("map_column", window.channels),
                 (counter("block", window.channels // width), width), *channel)
    tap = index((counter("tap_row", window.kernel[0]), window.kernel[1] * width),
                (counter("tap_column", window.kernel[1]), width), *channel)
    copy = loop("lane", lanes, [f"patch[{tap}] = {_guarded(feed, window, read)};"], UNROLL)
    body = [*_map_place(window), *loop("channel", count, copy, PIPELINE)]
    inner = loop("tap_column", window.kernel[1], body, *([PIPELINE] if count == 1 else []))
    return loop("tap_row", window.kernel[0], inner)


def _map_place(window: Window) -> Lines:
    """Row and column of the feature map under a tap, and whether they lie on it."""
    lines = []
    for k, axis in enumerate(("row", "column")):
        place = index((counter(axis, window.output_size[k]), window.strides[k]),
                      (counter(f"tap_{axis}", window.kernel[k]), window.dilations[k]))
        shift = f" - {window.pads[k]}" if window.pads[k] else ""
        lines.append(f"const int32_t map_{axis} = {place}{shift};")
    if any(window.pads):
        rows, columns = window.size
        lines.append("const int32_t inside = map_row >= 0 && map_row < "
                     f"{rows} && map_column >= 0 && map_column < {columns} ? 1 : 0;")
    return lines


def _guarded(feed: Feed, window: Window, read: str) -> str:
    target, source = stored_type(feed.stream.format), feed.buffer.type
    value = f"x[{read}]" if source == target else f"({target})x[{read}]"
    if not any(window.pads):
        return value
    return f"({target})(inside != 0 ? {value} : ({target}){literal(window.pad_value)})"


def emit_window(site: Site) -> Code:
    """A window that nothing could take in: its positions one after the other."""
    assert isinstance(site.node.op, Window)
    seen = Site(site.node, site.name, (Feed(site.feed.buffer, site.stream, site.node.op),), site.outputs, site.roms)
    elements, lanes = site.stream.elements, site.stream.lanes
    at = index((counter("element", elements // lanes), lanes), (counter("lane", lanes), 1))
    copy = f"y[{index((position(seen.feed), elements), (at, 1))}] = {element(seen.feed, at)};"
    body = loop("element", elements // lanes, loop("lane", lanes, [copy], UNROLL), PIPELINE)
    return Code(each_position(seen, body), gather(seen))

