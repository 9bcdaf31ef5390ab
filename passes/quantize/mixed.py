"""Mixed precision: a width for each layer, such that the least is lost within a budget of bits.

Every layer gets a cost for each candidate width (`passes.quantize.sensitivity`); costs of layers add up. Which widths
cost least within `average` bits a weight is an integer program, solved exactly (`passes.quantize.allocation`). The
notes say how many bits the weights take and how many they may take; a uniform width w takes exactly `average=w`.

With `loss` the budget is searched: by bisection, in steps of an eighth of a bit, down to one with which the judge finds
no larger loss, and one step below which it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from irc.diagnostics import error
from irc.graph import Graph
from irc.pipeline.step import Context
from irc.types import Array, IntArray, Integer
from passes.quantize.allocation import allocate
from passes.quantize.rounding import Plan
from passes.quantize.sensitivity import Row, sensitivities
from passes.reconstruction.products import products
from passes.rounding.alphabet import Alphabet, alphabet

Finish: TypeAlias = Callable[[Mapping[str, Plan], Context], Graph]
"""Rounds the weights as planned."""

_STEP = 8  # budgets that a search tells apart, for each bit of a weight


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the user asked for: the widths to choose from, and one of both bounds."""

    widths: tuple[int, ...]
    average: float | None
    loss: float | None

    def check(self) -> None:
        """Raise E304 for bounds that contradict each other, or that no choice of widths can keep."""
        if not self.widths:
            if self.average is not None or self.loss is not None:
                raise _refusal("average and loss bound the choice between several widths, and there is one",
                               "Name the widths to choose from: mixed=[2, 3, 4, 6, 8].")
            return
        if (self.average is None) == (self.loss is None):
            raise _refusal("mixed needs one bound, average or loss", "Write average=3 (bits a weight), or loss=0.5.")
        if self.average is not None and self.average < min(self.widths):
            raise _refusal(f"average={self.average:g} is below the smallest width, {min(self.widths)}",
                           "Raise the average, or add a smaller width.")

    @property
    def alphabets(self) -> tuple[Alphabet, ...]:
        """The alphabets of the widths, narrow ones first."""
        return tuple(alphabet(Integer(True, bits)) for bits in sorted(set(self.widths)))


def _refusal(what: str, remedy: str) -> Exception:
    return error("E304", what, operator="quantize", remedy=remedy)


def rows_of(graph: Graph, plans: Mapping[str, Plan], fixed: Mapping[str, Alphabet],
            alphabets: tuple[Alphabet, ...]) -> tuple[Row, ...]:
    """The layers that may choose among the alphabets, and those whose alphabet is `fixed`, by node. Raises E306."""
    found = dict[tuple[str, ...], Row]()
    for product in products(graph):
        if all(name in plans for name in product.weights):
            given = fixed.get(product.node.name)
            choice = (given,) if given is not None else alphabets
            found.setdefault(product.weights, Row(product, plans[product.weights[0]], choice))
    if all(row.product.node.name in fixed for row in found.values()):
        raise error("E306", "there is no layer left whose width quantize could choose", operator="quantize",
                    remedy="Weights that are quantized already keep their width; leave mixed out.")
    return tuple(found.values())


