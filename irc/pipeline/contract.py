"""Whether a pass kept its contract: both graphs are run on the same data and their outputs compared.

The data are a few calibration samples and seeded random ones over the whole range of each input. Across a change of
level the lower graph gets integers, and the higher one the reals that they decode to. Real outputs of which neither
graph states the encoding have no steps to count: there `within` is as strict as `exact`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from irc.diagnostics import IrcError, error
from irc.graph import Graph, Port
from irc.interpreter import evaluate, samples_at_once
from irc.pipeline.step import Contract, Lossy, Within
from irc.samples import arrange, bind, decoded, restore, sample_count, take, user_type
from irc.types import Array, Float

SAMPLES = 8  # of each kind; fewer of networks with very large values
LSB, RELATIVE = "lsb", "relative"
# what rounding may move: of float64 arithmetic, and of constants that a pass computed to the float32 they are stored as
TOLERANCE = {LSB: 1e-6, RELATIVE: 1e-6}
MOVES = frozenset({"reshape", "transpose", "fork", "width"})


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far the outputs moved. `largest` counts steps of the last integer place (unit `lsb`), or the largest output
    value (unit `relative`); mean squared error and cosine similarity are those of the real outputs."""

    largest: float = 0.0
    unit: str = RELATIVE
    mse: float = 0.0
    cosine: float = 1.0
    samples: int = 0


