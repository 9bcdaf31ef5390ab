"""What a backend author sees: turn a graph into files, and run those files on data.

A backend is registered as an instance under the entry point group `irc.backends`. `emit` is pure: graph in, files out;
the compiler writes them to a temporary folder and moves it into place. `run` executes a folder that `emit` filled and
reports values and, where there is a clock, the cycle of every handshake, so that `irc verify` can compare neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeAlias

from irc.diagnostics import Diagnostic
from irc.graph import Graph
from irc.types import Array, IntArray, Level

Files: TypeAlias = Mapping[str, str | bytes]  # relative path -> content
Progress: TypeAlias = Callable[[float], None]  # fraction done, 0 to 1


@dataclass(frozen=True, slots=True)
class Handshakes:
    """Cycles of all tokens on one channel over a run, in order; cycle 0 is the first one out of reset.

    `arrivals`: the cycle in which each token enters the FIFO. `departures`: the cycle in which each token's slot is
    given back by the start of its consumer's firing (at the top-level output: the cycle of tvalid and tready).
    """

    arrivals: IntArray
    departures: IntArray


@dataclass(frozen=True, slots=True)
class Run:
    """What a run gave. `outputs` maps output ports to integer arrays [samples, positions, elements]; the clocked
    targets also give `handshakes` by channel name and the number of `cycles` until the last output token left."""

    outputs: Mapping[str, Array]
    cycles: int = 0
    handshakes: Mapping[str, Handshakes] = field(default_factory=dict)


class Backend(ABC):
    """Base of all backends."""

    name: ClassVar[str]
    help: ClassVar[str]
    requires: ClassVar[Level] = Level.DATAFLOW
    finish: ClassVar[str] = ""  # pipeline steps run last, unless the user named them
    clocked: ClassVar[bool] = False

    @abstractmethod
    def refused(self, graph: Graph) -> tuple[Diagnostic, ...]:
        """What in this graph the backend cannot emit, with remedies; empty when all is well."""

    @abstractmethod
    def emit(self, graph: Graph) -> Files:
        """The files of the design, deterministic to the byte."""

    @abstractmethod
    def run(self, folder: Path, graph: Graph, feeds: Mapping[str, Array], *, scratch: Path) -> Run:
        """Build what `emit` wrote in `folder` (objects and binaries go to `scratch`) and run it on `feeds`: input port
        to integers [samples, positions, elements]. A missing tool is E601 with the pip command, a failing one E602."""
