"""The ladder of equivalence on the user's data: every rung computes the same network, neighbours are compared.

    float model        reals; what the user trained
    quantized model    reals that stand for integers; how far it is from the float model is reported, not judged
    integer model      exact integers, which must be those of the quantized model
    each target        built and run by its own tools; must give the integers of the integer model, and where a
                       target has a clock, every handshake must be in the cycle that the timing law says, and so in
                       the same cycle on every such target
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from irc.backend import Backend, Handshakes
from irc.build import Build
from irc.dataflow.timing import channel_names, simulate_timing
from irc.diagnostics import IrcError, error
from irc.folder import replace_folder
from irc.graph import Graph, Port
from irc.interpreter import evaluate
from irc.mismatch import Mismatch, differing_actor, differing_file, differing_node, first_difference
from irc.pipeline.plugins import find_backend, usable_backends
from irc.samples import LABELS, bind, decoded, restore, sample_count, take
from irc.types import Array, Level

Progress = Callable[[str, int, int], None]
FRAMES = 100  # samples that targets with a clock run


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to compute the network. `tensors` holds what each output port shows, integers as integers."""

    name: str
    graph: Graph
    feeds: Mapping[str, Array]
    tensors: Mapping[str, Array]
    seconds: float
    backend: Backend | None = None
    handshakes: Mapping[str, Handshakes] | None = None
    cycles: int = 0
    accuracy: float | None = None

    @property
    def samples(self) -> int:
        return sample_count(self.feeds)


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the quantized model is from the float model: reported, not judged. None where it has no meaning."""

    largest: float  # of the largest output of the float model
    largest_lsb: float | None
    same_class: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether rung `found` gives what rung `expected` gives: integers (`values`) or handshakes (`cycles`).

    `channels` says for each channel whether all its handshakes agree. `cause` narrows a mismatch down.
    """

    what: str
    expected: str
    found: str
    samples: int
    mismatch: Mismatch | None = None
    cause: Mismatch | None = None
    channels: Mapping[str, bool] | None = None

    @property
    def equal(self) -> bool:
        return self.mismatch is None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything that was run and compared."""

    rungs: tuple[Rung, ...]
    comparisons: tuple[Comparison, ...]
    drift: Drift | None

    @property
    def ok(self) -> bool:
        return all(comparison.equal for comparison in self.comparisons)


def verify(build: Build, data: Mapping[str, Array], *, samples: int | None = None, frames: int = FRAMES,
           only: Collection[str] | None = None, progress: Progress = lambda what, done, total: None) -> Verdict:
    """Climb the ladder with the first `samples` samples (all), of which clocked targets run the first `frames`.

    `only`: names of the targets to run. Raises E401 for data that do not fit, E601 for a tool that is not installed.
    """
    targets = chosen_targets(build, only)
    stages = [s for s in build.stages if s != "dataflow" or "integer" not in build.stages]
    total = len(stages) + len(targets)
    rungs: list[Rung] = []
    for stage in stages:
        progress(f"{stage} model", len(rungs), total)
        rungs.append(interpreted(f"{stage} model", build.graph(stage), data, samples))
    with TemporaryDirectory() as scratch:
        for backend in targets:
            progress(f"target {backend.name}", len(rungs), total)
            count = min(rungs[-1].samples, frames) if backend.clocked else None
            rungs.append(executed(build, backend, data, _least(samples, count), Path(scratch)))
    labelled = with_accuracy(rungs, data)
    models = {rung.name: rung for rung in labelled if rung.backend is None}
    drift = drifted(models) if {"float model", "quantized model"} <= models.keys() else None
    return Verdict(tuple(labelled), tuple(comparisons(build, labelled)), drift)


def chosen_targets(build: Build, only: Collection[str] | None) -> list[Backend]:
    """The backends that take the build's last graph; E501 for a name that is not one of them."""
    if "dataflow" not in build.stages:
        return []
    names = usable_backends() if only is None else only
    found: list[Backend] = [find_backend(name) for name in names]
    for backend in found:
        if only is not None and backend.requires is not Level.DATAFLOW:
            raise error("E501", f"backend '{backend.name}' has no rung on the ladder", remedy="Leave it out of --only.")
    return [backend for backend in found if backend.requires is Level.DATAFLOW]


