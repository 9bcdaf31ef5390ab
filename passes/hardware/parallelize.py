"""Fold every actor to a target initiation interval, or to a multiplier budget.

A layer of P positions, O rows and K columns takes P * (O / PE) * (K / SIMD) firings a frame; the interval of the design
is the largest number of firings of any actor (the folding of Umuroglu et al. 2017, FINN). For each layer the cheapest
(PE, SIMD) that meets the interval is taken; element-wise actors, pools and joins get the fewest lanes that keep up;
width converters go where neighbours differ. A fully unrolled layer gets its weights wired in.

before:  c1: stream s17[784, 6] lanes=1 = matvec(c1_window, c1_weight)
after:   c1: stream s17[784, 6] lanes=3 = matvec(c1_window, c1_weight, pe=3)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from irc.actor import Actor, node_firings, stream
from irc.dataflow.depths import with_depths
from irc.diagnostics import error
from irc.graph import Constant, Graph, Node
from irc.ops.depthwise import Depthwise
from irc.ops.matvec import MatVec
from irc.ops.routing import Fork, StreamConcat, Width
from irc.ops.stream_add import StreamAdd
from irc.ops.stream_map import Map, MapScale
from irc.ops.stream_reduce import Embed, Reduce, StreamArgMax
from irc.ops.window import Window
from irc.pipeline.step import Context, Contract, Exact, Pass, option
from irc.types import Level, StreamType, Type

DEFAULT_BUDGET = 64  # multipliers, when neither an interval nor a budget is given


@dataclass(frozen=True, slots=True)
class Parallelize(Pass):
    """Choose PE, SIMD and lanes of every actor for a target initiation interval or a multiplier budget."""

    keeps: ClassVar[Contract] = Exact()
    requires: ClassVar[Level | None] = Level.DATAFLOW
    interval: int = field(default=0, metadata=option("target cycles a frame; 0: from `multipliers`", low=0))
    multipliers: int = field(default=0, metadata=option("most multipliers in all layers together; 0: no limit", low=0))
    wired: bool = field(default=True, metadata=option("wire the weights of fully unrolled layers in as constants"))

    def run(self, graph: Graph, context: Context) -> Graph:
        if self.interval and self.multipliers:
            raise error("E304", "interval and multipliers exclude each other", remedy="give one of them")
        target = self.interval or _within_budget(graph, self.multipliers or DEFAULT_BUDGET)
        folded = with_depths(_Folding(graph, target, self.wired).run())
        reached = max([node_firings(folded, n).count for n in folded.nodes]
                      + [stream(folded, p.name).tokens for p in folded.inputs])
        context.note("target interval", target)
        context.note("interval", reached)
        context.note("multipliers", sum(multipliers(folded, n) for n in folded.nodes))
        return folded


def multipliers(graph: Graph, node: Node) -> int:
    """Products a cycle of an actor: PE times SIMD of a layer, lanes of a scaling."""
    if isinstance(node.op, MatVec):
        return node.op.pe * stream(graph, node.operands[0]).lanes
    return stream(graph, node.name).lanes if isinstance(node.op, MapScale | Depthwise) else 0


@dataclass(frozen=True, slots=True)
class Choice:
    """A folding of a layer: lanes of the input, taps a token, rows a cycle; firings a frame, and an area estimate."""

    lanes: int
    taps: int
    pe: int
    firings: int
    area: int


def divisors(n: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)})


def foldings(window: Window, rows: int) -> Iterator[Choice]:
    """Every folding of a window and the dot products behind it."""
    pixels, kernel = math.prod(window.output_size), math.prod(window.kernel)
    whole = [t for t in divisors(kernel) if window.kernel[1] % t == 0 or t % window.kernel[1] == 0]
    shapes = [(lanes, 1) for lanes in divisors(window.channels)] + [(window.channels, t) for t in whole if t > 1]
    for lanes, taps in shapes:
        simd = lanes * taps
        groups = kernel * window.channels // simd
        for pe in divisors(rows):
            # multipliers, an accumulator a row, a copy of the line buffer a tap
            area = 4 * simd * pe + 2 * pe + 2 * (taps - 1) * lanes
            yield Choice(lanes, taps, pe, pixels * groups * (rows // pe), area)


def cheapest(choices: Iterable[Choice], target: int, have: int) -> Choice:
    """The smallest folding that meets the target, next to a producer of `have` lanes; the fastest when none does."""
    found = list(choices)
    near = [c for c in found if c.lanes % have == 0 or have % c.lanes == 0]
    met = [c for c in near if c.firings <= target] or [c for c in found if c.firings <= target]
    if met:
        return min(met, key=lambda c: (c.area, c.firings, c.taps))
    return min(found, key=lambda c: (c.firings, c.area))


def _layers(graph: Graph) -> Iterator[Iterable[Choice]]:
    """The foldings of every layer that multiplies."""
    for node in graph.nodes:
        if isinstance(node.op, MatVec | Depthwise):
            window = graph.producers[node.operands[0]].op
            assert isinstance(window, Window)
            rows, columns = graph.constants[node.operands[1]].data.shape
            yield foldings(window, rows) if isinstance(node.op, MatVec) else blocks(window, columns)


def blocks(window: Window, taps: int) -> Iterator[Choice]:
    """Every folding of a depthwise layer: a multiplier and an accumulator a lane."""
    pixels = math.prod(window.output_size)
    for lanes in divisors(window.channels):
        yield Choice(lanes, 1, 1, pixels * taps * (window.channels // lanes), 6 * lanes)


def _within_budget(graph: Graph, budget: int) -> int:
    """The smallest interval whose cheapest foldings need at most `budget` multipliers (bisection: cost is monotone)."""
    tables = [_table(layer) for layer in _layers(graph)]
    low, high = 1, max((int(table[0].max()) for table in tables), default=1)
    least = sum(int(cost[firings <= high].min()) for firings, cost in tables)
    if least > budget:
        raise error("E304", f"{budget} multipliers are too few: each of the {least} layers needs one",
                    remedy=f"give at least multipliers={least}")
    while low < high:
        middle = (low + high) // 2
        costs = [cost[firings <= middle] for firings, cost in tables]
        fits = all(c.size for c in costs) and sum(int(c.min()) for c in costs) <= budget
        low, high = (low, middle) if fits else (middle + 1, high)
    return low


def _table(choices: Iterable[Choice]) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
    found = [(c.firings, c.lanes * c.taps * c.pe) for c in choices]
    return tuple(np.array(column, np.int64) for column in zip(*found, strict=True))


class _Folding:
    """One rewrite: walks the actors in order, choosing lanes and inserting width converters."""

    def __init__(self, graph: Graph, target: int, wired: bool) -> None:
        self.graph, self.target, self.wired = graph, target, wired
        self.nodes: list[Node] = []
        self.types: dict[str, Type] = {c.name: c.type for c in graph.constants.values()}
        self.types |= {p.name: p.type for p in graph.inputs}
        self.source: dict[str, str] = {}  # what stands for a channel whose width converter was taken out
        self.taken = set(graph.types)

    def run(self) -> Graph:
        inputs = [replace(p, type=self._port(p.name)) for p in self.graph.inputs]
        self.types |= {p.name: p.type for p in inputs}
        for node in self.graph.nodes:
            self._fold(node)
        outputs = [replace(p, value=self.source.get(p.value, p.value)) for p in self.graph.outputs]
        outputs = [replace(p, type=self.types[p.value]) for p in outputs]
        return replace(self.graph, inputs=tuple(inputs), outputs=tuple(outputs), nodes=tuple(self.nodes))

    def _port(self, name: str) -> StreamType:
        """An input port takes the lanes that its reader wants, so that the host sends whole tokens."""
        x, (reader, *_) = stream(self.graph, name), self.graph.users[name] or (None,)
        while reader is not None and isinstance(reader.op, Width | Fork):
            reader = next(iter(self.graph.users[reader.name]), None)
        lanes = 1
        if reader is not None and isinstance(reader.op, Window | Map):
            lanes = self._wanted(reader, 1)
        return replace(x, lanes=lanes if x.elements % lanes == 0 else 1)

    def _wanted(self, node: Node, have: int) -> int:
        """Lanes in which a node takes its first input."""
        op = node.op
        if isinstance(op, Window) and op.block == 0:
            return self._choice(node, have).lanes
        if isinstance(op, Window):
            return self._lanes(op.channels, math.prod(op.output_size) * math.prod(op.kernel), have)
        if isinstance(op, Map | Reduce | StreamAdd):
            x = stream(self.graph, node.operands[0])
            return self._lanes(op.channels, x.positions * x.elements // op.channels, have)
        return 1 if isinstance(op, StreamArgMax) else have

    def _lanes(self, channels: int, vectors: int, have: int) -> int:
        """Fewest lanes of `channels` for `vectors` vectors a frame, next to `have` lanes."""
        options = [d for d in divisors(channels) if vectors * (channels // d) <= self.target]
        near = [d for d in options if d % have == 0 or have % d == 0]
        return min(near or options or [channels])

    def _choice(self, window: Node, have: int) -> Choice:
        (layer,) = self.graph.users[window.name]
        assert isinstance(window.op, Window)
        return cheapest(foldings(window.op, self._rom(layer).data.shape[0]), self.target, have)

    def _rom(self, node: Node) -> Constant:
        return self.graph.constants[node.operands[1]]

    def _fold(self, node: Node) -> None:
        operands = [self.source.get(o, o) for o in node.operands]
        op = node.op
        match op:
            case Width():
                self.source[node.name] = operands[0]
                return
            case Window(block=0):
                choice = self._choice(node, self._width(operands[0]))
                rows = self._rom(self.graph.users[node.name][0]).data.shape[0]
                operands[0] = self._convert(operands[0], choice.lanes)
                op = replace(op, taps=choice.taps, repeat=rows // choice.pe)
            case Window():
                operands[0] = self._convert(operands[0], self._wanted(node, self._width(operands[0])))
                op = replace(op, block=self._width(operands[0]))
            case MatVec():
                op = self._matvec(node, operands)
            case Reduce() if isinstance(self.graph.producers.get(node.operands[0], node).op, Window):
                op = replace(op, channels=self._width(operands[0]))
            case Map() | Reduce() | StreamArgMax():
                operands[0] = self._convert(operands[0], self._wanted(node, self._width(operands[0])))
            case StreamAdd():
                lanes = self._wanted(node, self._width(operands[0]))
                operands = [self._convert(o, lanes) for o in operands]
            case StreamConcat():
                lanes = self._concat_lanes(op, operands)
                operands = [self._convert(o, lanes) for o in operands]
            case Embed():
                x, columns = stream(self.graph, node.operands[0]), self._rom(node).data.shape[1]
                operands[0] = self._convert(operands[0], 1)
                op = replace(op, lanes=self._lanes(columns, x.positions * x.elements, 1))
            case _:
                pass
        self._emit(node, op, operands)

    def _matvec(self, node: Node, operands: Sequence[str]) -> MatVec:
        x = self.types[operands[0]]
        assert isinstance(x, StreamType)
        rows, columns = self._rom(node).data.shape
        pe = rows // x.repeat
        return MatVec(pe, self.wired and (pe, x.lanes) == (rows, columns))

    def _concat_lanes(self, op: StreamConcat, operands: Sequence[str]) -> int:
        positions = sum(self._total(o) for o in operands) // sum(op.channels)
        shared = math.gcd(*op.channels)
        options = [d for d in divisors(shared) if positions * (sum(op.channels) // d) <= self.target]
        return min(options or [shared])

    def _total(self, name: str) -> int:
        x = self.types[name]
        assert isinstance(x, StreamType)
        return x.positions * x.elements

    def _width(self, name: str) -> int:
        x = self.types[name]
        assert isinstance(x, StreamType)
        return x.lanes

    def _convert(self, name: str, lanes: int) -> str:
        """`name` in `lanes` lanes, through their common divisor when neither divides the other."""
        have = self._width(name)
        if have == lanes:
            return name
        if have % lanes and lanes % have:
            return self._convert(self._convert(name, math.gcd(have, lanes)), lanes)
        origin = self.graph.producers[name].origin if name in self.graph.producers else ""
        fresh = next(n for n in (f"{name}_x{lanes}{mark}" for mark in ("", *"abcdefgh")) if n not in self.taken)
        self.taken.add(fresh)
        self._emit(Node((fresh,), Width(lanes), (name,), (self.types[name],), origin), Width(lanes), [name])
        return fresh

    def _emit(self, node: Node, op: Actor | object, operands: Sequence[str]) -> None:
        assert isinstance(op, Actor)
        made = op.result_types([self.types[o] for o in operands])
        types = tuple(replace(t, format=old.format) for t, old in zip(made, node.types, strict=True)
                      if isinstance(t, StreamType) and isinstance(old, StreamType))
        self.types.update(zip(node.results, types, strict=True))
        self.nodes.append(Node(node.results, op, tuple(operands), types, node.origin))
