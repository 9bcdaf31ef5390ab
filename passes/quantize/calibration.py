"""Ranges of activations, observed on calibration data, and the affine quantizer each range gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from irc.diagnostics import error
from irc.graph import Graph, Port
from irc.interpreter import evaluate, samples_at_once
from irc.types import Array, Integer
from passes.rounding.scales import snap

_SAMPLES = 64  # evaluated at a time, at most
_BINS = 4096
_NARROWEST = 1e-30  # a narrower range is that of a constant
_WIDEST = float(np.finfo(np.float32).max)  # the model computes in this, the interpreter in float64


@dataclass(frozen=True, slots=True)
class Watch:
    """What to observe together: values that share one quantizer. With `floor`, only their positive part counts."""

    values: tuple[str, ...]
    floor: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Quantizer:
    """real = scale * (q - zero), q in `format`."""

    format: Integer
    scale: float
    zero: int = 0


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often values fell into equal bins of [low, high]; 0 lies in that interval."""

    low: float
    high: float
    counts: Array

    @property
    def centres(self) -> Array:
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return np.asarray((edges[1:] + edges[:-1]) / 2)


def observe(graph: Graph, data: Mapping[str, Array], watches: Sequence[Watch]) -> list[Histogram]:
    """Two passes over the data: the extremes of each watch, then the histogram between them. Raises E401."""
    low, high = np.zeros(len(watches)), np.zeros(len(watches))
    for i, found in _seen(graph, data, watches):
        low[i], high[i] = np.minimum(low[i], found.min()), np.maximum(high[i], found.max())  # NaN stays
    for i, watch in enumerate(watches):
        _check_range(watch, low[i], high[i])
    high = np.where(high - low > _NARROWEST, high, low + 1.0)
    counts = np.zeros((len(watches), _BINS), np.int64)
    for i, found in _seen(graph, data, watches):
        counts[i] += np.histogram(found, bins=_BINS, range=(low[i], high[i]))[0]
    return [Histogram(*row) for row in zip(low, high, counts, strict=True)]


def _seen(graph: Graph, data: Mapping[str, Array], watches: Sequence[Watch]) -> Iterator[tuple[int, Array]]:
    """Values of each watch, some samples at a time."""
    names = dict.fromkeys(v for w in watches for v in w.values)
    probe = replace(graph, outputs=tuple(Port(n, graph.types[n], n) for n in names))
    count = min(len(v) for v in data.values())
    step = samples_at_once(graph, _SAMPLES)
    for at in range(0, count, step):
        out = evaluate(probe, {k: v[at : at + step] for k, v in data.items()}, chunk=step)
        for i, watch in enumerate(watches):
            for value, floor in zip(watch.values, watch.floor, strict=True):
                yield i, np.maximum(out[value], 0) if floor else out[value]


def _check_range(watch: Watch, low: float, high: float) -> None:
    """E401 for values that no float32 holds: no quantizer has a step for them."""
    if not -_WIDEST <= low <= high <= _WIDEST:
        raise error("E401", f"on the calibration data '{watch.values[0]}' grows beyond what float32 holds",
                    node=watch.values[0], remedy="Scale the data as in training; 'irc check' shows broken weights.")


def fit_minmax(seen: Histogram, form: Integer, bits: int) -> Quantizer:
    """The whole observed range."""
    return _affine(seen.low, seen.high, form, bits)


def fit_percentile(seen: Histogram, form: Integer, bits: int, percentile: float) -> Quantizer:
    """The range without the most extreme 100 - `percentile` percent of the values, half of them on each side."""
    share = np.cumsum(seen.counts) / seen.counts.sum()
    tail = (1 - percentile / 100) / 2
    edges = np.linspace(seen.low, seen.high, len(share) + 1)
    low = edges[np.searchsorted(share, tail, side="right")] if seen.low < 0 else 0.0
    high = edges[np.searchsorted(share, 1 - (tail if seen.low < 0 else 2 * tail)) + 1] if seen.high > 0 else 0.0
    return _affine(float(low), float(high), form, bits)


def fit_mse(seen: Histogram, form: Integer, bits: int) -> Quantizer:
    """The range, shrunk towards zero, whose quantizer makes the least mean squared error."""
    shrink = np.linspace(1.0, 0.2, 81)
    tries = [_affine(seen.low * s, seen.high * s, form, bits) for s in shrink]
    scale = np.array([t.scale for t in tries])[:, None]
    zero = np.array([t.zero for t in tries])[:, None]
    hit = np.flatnonzero(seen.counts)
    centres, counts = seen.centres[hit], seen.counts[hit]
    q = np.clip(np.rint(centres / scale) + zero, form.minimum, form.maximum)
    loss = (np.square((q - zero) * scale - centres) * counts).sum(axis=1)
    return tries[int(np.argmin(loss))]


def _affine(low: float, high: float, form: Integer, bits: int) -> Quantizer:
    """The quantizer of [low, high]; real 0, which pads convolutions, is always one of its values."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < _NARROWEST:
        return Quantizer(form, 1.0)
    span = max(high, -low) if form.signed else high - low
    wanted = span / form.maximum
    scale = float(snap(np.asarray(wanted), bits))
    scale = scale if scale >= wanted else float(snap(np.asarray(wanted * (1 + 2.0**-bits)), bits))  # never clip
    return Quantizer(form, scale, 0 if form.signed else int(np.clip(np.rint(-low / scale), 0, form.maximum)))
