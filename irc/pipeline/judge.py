"""The judge of a pipeline: scores a graph on data, against the network that the pipeline began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from irc.graph import Graph
from irc.interpreter import evaluate
from irc.metric import Metric
from irc.samples import bind, present
from irc.types import Array


@dataclass(frozen=True)
class Judge:
    """Scores graphs with one metric on one set of user data (`load_samples`).

    `origin` is the network as it came in; `labels` is None for a metric that compares with its outputs.
    """

    metric: Metric
    origin: Graph
    data: Mapping[str, Array] = field(repr=False)
    labels: Array | None = field(default=None, repr=False)

    @cached_property
    def expected(self) -> Array:
        """The first output of the network as it came in, [samples, ...]."""
        return self._outputs(self.origin)

    @cached_property
    def reference(self) -> float:
        """The score of the network as it came in."""
        return self._measure(self.expected)

    def score(self, graph: Graph) -> float:
        """The metric of a graph at any level; in percent for accuracy."""
        return self.reference if graph is self.origin else self._measure(self._outputs(graph))

    def loss(self, graph: Graph) -> float:
        """By how much the graph is worse than the network as it came in; negative when it is better."""
        return self.metric.loss(self.score(graph), self.reference)

    def _measure(self, outputs: Array) -> float:
        target = self.labels if self.metric.labelled and self.labels is not None else self.expected
        return self.metric.measure(outputs, target)

    def _outputs(self, graph: Graph) -> Array:
        port = graph.outputs[0]
        found = present(graph, evaluate(graph, bind(graph, self.data)))
        return np.asarray(found[port.name])
