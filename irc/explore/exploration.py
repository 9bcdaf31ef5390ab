"""An exploration from its request to its front: search, workers and journal brought together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from irc.compiler import identity, read_model
from irc.diagnostics import error
from irc.explore.front import front
from irc.explore.journal import Journal
from irc.explore.picture import drawn
from irc.explore.search import Search, search
from irc.explore.space import load_space
from irc.explore.trial import Sizes, Task, Trial, sizes_as_given
from irc.explore.workers import Pool, Workers, finished
from irc.folder import replace_files
from irc.limits import DEFAULTS, Limits
from irc.metric import Metric
from irc.pipeline.judge import Criterion
from irc.samples import load_fitting

PICTURE = "front.svg"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What to explore: a network, the space of pipelines, what judges them, and how many to try."""

    model: Path
    space: str
    criterion: Criterion
    calibration: Path | None = None
    trials: int = 100
    seed: int = 0
    shape: Mapping[str, int] = field(default_factory=dict)
    limits: Limits = DEFAULTS


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was found. `front`: the trials that no other beats, by size; before: the network as it came in, its
    constants not encoded."""

    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    metric: Metric
    samples: int
    score_before: float
    sizes_before: Sizes


def explore(request: Request, output: Path, resume: bool, workers: Workers,
            progress: Progress | None = None) -> Exploration:
    """Explore into folder `output`. Finished trials are there whatever happens. Raises IrcError for all that the user
    can mend."""
    task, settings = prepared(request)
    plan = search(load_space(request.space, task.graph), request.trials, request.seed)
    journal = Journal(output, settings, resume)
    asked = _searched(plan, journal, workers, task, Watch(progress, request.trials))
    journal.arrange(asked)
    found = _result(task, journal.trials())
    replace_files({output / PICTURE: drawn(found.trials, found.front, found.metric).encode()})
    return found


def prepared(request: Request) -> tuple[Task, dict[str, Any]]:
    """What the trials share, and all that their results depend on, for the journal."""
    graph = read_model(request.model, request.shape, request.limits)
    samples = load_fitting(request.calibration, graph) if request.calibration is not None else None
    judge = request.criterion.judge(graph, samples)
    if judge is None:
        raise error("E402", "exploring needs data to judge by", remedy="Give them with --data data.npz.")
    return Task(graph, samples, judge, request.seed), _settings(request, judge.metric)


def _settings(request: Request, metric: Metric) -> dict[str, Any]:
    labels = request.criterion.labels
    files = {"model": request.model, "data": request.criterion.data, "calibration": request.calibration}
    return {"irc": version("irc-compiler"),
            **{key: identity(path) if path is not None else None for key, path in files.items()},
            "labels": identity(Path(labels)) if Path(labels).suffix in (".npy", ".npz") else labels,
            "metric": metric.name, "shape": dict(request.shape), "seed": request.seed}


@dataclass(slots=True)
class Watch:
    """Says how far the search is."""

    progress: Progress | None
    most: int
    done: int = 0

    def tell(self, trial: Trial) -> None:
        """One more trial."""
        self.done += 1
        if self.progress is not None:
            self.progress(trial.pipeline, self.done, self.most)


def _searched(plan: Search, journal: Journal, workers: Workers, task: Task, watch: Watch) -> list[str]:
    """Run the search to its end; gives what it asked for, in order."""
    asked, generation = list[str](), plan.ask()
    with workers(task) as pool:
        while generation:
            asked += generation
            _run(generation, journal, pool, watch)
            plan.tell([journal[pipeline].objectives for pipeline in generation])
            generation = plan.ask()
    return asked


def _run(generation: list[str], journal: Journal, pool: Pool, watch: Watch) -> None:
    """Run what no journal knows."""
    for pipeline in generation:
        if pipeline in journal:
            watch.tell(journal[pipeline])
    for trial in finished(pool, [pipeline for pipeline in generation if pipeline not in journal]):
        journal.add(trial)
        watch.tell(trial)


def _result(task: Task, trials: list[Trial]) -> Exploration:
    good = [trial for trial in trials if trial.objectives is not None]
    best = [good[i] for i in front(np.array([trial.objectives for trial in good]))]
    best.sort(key=lambda trial: (trial.sizes.bits, trial.sizes.macs, trial.loss))
    return Exploration(tuple(trials), tuple(best), task.judge.metric, task.judge.samples, task.judge.reference,
                       sizes_as_given(task.graph))