def interpreted(name: str, graph: Graph, data: Mapping[str, Array], samples: int | None) -> Rung:
    """A rung of the reference interpreter."""
    feeds = _first(bind(graph, data), samples)
    start = time.perf_counter()
    results = evaluate(graph, feeds)
    tensors = {port.name: restore(port, results[port.name]) for port in graph.outputs}
    return Rung(name, graph, feeds, tensors, time.perf_counter() - start)


def executed(build: Build, backend: Backend, data: Mapping[str, Array], samples: int | None, scratch: Path) -> Rung:
    """A rung of a target: the files of the build when it was made for it, else files emitted now."""
    graph = build.graph("dataflow")
    feeds = _first(bind(graph, data), samples)
    start = time.perf_counter()
    design = build.design if backend.name == build.target else scratch / backend.name / "design"
    if backend.name != build.target:
        _emit(backend, graph, design)
    objects = scratch / backend.name / "objects"
    objects.mkdir(parents=True)
    run = backend.run(design, graph, feeds, scratch=objects)
    tensors = {port.name: restore(port, run.outputs[port.name]) for port in graph.outputs}
    return Rung(backend.name, graph, feeds, tensors, time.perf_counter() - start, backend,
                run.handshakes if backend.clocked else None, run.cycles)


def _emit(backend: Backend, graph: Graph, design: Path) -> None:
    refused = backend.refused(graph)
    if refused:
        raise IrcError(*refused)
    replace_folder(design, backend.emit(graph))


def comparisons(build: Build, rungs: Sequence[Rung]) -> Iterator[Comparison]:
    """Each rung below the quantized model with the one it must equal."""
    models = [rung for rung in rungs if rung.backend is None]
    if len(models) > 1 and models[-1].graph.level is not Level.MODEL:
        yield compared_models(models[-2], models[-1])
    name, handshakes = "timing law", cast(Mapping[str, Handshakes], {})
    for rung in rungs:
        if rung.backend is not None:
            yield compared_target(build, models[-1], rung)
        if rung.handshakes is not None:
            yield compared_cycles(name, handshakes or lawful(rung), rung)
            name, handshakes = (name, handshakes) if handshakes else (rung.name, rung.handshakes)


def compared_models(upper: Rung, lower: Rung) -> Comparison:
    """A model on reals with the one on integers: its reals, encoded, must be those integers."""
    mismatch = _outputs_differ({port.name: integers(port, upper.tensors[port.name]) for port in lower.graph.outputs},
                               lower.tensors)
    cause = differing_node(upper.graph, lower.graph, upper.feeds, lower.feeds) if mismatch else None
    return Comparison("values", upper.name, lower.name, lower.samples, mismatch, cause)


def compared_target(build: Build, reference: Rung, rung: Rung) -> Comparison:
    """A target with the lowest interpreted model; the cause is searched in the lowering, the files, the actors."""
    mismatch = _outputs_differ({k: v[: rung.samples] for k, v in reference.tensors.items()}, rung.tensors)
    cause = _cause(build, reference, rung) if mismatch else None
    return Comparison("values", reference.name, rung.name, rung.samples, mismatch, cause)


def _cause(build: Build, reference: Rung, rung: Rung) -> Mismatch | None:
    assert rung.backend is not None
    if rung.backend.name == build.target:
        edited = differing_file(rung.backend, rung.graph, build.design)
        if edited is not None:
            return edited
    one = take(rung.feeds, _first_bad_sample(reference, rung) + 1)
    return (differing_node(reference.graph, rung.graph, take(reference.feeds, sample_count(one)), one)
            or differing_actor(rung.backend, rung.graph, one))


def _first_bad_sample(reference: Rung, rung: Rung) -> int:
    found = _outputs_differ({k: v[: rung.samples] for k, v in reference.tensors.items()}, rung.tensors)
    return found.index[0] if found is not None and found.index else 0


def compared_cycles(name: str, expected: Mapping[str, Handshakes], rung: Rung) -> Comparison:
    """The cycle of every handshake of a target with those of `name`, channel by channel."""
    found = rung.handshakes or {}
    channels = list(dict.fromkeys((*expected, *found)))
    differ = {channel: _handshakes_differ(channel, expected, found) for channel in channels}
    first = next(filter(None, differ.values()), None)
    return Comparison("cycles", name, rung.name, rung.samples, first,
                      channels={channel: mismatch is None for channel, mismatch in differ.items()})


