"""From a model file to a build folder: read, run the passes, lower to what the target takes, emit, write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from irc.backend import Backend, Files
from irc.build import (
    LAYOUT,
    MANIFEST,
    STAGES,
    Build,
    graph_files,
    manifest_text,
    ports_json,
    records_json,
    rounded,
)
from irc.diagnostics import IrcError, error
from irc.folder import replace_folder, require_replaceable
from irc.graph import Graph
from irc.limits import DEFAULTS, Limits
from irc.pipeline.driver import run_pipeline, steps_to
from irc.pipeline.judge import Criterion, Judge
from irc.pipeline.language import parse_pipeline
from irc.pipeline.plan import Item, passes_of
from irc.pipeline.plugins import find_backend
from irc.pipeline.record import Record
from irc.samples import load_fitting
from irc.text import load_graph
from irc.types import Level

Progress = Callable[[str, int, int], None]
DEFAULT = "default"  # the named pipeline that runs when none is given


@dataclass(frozen=True, slots=True)
class Request:
    """What to compile, for which target, and how. `passes` None: the pipeline `default` (none for integer graphs)."""

    model: Path
    target: str
    passes: str | None = None
    calibration: Path | None = None
    shape: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    dump: Path | None = None
    limits: Limits = DEFAULTS
    criterion: Criterion = field(default_factory=Criterion)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A design in memory: its files, its graphs at every stage, and what each pass did (with its run time)."""

    files: Files
    stages: Mapping[str, Graph]
    records: tuple[Record, ...]
    manifest: Mapping[str, Any]


def compile_model(request: Request, output: Path, progress: Progress | None = None) -> tuple[Build, Compiled]:
    """Compile into folder `output`, which is complete or untouched. Raises IrcError for all that the user can mend."""
    find_backend(request.target)
    require_replaceable(output, MANIFEST)
    compiled = compile_design(request, progress)
    replace_folder(output, compiled.files)
    return Build(output, compiled.manifest), compiled


def compile_design(request: Request, progress: Progress | None = None) -> Compiled:
    """The same without writing anything (but the dump)."""
    backend: Backend = find_backend(request.target)
    graph = read_model(request.model, request.shape, request.limits)
    pipeline = request.passes if request.passes is not None else default_pipeline(graph)
    steps = planned(graph, pipeline, backend)
    data = load_fitting(request.calibration, graph) if request.calibration is not None else None
    judge = request.criterion.judge(graph, data)
    stages = Stages(graph)
    outcome = run_pipeline(graph, steps, calibration=data, dump=request.dump, progress=progress, seed=request.seed,
                           observe=stages.observe, judge=judge)
    refused = backend.refused(outcome.graph)
    if refused:
        raise IrcError(*refused)
    design = {f"{request.target}/{name}": content for name, content in sorted(backend.emit(outcome.graph).items())}
    files = {**graph_files(stages.graphs()), **design}
    manifest = {
        "layout": LAYOUT, "irc": version("irc-compiler"), "target": request.target,
        "model": identity(request.model), "pipeline": pipeline, "seed": request.seed,
        "calibration": identity(request.calibration) if request.calibration else None,
        "data": identity(request.criterion.data) if request.criterion.data else None,
        "metric": measured(judge, stages.graphs()) if judge is not None else None,
        "inputs": ports_json(outcome.graph.inputs), "outputs": ports_json(outcome.graph.outputs),
        "passes": records_json(outcome.records), "stages": list(stages.graphs()), "files": list(files),
    }
    return Compiled({MANIFEST: manifest_text(manifest), **files}, stages.graphs(), outcome.records, manifest)


def read_model(path: Path, shape: Mapping[str, int], limits: Limits = DEFAULTS) -> Graph:
    """The graph in an `.onnx` or `.irc` file; `shape` binds symbolic dimensions of the former."""
    if path.suffix == ".irc":
        if shape:
            raise error("E108", "shapes are bound in ONNX files only", file=str(path), remedy="Leave --shape out.")
        return load_graph(path)
    from irc.frontend import read_onnx

    return read_onnx(path, bind=shape, limits=limits)


def default_pipeline(graph: Graph) -> str:
    """What runs when the user names no passes."""
    return DEFAULT if graph.level is Level.MODEL else ""


def planned(graph: Graph, pipeline: str, backend: Backend) -> tuple[Item, ...]:
    """The user's steps, those that reach the level of the backend, and the backend's own last ones.

    Of the last ones, those up to the last that the user named are left to the user.
    """
    steps = parse_pipeline(pipeline) if pipeline.strip() else ()
    steps += steps_to(level_after(graph.level, steps), backend.requires)
    finish = parse_pipeline(backend.finish) if backend.finish else ()
    named = {step.word for step in passes_of(steps)}
    taken = max((i + 1 for i, step in enumerate(finish) if step.word in named), default=0)
    return steps + finish[taken:]


def level_after(level: Level, steps: tuple[Item, ...]) -> Level:
    """The level at which `steps` leave a graph, descents that the driver inserts included."""
    for step in passes_of(steps):
        level = step.pass_.ensures or step.pass_.requires or level
    return level


class Stages:
    """The last graph of each stage: `float` before anything but exact passes, `quantized` the last one on reals."""

    def __init__(self, graph: Graph) -> None:
        self._found: dict[str, Graph] = {}
        self._exact = True
        self._keep(graph)

    def observe(self, record: Record, graph: Graph) -> None:
        """Take notice of the graph that a pass made."""
        self._exact &= record.contract == "exact"
        self._keep(graph)

    def graphs(self) -> dict[str, Graph]:
        """The graphs by stage, highest first."""
        return {stage: self._found[stage] for stage in STAGES if stage in self._found}

    def _keep(self, graph: Graph) -> None:
        if graph.level is not Level.MODEL:
            self._found[graph.level.value] = graph
            return
        self._found["quantized"] = graph
        if self._exact:
            self._found["float"] = graph


def measured(judge: Judge, stages: Mapping[str, Graph]) -> dict[str, Any]:
    """The score before and after the passes. Streams compute what the integers do, which is proven and takes longer."""
    graphs = [graph for graph in stages.values() if graph.level is not Level.DATAFLOW]
    score = judge.score(graphs[-1]) if graphs else judge.reference
    return {"name": judge.metric.name, "unit": judge.metric.unit, "samples": judge.samples,
            "before": rounded(judge.reference), "after": rounded(score)}


def identity(path: Path) -> dict[str, str]:
    """Which file it was: its name and the digest of its content."""
    try:
        return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    except OSError as problem:
        raise error("E101", f"{problem.strerror or problem}", file=str(path)) from None