class Checker:
    """Compares graphs before and after a pass. Outputs of the last graph are kept: the next pass starts from it."""

    def __init__(self, calibration: Mapping[str, Array] | None, seed: int) -> None:
        self.calibration = calibration
        self.seed = seed
        self._last: tuple[Graph, Mapping[str, Array], Mapping[str, Array]] | None = None

    def compare(self, before: Graph, after: Graph, contract: Contract, text: str) -> Deviation:
        """The deviation; raises E305 when it is more than the contract allows."""
        if before is after:
            return Deviation()
        _same_ports(before, after, text)
        tensors, calibrated = self.tensors(before, after)
        low = {port.name: arrange(port, tensors[port.name]) for port in after.inputs}
        high = {port.name: arrange(port, _seen(port, low_port, tensors[port.name]))
                for port, low_port in zip(before.inputs, after.inputs, strict=True)}
        expected = self.outputs(before, high)
        try:
            found = self.outputs(after, low)
        except IrcError as problem:
            first = problem.diagnostics[0]
            raise error("E305", f"pass '{text}' made a graph that cannot be run: {first.message}",
                        node=first.place.node, operator=first.place.operator) from None
        pairs = tuple(_pairs(before, after, expected, found))
        if isinstance(contract, Lossy):
            return _deviation(tuple(p.first(calibrated) for p in pairs) if calibrated else pairs)
        allowed = contract.lsb if isinstance(contract, Within) else 0
        broken = [p for p in pairs if not p.within(allowed)]
        if broken:
            raise _blame(before, after, high, low, broken[0], contract, text)
        return _deviation(pairs)

    def outputs(self, graph: Graph, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        if self._last is not None and self._last[0] is graph and _equal(self._last[1], feeds):
            return self._last[2]
        results = evaluate(graph, feeds)
        self._last = graph, feeds, results
        return results

    def tensors(self, before: Graph, after: Graph) -> tuple[dict[str, Array], int]:
        """Input tensors [samples, *shape] of the graph after the pass, and how many samples are from calibration."""
        generator = np.random.default_rng(self.seed)
        count = samples_at_once(before, SAMPLES)
        bound = take(bind(after, self.calibration), count) if self.calibration is not None else {}
        limits = {port.name: min(_rows(before, port.name), _rows(after, port.name)) for port in after.inputs}
        found = {}
        for port in after.inputs:
            known = restore(port, bound[port.name]) if bound else None
            drawn = _random(port, generator, count, limits[port.name], known)
            found[port.name] = drawn if known is None else np.concatenate((known, drawn))
        return found, sample_count(bound)


@dataclass(frozen=True, slots=True)
class Pair:
    """One output before and after: what it means (reals), how far apart both are, and in which unit."""

    name: str
    before: Array
    after: Array
    apart: Array
    unit: str

    def within(self, lsb: int) -> bool:
        allowed = TOLERANCE[self.unit] + (lsb if self.unit == LSB else 0)
        return bool((self.apart <= allowed).all())

    def first(self, count: int) -> Pair:
        """The same for the first `count` samples."""
        return Pair(self.name, self.before[:count], self.after[:count], self.apart[:count], self.unit)


def _same_ports(before: Graph, after: Graph, text: str) -> None:
    for kind, old, new in (("inputs", before.inputs, after.inputs), ("outputs", before.outputs, after.outputs)):
        names = [port.name for port in old], [port.name for port in new]
        if names[0] != names[1]:
            raise error("E305", f"pass '{text}' changed the {kind} {', '.join(names[0])} to {', '.join(names[1])}")


def _seen(high: Port, low: Port, tensor: Array) -> Array:
    """What the graph before the pass reads where the one after it reads `tensor`."""
    return decoded(low, tensor) if isinstance(high.type.format, Float) and high.encoding is None else tensor


def _equal(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def _random(port: Port, generator: np.random.Generator, count: int, rows: int, known: Array | None) -> Array:
    """Random tensors over the whole input range: of the format, the table that is indexed, or the calibration."""
    wanted = user_type(port)
    shape = (count, *wanted.shape)
    if not isinstance(wanted.format, Float):
        low = 0 if rows < _ANY else max(wanted.format.minimum, -_ANY)
        return generator.integers(low, min(wanted.format.maximum, rows - 1), shape, endpoint=True)
    if known is None:
        return generator.standard_normal(shape)
    return generator.uniform(known.min(), known.max(), shape)


_ANY = 1 << 31  # wider inputs than this are drawn from 32 bits, so that sums of products stay within 64


def _rows(graph: Graph, name: str) -> int:
    """Rows of the smallest table that the input `name` indexes, directly or through ops that only move elements."""
    reached, limit = [name], _ANY
    for value in reached:
        for node in graph.users[value]:
            if node.op.name == "gather" and node.operands[1] == value:
                axis = {f.name: getattr(node.op, f.name) for f in node.op.attributes()}["axis"]
                limit = min(limit, graph.tensor(node.operands[0]).shape[axis])
            elif node.op.name == "embed":
                limit = min(limit, graph.tensor(node.operands[1]).shape[0])
            elif node.op.name in MOVES:
                reached.extend(node.results)
    return limit


def _pairs(before: Graph, after: Graph, expected: Mapping[str, Array], found: Mapping[str, Array]) -> Iterator[Pair]:
    for old, new in zip(before.outputs, after.outputs, strict=True):
        a, b = restore(old, expected[old.name]), restore(new, found[new.name])
        real_a, real_b = _meaning(old, new, a), _meaning(new, old, b)
        if _integers(old, new):
            yield Pair(old.name, real_a, real_b, distance(a, b), LSB)
        elif new.encoding or old.encoding:
            yield Pair(old.name, real_a, real_b, distance(real_a, real_b) / _step(new if new.encoding else old, b), LSB)
        else:
            largest = np.abs(real_a[np.isfinite(real_a)]).max(initial=np.finfo(np.float64).tiny)
            yield Pair(old.name, real_a, real_b, distance(real_a, real_b) / largest, RELATIVE)


def _integers(old: Port, new: Port) -> bool:
    """Whether both ports carry integers of the same meaning, to be compared as they are."""
    reals = isinstance(old.type.format, Float) or isinstance(new.type.format, Float)
    return not reals and (old.encoding == new.encoding or old.encoding is None or new.encoding is None)


def _meaning(port: Port, other: Port, values: Array) -> Array:
    """Values as reals; integers whose meaning only one of both ports states stay integers."""
    return values.astype(np.float64) if _integers(port, other) and port.encoding != other.encoding else np.asarray(
        decoded(port, values), np.float64)


def _step(port: Port, values: Array) -> Array:
    """What one integer step is worth, shaped like one sample."""
    assert port.encoding is not None
    return port.encoding.decode(np.full((1, *values.shape[1:]), port.encoding.zero + 1))


def distance(a: Array, b: Array) -> Array:
    """|a - b|, zero between equal infinities or two NaN, infinite between a number and NaN."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b).astype(np.float64)
    same = (a == b) | ((a != a) & (b != b))
    return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))


def _deviation(pairs: tuple[Pair, ...]) -> Deviation:
    if not pairs:
        return Deviation()
    worst = max(pairs, key=lambda pair: float(pair.apart.max(initial=0)))
    a, b = (np.concatenate([np.ravel(x) for x in side]) for side in
            ([p.before for p in pairs], [p.after for p in pairs]))
    squared = float(np.mean((a - b) ** 2)) if a.size else 0.0
    return Deviation(float(worst.apart.max(initial=0)), worst.unit, squared, _cosine(a, b), len(pairs[0].before))


def _cosine(a: Array, b: Array) -> float:
    """Cosine similarity; 1 for equal vectors, zero ones included."""
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 1.0 if np.array_equal(a, b) else float(a @ b) / norms if norms else 0.0


def _blame(before: Graph, after: Graph, high: Mapping[str, Array], low: Mapping[str, Array], pair: Pair,
           contract: Contract, text: str) -> IrcError:
    """E305 that names the first value which both graphs have and which differs."""
    allowed = contract.lsb if isinstance(contract, Within) else 0
    moved = f"output '{pair.name}' moves by {float(pair.apart.max()):g} {_unit(pair)}"
    message = f"pass '{text}' promises to be {contract}, but {moved}"
    place: dict[str, str] = {}
    for name, apart in _differences(before, after, high, low, allowed):
        node = before.producers[name]
        message += f"; the first value that differs is '{name}', by {apart:g}"
        place = {"node": node.name, "operator": node.op.name}
        break
    return error("E305", message, node=place.get("node", ""), operator=place.get("operator", ""))


def _unit(pair: Pair) -> str:
    return LSB if pair.unit == LSB else "of its largest value"


def _differences(before: Graph, after: Graph, high: Mapping[str, Array], low: Mapping[str, Array],
                 lsb: int) -> Iterator[tuple[str, float]]:
    """Values of the same name, shape and kind (integer or real) in both graphs that differ, in order."""
    old, new = evaluate(before, high, keep=True), evaluate(after, low, keep=True)
    for name in before.producers:
        a, b = old.get(name), new.get(name)
        if a is None or b is None or a.shape != b.shape or (a.dtype.kind == "f") != (b.dtype.kind == "f"):
            continue
        limit = lsb if a.dtype.kind != "f" else TOLERANCE[RELATIVE] * float(np.abs(a).max(initial=0))
        apart = float(distance(a, b).max(initial=0))
        if apart > limit:
            yield name, apart
