"""Where two runs of the same network first differ."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from irc.actor import rom_operands
from irc.backend import Backend
from irc.folder import replace_folder
from irc.graph import Graph, Port
from irc.interpreter import evaluate
from irc.types import Array, StreamType, TensorType


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first element that differs: what holds it (an output, a node, a file), where in it, and both values.

    `index` starts with the sample. `count` elements of all differ. `origin` is the place in the user's model.
    """

    where: str
    index: tuple[int, ...] = ()
    expected: int | float | str = ""
    found: int | float | str = ""
    count: int = 0
    origin: str = ""

    def __str__(self) -> str:
        origin = f" ({self.origin})" if self.origin else ""
        place = f"{list(self.index)}" if self.index else ""
        rest = f", {self.count} elements differ" if self.count else ""
        return f"{self.where}{place}{origin}: expected {self.expected}, found {self.found}{rest}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "index": list(self.index)}


def first_difference(where: str, expected: Array, found: Array, origin: str = "") -> Mismatch | None:
    """The first element that differs, in the order of the samples; None when all are equal."""
    if expected.shape != found.shape:
        return Mismatch(where, expected=f"shape {list(expected.shape)}", found=f"shape {list(found.shape)}",
                        origin=origin)
    different = np.argwhere(expected != found)
    if not len(different):
        return None
    index = tuple(int(i) for i in different[0])
    return Mismatch(where, index, expected[index].item(), found[index].item(), len(different), origin)


def differing_node(upper: Graph, lower: Graph, high: Mapping[str, Array], low: Mapping[str, Array]) -> Mismatch | None:
    """The first value that two graphs both compute in integers, under one name, and that differs.

    Streams are compared with tensors element by element, channels last.
    """
    expected, found = evaluate(upper, high, keep=True), evaluate(lower, low, keep=True)
    for node in lower.nodes:
        maker = upper.producers.get(node.name)
        if maker is None or expected[node.name].dtype.kind == "f" or found[node.name].dtype.kind == "f":
            continue
        a, b = _channels_last(expected[node.name], maker.type), _channels_last(found[node.name], node.type)
        mismatch = first_difference(f"node '{node.name}'", a, b, node.origin) if a.shape == b.shape else None
        if mismatch is not None:
            return mismatch
    return None


def _channels_last(values: Array, type: TensorType | StreamType) -> Array:
    """[samples, positions, channels] of a stream, or of a tensor [samples, 1, C, ...]."""
    if isinstance(type, StreamType) or len(type.shape) < 2:
        return values.reshape(len(values), *values.shape[-2:]) if values.ndim > 2 else values
    moved = np.moveaxis(values, 2, -1)
    return moved.reshape(len(values), -1, moved.shape[-1])


def differing_file(backend: Backend, graph: Graph, folder: Path) -> Mismatch | None:
    """The first file of a design that is not what the backend emits for the graph today."""
    for name, content in sorted(backend.emit(graph).items()):
        wanted = content.encode() if isinstance(content, str) else content
        have = (folder / name).read_bytes() if (folder / name).is_file() else b""
        if have != wanted:
            return _differing_line(name, wanted, have)
    return None


def _differing_line(name: str, wanted: bytes, have: bytes) -> Mismatch:
    try:
        old, new = wanted.decode().splitlines(), have.decode().splitlines()
    except UnicodeDecodeError:
        return Mismatch(f"file {name}", expected=f"{len(wanted)} bytes of the compiler", found=f"{len(have)} others")
    line = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    a, b = (text[line].strip() if line < len(text) else "" for text in (old, new))
    return Mismatch(f"file {name}, line {line + 1}", expected=_around(a, b), found=_around(b, a))


def _around(text: str, other: str, reach: int = 30) -> str:
    """`text` near the first character in which it differs from `other`."""
    at = next((i for i, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), 0)
    return repr(text[max(0, at - reach) : at + reach])


def differing_actor(backend: Backend, graph: Graph, feeds: Mapping[str, Array]) -> Mismatch | None:
    """The first actor whose stream a target gets wrong, found by bisection: ever shorter designs are built and run."""
    expected = evaluate(graph, feeds, keep=True)

    def found(count: int) -> Mismatch | None:
        part = front(graph, count)
        with TemporaryDirectory() as scratch:
            replace_folder(Path(scratch) / "design", backend.emit(part))
            run = backend.run(Path(scratch) / "design", part, {p.name: feeds[p.name] for p in part.inputs},
                              scratch=Path(scratch) / "scratch")
        return next(_stream_mismatches(part, expected, run.outputs), None)

    counts = range(1, len(graph.nodes) + 1)
    at = bisect_left(counts, True, key=lambda count: found(count) is not None)
    return found(counts[at]) if at < len(counts) else None


def _stream_mismatches(graph: Graph, expected: Mapping[str, Array], found: Mapping[str, Array]) -> Iterator[Mismatch]:
    for port in graph.outputs:
        node = graph.producers[port.value]
        mismatch = first_difference(f"stream '{port.value}'", expected[port.value], found[port.name], node.origin)
        if mismatch is not None:
            yield mismatch


def front(graph: Graph, count: int) -> Graph:
    """The first `count` actors; every stream that nothing in them reads becomes an output."""
    nodes = graph.nodes[:count]
    read = {operand for node in nodes for operand in node.operands}
    outputs = tuple(Port(f"{result}_seen", type, result) for node in nodes
                    for result, type in zip(node.results, node.types, strict=True) if result not in read)
    roms = {rom.name: rom for node in nodes for rom in rom_operands(graph, node)}
    inputs = tuple(port for port in graph.inputs if port.name in read)
    return replace(graph, inputs=inputs, outputs=outputs, constants=roms, nodes=nodes)
