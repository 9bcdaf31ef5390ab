"""What a pass author sees: `Pass`, its contract, and the `Context` it runs in.

A pass is a frozen dataclass. Its fields are its options, its docstring is its help, `keeps` is its contract::

    @dataclass(frozen=True, slots=True)
    class Prune(Pass):
        '''Set the smallest weights of each layer to zero.'''

        keeps: ClassVar = Lossy()
        sparsity: float = field(default=0.5, metadata=option("fraction of weights set to zero", low=0, high=1))

        def run(self, graph: Graph, context: Context) -> Graph: ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from irc.diagnostics import error
from irc.graph import Graph, Node
from irc.types import Array, Level

if TYPE_CHECKING:
    from irc.pipeline.judge import Judge


@dataclass(frozen=True, slots=True)
class Exact:
    """The outputs stay the same: bit for bit on integers, up to float64 rounding on reals."""

    def __str__(self) -> str:
        return "exact"


@dataclass(frozen=True, slots=True)
class Within:
    """Integer outputs move by at most `lsb`; real outputs by at most `lsb` steps of the output's encoding."""

    lsb: int

    def __str__(self) -> str:
        return f"within {self.lsb} lsb"


@dataclass(frozen=True, slots=True)
class Lossy:
    """The outputs may change; the driver reports by how much."""

    def __str__(self) -> str:
        return "lossy"


Contract: TypeAlias = Exact | Within | Lossy


@dataclass(frozen=True, slots=True)
class Context:
    """What a pass may use besides the graph.

    `calibration` maps input ports to arrays [samples, *shape] (None when the user gave none). `selected` tells whether
    the user's selector (`@ op(Conv) & !name("head*")`) takes a node; without selector it takes all. `note` records a
    fact about what was done (shown by `irc explain`): note("sparsity", 0.9, node="conv1"). `judge` scores graphs on
    the user's data (None when there are none). `trial` says that only refusals are of interest
    (`irc check`): where every choice would be accepted, a pass may take a likely one instead of searching or proving.
    """

    calibration: Mapping[str, Array] | None = None
    selected: Callable[[Node], bool] = lambda node: True
    note: Callable[..., None] = lambda key, value, node="": None
    seed: int = 0
    judge: Judge | None = None
    trial: bool = False

    def calibration_for(self, what: str) -> Mapping[str, Array]:
        """The calibration data, or E402 naming `what` needs them."""
        if self.calibration is None:
            raise error("E402", f"{what} needs calibration data", remedy="give them with --calib data.npz")
        return self.calibration

    def judge_for(self, what: str) -> Judge:
        """The judge, or E402 naming `what` needs data to score graphs on."""
        if self.judge is None:
            raise error("E402", f"{what} needs data to judge the network by", remedy="give them with --data data.npz")
        return self.judge


class Pass(ABC):
    """Base of all passes. `requires` is the level the graph must be at (None: any), `ensures` the level after."""

    __slots__ = ()
    keeps: ClassVar[Contract] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = None

    @abstractmethod
    def run(self, graph: Graph, context: Context) -> Graph:
        """Rewrite the graph. Returning the very same object says that nothing changed."""


def option(help: str, *, low: float | None = None, high: float | None = None,
           choices: tuple[str, ...] = (), when: Mapping[str, tuple[str, ...]] | None = None) -> Mapping[str, Any]:
    """Metadata of a pass field: one line of help, and the values the pipeline language accepts.

    `when` names options that must have one of some values for this one to have an effect; giving it otherwise is E304.
    """
    return {"help": help, "low": low, "high": high, "choices": choices, "when": when or {}}


__all__ = ["Context", "Contract", "Exact", "Lossy", "Pass", "Within", "field", "option"]
