"""A trial: a pipeline run on the network and measured. What all trials share is a `Task`, which travels to workers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from irc.build import rounded
from irc.cost import layer_weights, macs
from irc.diagnostics import IrcError, error
from irc.graph import Graph
from irc.pipeline.driver import run_pipeline
from irc.pipeline.judge import Judge
from irc.pipeline.language import parse_pipeline
from irc.storage import stored, stored_bits
from irc.types import Array


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a network costs: all bits of its constants in their best encodings, and its multiply-accumulates a sample,
    those with a weight of zero left out."""

    bits: int
    macs: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a pipeline: its score, how much that is worse than before, its sizes; or why it failed. Numbers
    are those that the journal keeps, so that what is resumed goes on as if it had never stopped."""

    pipeline: str
    score: float = math.nan
    loss: float = math.nan
    sizes: Sizes = Sizes(0, 0)
    problem: Mapping[str, Any] | None = None

    @property
    def objectives(self) -> tuple[float, ...] | None:
        """Loss, bits and multiply-accumulates; None for a trial that failed."""
        return None if self.problem else (self.loss, float(self.sizes.bits), float(self.sizes.macs))

    def to_json(self) -> dict[str, Any]:
        """The line of the trial."""
        if self.problem:
            return {"pipeline": self.pipeline, "error": dict(self.problem)}
        return {"pipeline": self.pipeline, "score": self.score, "loss": self.loss,
                "stored_bits": self.sizes.bits, "macs": self.sizes.macs}


def trial_from(line: Mapping[str, Any]) -> Trial:
    """The inverse of `to_json`. Raises KeyError, TypeError, ValueError for what is no such line."""
    pipeline = str(line["pipeline"])
    if "error" in line:
        return Trial(pipeline, problem=dict(line["error"]))
    costs = Sizes(int(line["stored_bits"]), int(line["macs"]))
    return Trial(pipeline, float(line["score"]), float(line["loss"]), costs)


@dataclass(frozen=True, slots=True)
class Task:
    """What all trials share: the network, the data, and what judges."""

    graph: Graph
    calibration: Mapping[str, Array] | None
    judge: Judge
    seed: int

    def run(self, pipeline: str) -> Trial:
        """Try a pipeline; what it refuses is what became of it. Contracts are left to `irc compile`."""
        try:
            outcome = run_pipeline(self.graph, parse_pipeline(pipeline), calibration=self.calibration, seed=self.seed,
                                   check=False, judge=self.judge)
            return self._measured(pipeline, outcome.graph)
        except IrcError as problem:
            return Trial(pipeline, problem=problem.diagnostics[0].to_json())

    def _measured(self, pipeline: str, graph: Graph) -> Trial:
        score = self.judge.score(graph)
        if not math.isfinite(score):
            raise error("E401", f"{self.judge.metric.name} of the outputs is {score}")
        loss = self.judge.metric.loss(score, self.judge.reference)
        return Trial(pipeline, float(rounded(score)), float(rounded(loss)), sizes(graph))


def sizes(graph: Graph) -> Sizes:
    """What a network costs."""
    return Sizes(stored_bits(graph), needed_macs(graph))


def sizes_as_given(graph: Graph) -> Sizes:
    """What a network costs that nobody encodes: the bits of its constants as their formats have them."""
    return Sizes(sum(row.dense_bits for row in stored(graph)), needed_macs(graph))


def needed_macs(graph: Graph) -> int:
    """Multiply-accumulates a sample with weights other than zero. Each weight of a layer takes part equally often."""
    rows = {row.name: row for row in stored(graph)}
    total = 0
    for node in graph.nodes:
        count = macs(graph, node)
        read = [rows[c.name] for c in layer_weights(graph, node)] if count else []
        rank = max((len(row.shape) for row in read), default=0)
        weights = [row for row in read if len(row.shape) == rank]
        places = sum(math.prod(row.shape) for row in weights)
        total += count * sum(row.nonzeros for row in weights) // places if places else count
    return total
