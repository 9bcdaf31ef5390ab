"""Simulator target: one Python file that needs NumPy alone and gives every value and the cycle of every handshake."""

from __future__ import annotations

import runpy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from irc.backend import Backend, Files, Handshakes, Run
from irc.diagnostics import Diagnostic, Place, error
from irc.graph import Graph
from irc.types import Array

FILES = ("sim.py", "weights.npz")


class Simulator(Backend):
    """Emits a program that computes values with NumPy and timing with the law that the hardware obeys."""

    name: ClassVar[str] = "sim"
    help: ClassVar[str] = "cycle-exact simulator, one Python file that needs NumPy alone"
    finish: ClassVar[str] = "parallelize, size_fifos"
    clocked: ClassVar[bool] = True

    def refused(self, graph: Graph) -> tuple[Diagnostic, ...]:
        from backends.sim.actors import WRITERS

        known = ", ".join(sorted(kind.name for kind in WRITERS))
        return tuple(
            Diagnostic("E502", f"the simulator has no actor {node.op.name}",
                       Place(node=node.name, operator=node.op.name), f"It has {known}.")
            for node in graph.nodes if type(node.op) not in WRITERS)

    def emit(self, graph: Graph) -> Files:
        from backends.sim.program import program
        from irc.text.files import write_npz

        text, data = program(graph)
        archive = BytesIO()
        write_npz(archive, data)
        return dict(zip(FILES, (text, archive.getvalue()), strict=True))

    def run(self, folder: Path, graph: Graph, feeds: Mapping[str, Array], *, scratch: Path) -> Run:
        for file in FILES:
            if not (folder / file).is_file():
                raise error("E504", f"{file} is missing", file=str(folder), remedy="emit the design again")
        program = runpy.run_path(str(folder / FILES[0]))
        design = program["design"]()
        try:
            schedule = program["solve"](design.network, min(len(v) for v in feeds.values()))
        except program["DeadlockError"] as stuck:
            raise error("E603", str(stuck), remedy="run size_fifos, which finds depths that never deadlock") from None
        return Run(program["evaluate"](design, feeds), schedule.cycles, Recorded(schedule))


@dataclass(frozen=True)
class Recorded(Mapping[str, Handshakes]):
    """Handshakes of a schedule by channel, written out only when asked for: long runs have billions."""

    schedule: Any  # of the emitted program, which shares no classes with this one

    def __getitem__(self, channel: str) -> Handshakes:
        if channel not in list(self):
            raise KeyError(channel)
        return Handshakes(*self.schedule.handshakes(channel))

    def __iter__(self) -> Iterator[str]:
        return (channel.name for channel in self.schedule.network.channels)

    def __len__(self) -> int:
        return len(self.schedule.network.channels)


SIM = Simulator()