@dataclass(frozen=True)
class Mix:
    """The choice of widths for the rows of a graph, and the graphs that come of it; each is made once."""

    rows: tuple[Row, ...]
    costs: Sequence[Array]
    plans: Mapping[str, Plan]
    finish: Finish
    context: Context
    _tried: dict[tuple[int, ...], tuple[Graph, list[Any]]] = field(default_factory=dict)

    @classmethod
    def weighed(cls, kind: str, original: Graph, graph: Graph, rows: tuple[Row, ...], compensate: bool,
                plans: Mapping[str, Plan], finish: Finish, context: Context) -> Mix:
        """The mix whose costs come from calibration data; a trial does without."""
        costs = ([np.zeros(len(row.alphabets)) for row in rows] if context.trial else
                 sensitivities(kind, original, graph, rows, compensate, context))
        return cls(rows, costs, plans, finish, context)

    @cached_property
    def _counts(self) -> IntArray:
        return np.array([row.weights for row in self.rows])

    @cached_property
    def _sizes(self) -> IntArray:
        """Bits of every row with each of its alphabets; rows with fewer are padded."""
        return _padded([row.weights * np.array([a.form.bits for a in row.alphabets]) for row in self.rows], 0)

    @cached_property
    def _costs(self) -> Array:
        return _padded([np.asarray(cost, np.float64) for cost in self.costs], np.inf)

    def within(self, average: float) -> Graph:
        """The best graph with at most so many bits a weight. Raises E304 when formats that are given take more."""
        least = self._total(_first(row.alphabets) for row in self.rows)
        if least > self._budget(average):
            raise _refusal(f"average={average:g} is less than the smallest widths and the given formats take, "
                           f"{least / int(self._counts.sum()):.3g} bits a weight", "Raise the average.")
        return self._told(self._chosen(self._budget(average)), self._budget(average))

    def least(self, limit: float) -> Graph:
        """A graph of few bits whose loss is at most `limit`. Raises E308 when even the widest loses more."""
        judge = self.context.judge_for("quantize{loss}")
        low, high = (self._total(choice(row.alphabets) for row in self.rows) for choice in (_first, _last))
        budgets = [low + -(-(high - low) * i // self._steps) for i in range(self._steps + 1)]
        losses = dict[int, float]()

        def holds(place: int) -> bool:
            losses[place] = judge.loss(self._made(self._chosen(budgets[place]))[0])
            return losses[place] <= limit

        most, least = -1, self._steps
        if not holds(least):
            raise error("E308", f"no choice of widths keeps the loss within {limit:g}: with the widest it is "
                                f"{losses[least]:.3g}", operator="quantize", remedy="Add wider widths, or allow more.")
        while least - most > 1:
            middle = (most + least) // 2
            most, least = (most, middle) if holds(middle) else (middle, least)
        self.context.note("loss", losses[least])
        return self._told(self._chosen(budgets[least]), budgets[least])

    @cached_property
    def _steps(self) -> int:
        """How many budgets there are above the least."""
        span = max(row.alphabets[-1].form.bits - row.alphabets[0].form.bits for row in self.rows)
        return _STEP * span

    def _total(self, alphabets: Any) -> int:
        return int(sum(row.weights * a.form.bits for row, a in zip(self.rows, alphabets, strict=True)))

    def _budget(self, average: float) -> int:
        """The bits that all weights together may take."""
        return math.floor(average * int(self._counts.sum()))

    def _chosen(self, budget: int) -> tuple[int, ...]:
        return tuple(allocate(self._costs, self._sizes, budget).tolist())

    def _made(self, choice: tuple[int, ...]) -> tuple[Graph, list[Any]]:
        """The graph of a choice, and the notes that were made on the way."""
        if choice not in self._tried:
            notes = list[Any]()

            def note(key: str, value: object, node: str = "") -> None:
                notes.append((key, value, node))

            plans = dict(self.plans)
            for row, which in zip(self.rows, choice, strict=True):
                plans |= {name: replace(plans[name], alphabet=row.alphabets[which]) for name in row.product.weights}
            self._tried[choice] = self.finish(plans, replace(self.context, note=note)), notes
        return self._tried[choice]

    def _told(self, choice: tuple[int, ...], budget: int) -> Graph:
        """The graph of a choice, with everything noted about it."""
        graph, notes = self._made(choice)
        taken = [row.alphabets[which] for row, which in zip(self.rows, choice, strict=True)]
        for row, letters in zip(self.rows, taken, strict=True):
            self.context.note("width", str(letters.form), node=row.name)
        total = self._total(taken)
        self.context.note("bits_per_weight", total / int(self._counts.sum()))
        self.context.note("weight_bits", f"{total} of at most {budget}")
        for key, value, node in notes:
            self.context.note(key, value, node=node)
        return graph


def _first(alphabets: Sequence[Alphabet]) -> Alphabet:
    return alphabets[0]


def _last(alphabets: Sequence[Alphabet]) -> Alphabet:
    return alphabets[-1]


def _padded(rows: Sequence[Array], fill: float) -> Array:
    """Rows of different lengths as one array."""
    found = np.full((len(rows), max(map(len, rows))), fill, np.result_type(*rows))
    for row, values in zip(found, rows, strict=True):
        row[: len(values)] = values
    return found
