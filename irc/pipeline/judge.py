"""The judge of a pipeline: scores a graph on data, against the network that the pipeline began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from irc.diagnostics import IrcError, did_you_mean, error
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.metric import Metric, find_metric
from irc.samples import LABELS, bind, load_array, load_fitting, present, sample_count, user_type
from irc.types import Array, Integer


@dataclass(frozen=True)
class Judge:
    """Scores graphs with one metric on one set of user data (`load_samples`).

    `origin` is the network as it came in; `labels` are those that the user has, for whatever metric looks at them.
    """

    metric: Metric
    origin: Graph
    data: Mapping[str, Array] = field(repr=False)
    labels: Array | None = field(default=None, repr=False)
    _others: dict[str, Judge] = field(default_factory=dict, repr=False, compare=False)  # by metric, asked for before

    @cached_property
    def expected(self) -> Array:
        """The first output of the network as it came in, [samples, ...]."""
        return self.outputs(self.origin)

    @cached_property
    def reference(self) -> float:
        """The score of the network as it came in."""
        return self._measure(self.expected)

    @cached_property
    def samples(self) -> int:
        """How many samples a score is about."""
        return sample_count(bind(self.origin, self.data))

    def score(self, graph: Graph) -> float:
        """The metric of a graph at any level; in percent for accuracy."""
        return self.reference if graph is self.origin else self._measure(self.outputs(graph))

    def loss(self, graph: Graph) -> float:
        """By how much the graph is worse than the network as it came in; negative when it is better."""
        return self.metric.loss(self.score(graph), self.reference)

    def by(self, metric: Metric) -> Judge:
        """The judge that scores the same data with another metric. Raises E401, E402 when the labels are not right."""
        if metric == self.metric:
            return self
        if metric.name not in self._others:
            self._others[metric.name] = judge(metric, self.origin, self.data, self.labels)
        return self._others[metric.name]

    def _measure(self, outputs: Array) -> float:
        target = self.labels if self.metric.labelled and self.labels is not None else self.expected
        return self.metric.measure(outputs, target)

    def outputs(self, graph: Graph) -> Array:
        """The first output of a graph, [samples, ...]."""
        port = graph.outputs[0]
        found = present(graph, evaluate(graph, bind(graph, self.data)))
        return np.asarray(found[port.name])


@dataclass(frozen=True, slots=True)
class Criterion:
    """How the user wants networks to be judged: samples, labels (a key of the samples, or a file), a metric by name.

    Without `data` the calibration data serve; without `metric` it is accuracy where there are labels, else cosine.
    """

    data: Path | None = None
    labels: str = ""
    metric: str = ""

    def judge(self, graph: Graph, calibration: Mapping[str, Array] | None) -> Judge | None:
        """The judge of what is made from `graph`; None without any data. Raises E101, E304, E401, E402."""
        chosen = find_metric(self.metric) if self.metric else None
        data = load_fitting(self.data, graph) if self.data is not None else calibration
        if data is None:
            if self.labels or self.metric:
                given = "labels need" if self.labels else f"the metric '{self.metric}' needs"
                raise error("E402", f"{given} data to judge by", remedy="Give them with --data data.npz.")
            return None
        labels = self._labels(data)
        usual = find_metric("cosine" if labels is None else "accuracy")
        return judge(chosen or usual, graph, data, labels)

    def _labels(self, data: Mapping[str, Array]) -> Array | None:
        if self.labels in data or not self.labels:
            return data.get(self.labels or LABELS)
        if Path(self.labels).suffix in (".npy", ".npz"):
            return load_array(Path(self.labels))
        raise error("E401", f"the data hold no array '{self.labels}'", file=str(self.data or ""),
                    remedy=did_you_mean(self.labels, data))


def judge(metric: Metric, origin: Graph, data: Mapping[str, Array], labels: Array | None = None) -> Judge:
    """A judge whose labels, when the metric looks at them, are known to fit. Raises E401, E402."""
    fitting = fitting_labels(metric, origin, data, labels) if metric.labelled else labels
    return Judge(metric, origin, data, fitting)


def fitting_labels(metric: Metric, graph: Graph, data: Mapping[str, Array], labels: Array | None) -> Array:
    """The labels, one for each prediction of the first output. Raises E401 when they do not fit, E402 without any."""
    if labels is None:
        raise error("E402", f"the metric '{metric.name}' needs labels",
                    remedy=f"Put them into the data as '{LABELS}', name them with --labels, or judge by cosine or mse.")
    wanted, classes = _predictions(graph, metric, labels)
    count = sample_count(bind(graph, data))
    if labels.dtype.kind not in "iu":
        raise _misfit(f"are of type {labels.dtype}", "Labels are whole numbers, such as int64, that count from 0.")
    if labels.shape[:1] != (count,) or _without_ones(labels.shape[1:]) != _without_ones(wanted):
        expected = ", ".join(map(str, (count, *wanted)))
        raise _misfit(f"have shape {list(labels.shape)}, expected is [{expected}]", "Give one label a prediction.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (classes and high >= classes):
        there = f"classes are 0 to {classes - 1}" if classes else "smallest class is 0"
        raise _misfit(f"hold {low if low < 0 else high}, but the {there}", "Count in the order of the outputs, from 0.")
    return labels


def _predictions(graph: Graph, metric: Metric, labels: Array) -> tuple[tuple[int, ...], int]:
    """The shape of the labels of one sample that the first output asks for, and the number of classes (0: unknown)."""
    kind = user_type(graph.outputs[0])
    shape = kind.shape[1:] if kind.shape[:1] == (1,) else kind.shape
    if isinstance(kind.format, Integer) and _without_ones(shape) == _without_ones(labels.shape[1:]):
        if metric.name == "accuracy":
            return shape, 0
        raise error("E401", f"output '{graph.outputs[0].name}' is the classes themselves, and '{metric.name}' needs a "
                            "score for each", remedy="Judge by accuracy, or leave the argmax out of the model.")
    return shape[:-1], shape[-1] if shape else 1


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _misfit(what: str, remedy: str) -> IrcError:
    return error("E401", f"the labels {what}", remedy=remedy)