def lawful(rung: Rung) -> dict[str, Handshakes]:
    """When the timing law has every handshake of the run of a target."""
    timing = simulate_timing(rung.graph, rung.samples)
    return {channel: Handshakes(*timing.handshakes(channel)) for channel in channel_names(rung.graph)}


def _handshakes_differ(name: str, expected: Mapping[str, Handshakes],
                       found: Mapping[str, Handshakes]) -> Mismatch | None:
    if name not in expected or name not in found:
        have = ["reported" if name in run else "not reported" for run in (expected, found)]
        return Mismatch(f"channel '{name}'", expected=have[0], found=have[1])
    a, b = expected[name], found[name]
    return (first_difference(f"arrivals on channel '{name}', token ", a.arrivals, b.arrivals)
            or first_difference(f"departures on channel '{name}', token ", a.departures, b.departures))


def drifted(models: Mapping[str, Rung]) -> Drift:
    """The distance between float and quantized model, in steps of the integer outputs where these have a meaning."""
    a, b = models["float model"], models["quantized model"]
    lowest = list(models.values())[-1].graph
    apart = [float(np.abs(a.tensors[p.name] - b.tensors[p.name]).max() / (np.abs(a.tensors[p.name]).max() or 1.0))
             for p in lowest.outputs]
    steps = [np.abs(a.tensors[port.name] - b.tensors[port.name]) / step(port, a.tensors[port.name])
             for port in lowest.outputs if port.encoding is not None]
    classes = [predicted(rung) for rung in (a, b)]
    same = None if classes[0] is None or classes[1] is None else float(np.mean(classes[0] == classes[1]))
    return Drift(max(apart, default=0.0), max((float(step.max()) for step in steps), default=None), same)


def with_accuracy(rungs: list[Rung], data: Mapping[str, Array]) -> list[Rung]:
    """The rungs with their accuracy when the data have labels. Raises E401 when these do not fit."""
    if LABELS not in data:
        return rungs
    labels = np.asarray(data[LABELS])
    most = max(rung.samples for rung in rungs)
    if labels.ndim != 1 or len(labels) < most or labels.dtype.kind not in "iu":
        raise error("E401", f"'{LABELS}' is {labels.dtype}{list(labels.shape)}, not one whole number for each of the "
                            f"{most} samples")
    return [replace(rung, accuracy=_accuracy(predicted(rung), labels)) for rung in rungs]


def predicted(rung: Rung) -> Array | None:
    """The class that the first output names: by its largest element, or by its only one when that is an integer."""
    port = rung.graph.outputs[0]
    values = decoded(port, rung.tensors[port.name]).reshape(rung.samples, -1)
    if values.shape[1] > 1:
        return np.asarray(values.argmax(axis=1))
    return values[:, 0] if values.dtype.kind != "f" else None


def integers(port: Port, values: Array) -> Array:
    """The integers whose meaning is nearest to a port's reals, whether the format holds them or not."""
    if port.encoding is None or values.dtype.kind != "f":
        return values
    origin = port.encoding.decode(np.zeros_like(values[:1]))
    return np.asarray(np.rint((values - origin) / step(port, values)), np.int64)


def step(port: Port, values: Array) -> Array:
    """What one integer step of a port is worth, shaped like one sample of `values`."""
    assert port.encoding is not None
    one, none = (port.encoding.decode(np.full_like(values[:1], count)) for count in (1, 0))
    return one - none


def _accuracy(classes: Array | None, labels: Array) -> float | None:
    return None if classes is None else float(np.mean(classes == labels[: len(classes)]))


def _outputs_differ(expected: Mapping[str, Array], found: Mapping[str, Array]) -> Mismatch | None:
    pairs = (first_difference(f"output '{name}'", expected[name], found[name]) for name in found)
    return next(filter(None, pairs), None)


def _first(feeds: Mapping[str, Array], samples: int | None) -> dict[str, Array]:
    return take(feeds, samples) if samples is not None else dict(feeds)


def _least(a: int | None, b: int | None) -> int | None:
    return min((n for n in (a, b) if n is not None), default=None)
