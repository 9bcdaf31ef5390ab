"""What a pipeline did, step by step."""

from __future__ import annotations

from dataclasses import dataclass

from irc.graph import Graph
from irc.pipeline.contract import Deviation


@dataclass(frozen=True, slots=True)
class Note:
    """A fact that a pass recorded about what it did, maybe to one node."""

    key: str
    value: object
    node: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What one step did, or, behind the steps of a guard, what the guard found. `deviation` is None when checks were
    off."""

    word: str
    text: str
    contract: str
    seconds: float
    nodes_before: int
    nodes_after: int
    notes: tuple[Note, ...]
    deviation: Deviation | None


@dataclass(frozen=True, slots=True)
class Trial:
    """Steps that ran on a graph: what became of it, and every record with the graph behind it."""

    graph: Graph
    done: tuple[tuple[Record, Graph], ...] = ()
