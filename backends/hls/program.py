"""The plan of a program: which channels become arrays, which windows move into their consumers, what calls what."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from backends.hls.identifiers import Names
from backends.hls.site import Feed, Site
from backends.hls.storage import Buffer, Rom, stored_type
from backends.hls.windows import is_identity
from irc.actor import stream
from irc.graph import Constant, Graph, Node, Port
from irc.ops.depthwise import Depthwise
from irc.ops.matvec import MatVec
from irc.ops.routing import Fork, Width
from irc.ops.stream_map import Map, MapThreshold
from irc.ops.stream_reduce import Embed, Reduce, StreamArgMax
from irc.ops.window import Window
from irc.types import StreamType


@dataclass(frozen=True, slots=True)
class Channel:
    """An array inside the top function, with what its pragmas say. `in_order` tells that its one reader takes every
    element once and in order, so that synthesis may make it a FIFO."""

    buffer: Buffer
    lanes: int
    depth: int
    in_order: bool


@dataclass(frozen=True, slots=True)
class Program:
    """Everything the files are written from. `stem` begins all file names; `top` is the function to synthesize."""

    graph: Graph
    stem: str
    top: str
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    channels: tuple[Channel, ...]
    sites: tuple[Site, ...]
    roms: tuple[Rom, ...]


def stem(graph: Graph) -> str:
    """What all files of a graph's program are called."""
    return Names().fresh(graph.name)


def plan(graph: Graph) -> Program:
    return _Planner(graph).program()


