"""The HLS C backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from backends.hls.actors import EMITTERS
from backends.hls.files import emit_actor, emit_files
from backends.hls.native import run_program
from backends.hls.program import Program, plan
from irc.backend import Backend, Files, Run
from irc.diagnostics import Diagnostic, IrcError, Place
from irc.graph import Graph
from irc.types import Array


@dataclass(frozen=True, slots=True)
class HlsBackend(Backend):
    """Emits one C99 file set: pragmas for synthesis follow the folding; as plain C it serves microcontrollers."""

    name: ClassVar[str] = "hls"
    help: ClassVar[str] = "C99 for high-level synthesis (pragmas follow the folding) and for microcontrollers"
    finish: ClassVar[str] = "parallelize, size_fifos"

    def refused(self, graph: Graph) -> tuple[Diagnostic, ...]:
        unknown = tuple(_unknown(graph))
        return unknown or tuple(_too_wide(plan(graph)))

    def emit(self, graph: Graph) -> Files:
        refused = self.refused(graph)
        if refused:
            raise IrcError(*refused)
        return emit_files(plan(graph))

    def run(self, folder: Path, graph: Graph, feeds: Mapping[str, Array], *, scratch: Path) -> Run:
        return run_program(folder, graph, feeds, scratch)


def _unknown(graph: Graph) -> Iterator[Diagnostic]:
    for node in graph.nodes:
        if type(node.op) not in EMITTERS:
            place = Place(node=node.name, operator=node.op.name)
            remedy = "Use another target, or add an emitter to backends/hls/actors.py."
            yield Diagnostic("E502", f"op {node.op.name} has no form in C", place, remedy)


def _too_wide(program: Program) -> Iterator[Diagnostic]:
    """Actors whose arithmetic needs more than C's 64 bits."""
    for site in program.sites:
        try:
            emit_actor(site)
        except OverflowError as problem:
            place = Place(node=site.node.name, operator=site.node.op.name)
            yield Diagnostic("E502", str(problem), place, "Quantize the layer to fewer bits.")


HLS = HlsBackend()
