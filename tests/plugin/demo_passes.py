"""A plug-in as somebody else would install it: passes and named pipelines for the tests of the pipeline language."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from irc.graph import Graph
from irc.pipeline.step import Context, Exact, Lossy, Pass, option
from irc.types import Format, Integer


@dataclass(frozen=True, slots=True)
class Idle(Pass):
    """Change nothing."""

    keeps: ClassVar = Exact()
    requires: ClassVar = None

    def run(self, graph: Graph, context: Context) -> Graph:
        return graph


@dataclass(frozen=True, slots=True)
class Demo(Pass):
    """One option of each type."""

    keeps: ClassVar = Lossy()
    ratio: float = field(default=0.5, metadata=option("a number", low=0, high=1))
    block: int | None = field(default=None, metadata=option("a whole number or none", low=1))
    mode: str = field(default="mean", metadata=option("a word", choices=("mean", "median")))
    format: Format = field(default=Integer(True, 8), metadata=option("a number format"))
    only: Integer = field(default=Integer(False, 8), metadata=option("an integer format"))
    sizes: tuple[int, ...] = field(default=(), metadata=option("whole numbers", low=1, high=64))
    exact: bool = field(default=False, metadata=option("yes or no"))

    def run(self, graph: Graph, context: Context) -> Graph:
        return graph


@dataclass(frozen=True, slots=True)
class Needy(Pass):
    """An option without default, and a rule that ties two options together."""

    keeps: ClassVar = Exact()
    low: int = field(metadata=option("lower end"))
    high: int = field(default=8, metadata=option("upper end"))

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}")

    def run(self, graph: Graph, context: Context) -> Graph:
        return graph


PIPELINES = {"twice": "idle, demo{ratio=0.25} @ weighted", "loop": "idle, loop"}
NOT_A_PASS = 3
