"""What stands in the way of a model, before any real work: every operator, pass and target is tried on made-up data.

Guards are taken to hold, because made-up data say nothing about accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from irc.backend import Backend
from irc.compiler import Stages, default_pipeline, level_after, planned, read_model
from irc.diagnostics import Diagnostic, IrcError
from irc.graph import Graph
from irc.limits import DEFAULTS, Limits
from irc.pipeline.contract import Checker
from irc.pipeline.driver import run_pipeline
from irc.pipeline.judge import Criterion
from irc.pipeline.language import parse_pipeline
from irc.pipeline.plan import Step, unguarded
from irc.pipeline.plugins import find_backend, usable_backends
from irc.types import Array, Level

UNSUPPORTED = "E104"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What stands in the way, and the targets that it keeps from being reached."""

    problem: Diagnostic
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """The graph at each stage that was reached, and everything that was refused on the way."""

    stages: Mapping[str, Graph]
    refusals: tuple[Refusal, ...]


def check_model(model: Path, target: str | None = None, passes: str | None = None,
                shape: Mapping[str, int] | None = None, limits: Limits = DEFAULTS) -> Findings:
    """Try to compile for `target`, or for every target. Raises IrcError for a file that is damaged or a bad call."""
    backends: list[Backend] = [find_backend(name) for name in ([target] if target else usable_backends())]
    try:
        graph = read_model(model, shape or {}, limits)
    except IrcError as problem:
        if any(d.code != UNSUPPORTED for d in problem.diagnostics):
            raise
        return Findings({}, tuple(Refusal(d, tuple(b.name for b in backends)) for d in problem.diagnostics))
    pipeline = passes if passes is not None else default_pipeline(graph)
    stages, refused = Stages(graph), dict[Diagnostic, list[str]]()
    taking = backends if target else [b for b in backends if _takes(b, graph, pipeline)]
    trials = Trials(graph, stages)
    for steps, users in sorted(plans(graph, pipeline, taking), key=lambda plan: len(plan[0])):
        for found, names in trials.refusals(steps, users):
            refused.setdefault(found, []).extend(names)
    return Findings(stages.graphs(), tuple(Refusal(found, tuple(names)) for found, names in refused.items()))


def _takes(backend: Backend, graph: Graph, pipeline: str) -> bool:
    """Whether a backend stands below the level that the pipeline reaches, or at it."""
    steps, levels = parse_pipeline(pipeline) if pipeline.strip() else (), list(Level)
    return levels.index(level_after(graph.level, steps)) <= levels.index(backend.requires)


def plans(graph: Graph, pipeline: str, backends: Sequence[Backend]) -> Iterator[tuple[tuple[Step, ...], list[Backend]]]:
    """The different ways down to the backends, each with those that take it."""
    ways = [(tuple(unguarded(planned(graph, pipeline, backend))), backend) for backend in backends]
    texts = {tuple(step.text for step in steps): steps for steps, _ in ways}
    for text, steps in texts.items():
        yield steps, [backend for other, backend in ways if tuple(step.text for step in other) == text]


class Trials:
    """Tries the ways down from a graph. Where one goes on from the end of another, it starts there."""

    def __init__(self, graph: Graph, stages: Stages) -> None:
        self._ends: dict[tuple[str, ...], Graph] = {(): graph}
        self._stages = stages
        self._data = made_up(graph)
        self._judge = Criterion(metric="cosine").judge(graph, self._data) if self._data is not None else None

    def refusals(self, steps: Sequence[Step], backends: Sequence[Backend]) -> list[tuple[Diagnostic, list[str]]]:
        """What the passes refuse on the way to all of these backends, or then the backends, each with who is kept
        off."""
        try:
            end = self._end(steps)
        except IrcError as problem:
            return [(found, [backend.name for backend in backends]) for found in problem.diagnostics]
        return [(found, [backend.name]) for backend in backends for found in backend.refused(end)]

    def _end(self, steps: Sequence[Step]) -> Graph:
        texts = tuple(step.text for step in steps)
        start = max((way for way in self._ends if texts[: len(way)] == way), key=len)
        outcome = run_pipeline(self._ends[start], steps[len(start):], calibration=self._data, judge=self._judge,
                               observe=self._stages.observe, check=False, trial=True)
        return self._ends.setdefault(texts, outcome.graph)


def made_up(graph: Graph) -> dict[str, Array] | None:
    """Random calibration data for a model on reals."""
    return Checker(None, 0).tensors(graph, graph)[0] if graph.level is Level.MODEL else None
