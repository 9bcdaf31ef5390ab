"""Metrics: how good a network's outputs are, against labels or against the float model's outputs.

A metric looks at the first output. Outputs are [samples, ..., classes] for the labelled metrics, whose labels are
integers [samples, ...]; so one label a sample for a classifier, one a position for a language model. A network that
ends in argmax gives the classes themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from irc.diagnostics import did_you_mean, error
from irc.types import Array


@dataclass(frozen=True, slots=True)
class Metric:
    """`measure(outputs, target)`; the target is the labels when `labelled`, else the outputs of the float model."""

    name: str
    unit: str
    measure: Callable[[Array, Array], float]
    labelled: bool
    higher: bool

    @property
    def comparison(self) -> str:
        """How a score is compared with what it must reach."""
        return ">=" if self.higher else "<="

    def loss(self, score: float, reference: float) -> float:
        """By how much a score is worse than the reference, in the metric's unit; negative when it is better."""
        return reference - score if self.higher else score - reference


@dataclass(frozen=True, slots=True)
class Bound:
    """What a score must reach: `accuracy>=98.0`, or relative to the network as it came in: `accuracy>=-0.5`."""

    metric: Metric
    limit: float
    relative: bool

    def target(self, reference: float) -> float:
        """The score that is just good enough, where the network as it came in has `reference`."""
        return reference + self.limit if self.relative else self.limit

    def holds(self, score: float, reference: float) -> bool:
        """Whether a score is good enough; what float64 rounds away is not held against it."""
        return self.metric.loss(score, self.target(reference)) <= 1e-9

    def __str__(self) -> str:
        return f"{self.metric.name}{self.metric.comparison}{self.limit:{'+' if self.relative else ''}.12g}"


def top1(outputs: Array, labels: Array) -> float:
    """Percent of labels that are the largest output (the first of equal ones)."""
    classes = outputs if outputs.size == labels.size else outputs.argmax(axis=-1)
    return float(100 * np.mean(classes.reshape(-1) == labels.reshape(-1)))


def bits_per_symbol(outputs: Array, labels: Array) -> float:
    """Cross entropy of softmax(outputs) in bits; its power of two is the perplexity."""
    rows = outputs.reshape(-1, outputs.shape[-1])
    shifted = rows - rows.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(shifted, labels.reshape(-1, 1).astype(np.int64), axis=1)[:, 0]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen) / np.log(2))


def mean_squared_error(outputs: Array, target: Array) -> float:
    """Mean of squared differences, relative to the mean square of the target."""
    return float(np.square(outputs - target).mean() / max(float(np.square(target).mean()), 1e-30))


def cosine(outputs: Array, target: Array) -> float:
    """Mean over samples of the cosine between outputs and target; 1 is the same direction."""
    a, b = (x.reshape(len(x), -1) for x in (outputs, target))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1) / np.maximum(norms, 1e-30)))


METRICS = {m.name: m for m in (
    Metric("accuracy", "points", top1, labelled=True, higher=True),
    Metric("bits", "bits", bits_per_symbol, labelled=True, higher=False),
    Metric("mse", "", mean_squared_error, labelled=False, higher=False),
    Metric("cosine", "", cosine, labelled=False, higher=True),
)}


def find_metric(name: str) -> Metric:
    """The metric of that name. Raises E304 with the nearest name."""
    if name not in METRICS:
        raise error("E304", f"there is no metric '{name}'", remedy=did_you_mean(name, METRICS))
    return METRICS[name]
