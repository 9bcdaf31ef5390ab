"""Run the design in a build folder: the user's tensors in, the user's tensors out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from irc.backend import Backend
from irc.build import Build
from irc.diagnostics import error
from irc.folder import replace_files
from irc.graph import Graph
from irc.pipeline.plugins import find_backend
from irc.samples import bind, load_array, load_fitting, present, sample_count
from irc.text import write_npz
from irc.types import Array


@dataclass(frozen=True, slots=True)
class Execution:
    """What a run gave. `cycles` is None for targets without a clock."""

    outputs: Mapping[str, Array]
    samples: int
    cycles: int | None


def run_build(build: Build, data: Mapping[str, Array], *, raw: bool = False) -> Execution:
    """Run the target of a build on user data; `raw` gives integers, not what they mean. Raises E401, E504, E601."""
    backend: Backend = find_backend(build.target)
    graph = build.last()
    feeds = bind(graph, data)
    with TemporaryDirectory() as scratch:
        run = backend.run(build.design, graph, feeds, scratch=Path(scratch))
    shown = replace(graph, outputs=tuple(replace(p, encoding=None) for p in graph.outputs)) if raw else graph
    return Execution(present(shown, run.outputs), sample_count(feeds), run.cycles if backend.clocked else None)


def load_inputs(path: Path, graph: Graph) -> dict[str, Array]:
    """The arrays of an `.npz` file, or of an `.npy` file for a graph with one input."""
    if path.suffix != ".npy":
        return load_fitting(path, graph)
    if len(graph.inputs) != 1:
        names = ", ".join(port.name for port in graph.inputs)
        raise error("E401", f"an .npy file holds one array, but the inputs are {names}", file=str(path),
                    remedy="Save named arrays with numpy.savez.")
    return {graph.inputs[0].name: load_array(path)}


def save_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write an `.npz` file. Raises E503."""
    archive = BytesIO()
    write_npz(archive, outputs)
    replace_files({path: archive.getvalue()})