def grouping(node: Node, x: StreamType) -> StreamType:
    """An input as its consumer cuts it into positions: the elements of one step of its outermost loop."""
    match node.op:
        case Reduce(taps=taps, channels=channels):
            group = taps * channels
        case StreamArgMax(classes=classes):
            group = classes
        case Map(channels=channels):
            group = channels
        case Embed():
            group = 1
        case _:
            group = x.elements
    return replace(x, positions=x.positions * x.elements // group, elements=group)


def fused(graph: Graph, node: Node) -> bool:
    """Whether a window moves into its consumer: a product or reduction that takes it position by position."""
    users = graph.users[node.name]
    if not isinstance(node.op, Window) or len(users) != 1 or graph.is_output(node.name):
        return False
    x = stream(graph, node.name)
    return isinstance(users[0].op, MatVec | Reduce | Depthwise) and grouping(users[0], x).elements == x.elements


def reads_table(node: Node, constant: Constant) -> bool:
    """Whether an actor reads a constant from a ROM. Wired weights and what all channels share stand in the code."""
    match node.op:
        case MatVec(wired=wired):
            return not wired
        case MapThreshold():
            return True
        case Map():
            return len(constant.data) > 1
        case _:
            return True


def _reads_in_order(node: Node, x: StreamType) -> bool:
    """Whether an actor takes each element of an array once, in order."""
    return not isinstance(node.op, Window) and x.repeat == 1


@dataclass(slots=True)
class _Planner:
    """Resolves values to arrays in one pass over the nodes."""

    graph: Graph
    names: Names = field(default_factory=Names)
    stem: str = ""
    alias: dict[str, str] = field(default_factory=dict)  # values that are another value's array
    windows: dict[str, Node] = field(default_factory=dict)  # results of fused windows
    buffers: dict[str, Buffer] = field(default_factory=dict)
    roms: dict[str, Rom] = field(default_factory=dict)

    def program(self) -> Program:
        graph = self.graph
        self.stem = self.names.fresh(graph.name)
        top = self.names.fresh(self.stem, "_top")
        self._resolve()
        inputs = tuple(map(self._parameter, graph.inputs))
        self.buffers.update(zip((p.name for p in graph.inputs), inputs, strict=True))
        outputs, claimed = self._outputs()
        made = [node for node in graph.nodes if node.name not in self.alias and node.name not in self.windows]
        for value in (result for node in made for result in node.results if result not in self.buffers):
            self.buffers[value] = self._channel_buffer(value)
        sites = (*(self._site(node) for node in made), *self._copies(outputs, claimed))
        inner = {r: self.buffers[r] for node in made for r in node.results if self.buffers[r] not in outputs}
        channels = tuple(self._channels(inner))
        return Program(graph, self.stem, top, inputs, outputs, channels, sites, tuple(self._tables(sites)))

    def _resolve(self) -> None:
        for node in self.graph.nodes:
            if isinstance(node.op, Width) or (isinstance(node.op, Window) and is_identity(node.op)):
                self.alias[node.name] = self.root(node.operands[0])
            elif fused(self.graph, node):
                self.windows[node.name] = node

    def root(self, value: str) -> str:
        """The value whose array holds `value`."""
        return self.alias.get(value, value)

    def _parameter(self, port: Port) -> Buffer:
        """The parameter of the top function for a port."""
        assert isinstance(port.type, StreamType), "dataflow ports are streams"
        return Buffer(self.names.fresh(port.name), port.type.format, port.type.positions * port.type.elements)

    def _channel_buffer(self, value: str) -> Buffer:
        kind = stream(self.graph, value)
        return Buffer(self.names.fresh(value), kind.format, kind.positions * kind.elements)

    def _outputs(self) -> tuple[tuple[Buffer, ...], tuple[bool, ...]]:
        """Output parameters, and whether an actor stores straight into each: not so for a value that is an input, is
        shown twice, or has another C type."""
        buffers, claimed = [], []
        for port in self.graph.outputs:
            root, made = self.root(port.value), self._parameter(port)
            direct = root not in self.buffers and made.type == stored_type(stream(self.graph, root).format)
            if direct:
                self.buffers[root] = made
            buffers.append(made)
            claimed.append(direct)
        return tuple(buffers), tuple(claimed)

    def _copies(self, outputs: tuple[Buffer, ...], claimed: tuple[bool, ...]) -> Iterator[Site]:
        """Copies into the outputs that no actor stores into."""
        for port, buffer, direct in zip(self.graph.outputs, outputs, claimed, strict=True):
            if not direct:
                assert isinstance(port.type, StreamType)
                source = Feed(self.buffers[self.root(port.value)], port.type)
                node = Node((port.name,), Fork(1), (port.value,), (port.type,))
                yield Site(node, self.names.fresh(port.name, "_copy"), (source,), (buffer,), {})

    def _site(self, node: Node) -> Site:
        constants = self.graph.constants
        feeds = tuple(self._feed(node, o) for o in node.operands if o not in constants)
        roms = {o: self._rom(o) for o in node.operands if o in constants}
        outputs = tuple(self.buffers[r] for r in node.results)
        return Site(node, self.names.fresh(node.name, f"_{node.op.name}"), feeds, outputs, roms)

    def _feed(self, node: Node, operand: str) -> Feed:
        seen = grouping(node, stream(self.graph, operand))
        window = self.windows.get(operand)
        if window is None:
            return Feed(self.buffers[self.root(operand)], seen)
        assert isinstance(window.op, Window)
        return Feed(self.buffers[self.root(window.operands[0])], seen, window.op)

    def _rom(self, constant: str) -> Rom:
        if constant not in self.roms:
            self.roms[constant] = Rom(self.names.fresh(constant, "_rom"), self.graph.constants[constant])
        return self.roms[constant]

    def _tables(self, sites: Iterable[Site]) -> Iterator[Rom]:
        """The ROMs that some actor reads; other constants are part of the code."""
        read = {o for site in sites for o, rom in site.roms.items() if reads_table(site.node, rom.constant)}
        return (rom for constant, rom in self.roms.items() if constant in read)

    def _channels(self, inner: Mapping[str, Buffer]) -> Iterator[Channel]:
        """The arrays of the top function. An array that is read at several widths is spread for the widest."""
        widths: dict[str, list[int]] = {}
        for alias, root in self.alias.items():
            widths.setdefault(root, []).append(stream(self.graph, alias).lanes)
        for value, buffer in inner.items():
            kind, users = stream(self.graph, value), self.graph.users[value]
            direct = value not in widths and all(_reads_in_order(user, kind) for user in users)
            yield Channel(buffer, math.lcm(kind.lanes, *widths.get(value, ())), kind.depth, direct and bool(users))
