"""Guards: `try(steps) until accuracy>=-0.5 else step` gives the steps to as many layers as the score allows.

A signed limit (-0.5, +0.03) is relative to the network as it came in, an unsigned one (98.0) is absolute. Metrics of
which more is better take >=, the others <=. Several steps behind `else` stand in parentheses.

The steps run on the whole graph first. When the score is not reached, layers are spared in the order of what each
costs: the error of the output when it alone is compressed (see `irc explain`), measured once. Of the numbers of spared
layers, the smallest that doubling and bisection find is taken; every try starts from the graph as it was in front of
the guard, and is scored with the `else` part, which runs on exactly the spared layers. Exact steps run on all layers.
When even sparing all layers does not help, the guard fails with E308.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from irc.diagnostics import IrcError, error
from irc.graph import Graph
from irc.metric import mean_squared_error
from irc.pipeline.blame import Blame, Layer, weighted_layers
from irc.pipeline.judge import Judge
from irc.pipeline.plan import Guarded, Item, confined, passes_of
from irc.pipeline.record import Note, Trial
from irc.pipeline.selector import Layers, Negation, Selector
from irc.samples import take
from irc.types import Level

Run = Callable[[Graph, Sequence[Item]], Trial]
FEW = 64  # samples on which a layer alone is scored


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: the layers that were spared, what came out, and how good it is."""

    spared: tuple[Layer, ...]
    trial: Trial
    score: float


@dataclass(frozen=True)
class Hold:
    """A guard at work on a graph: `run` runs items, `judge` scores with the guard's metric, `tell` shows progress."""

    guard: Guarded
    start: Graph
    judge: Judge
    run: Run
    tell: Callable[[str], None] = lambda text: None
    tried: dict[int, Attempt] = field(default_factory=dict)

    def result(self) -> tuple[Trial, tuple[Note, ...]]:
        """What the first number of spared layers with which the guard holds gave. Raises E308 when none does."""
        most, least = -1, 0
        while not self._holds(least):
            if least == len(self.ranked):
                raise self._hopeless()
            most, least = least, min(max(2 * least, 1), len(self.ranked))
        while least - most > 1:
            middle = (most + least) // 2
            most, least = (most, middle) if self._holds(middle) else (middle, least)
        return self.tried[least].trial, tuple(self._notes(self.tried[least]))

    def _holds(self, count: int) -> bool:
        if count not in self.tried:
            self.tried[count] = self._attempt(self.ranked[:count] if count else ())
        return self.guard.bound.holds(self.tried[count].score, self.judge.reference)

    def _attempt(self, spared: tuple[Layer, ...]) -> Attempt:
        self.tell(f"{self.guard.bound}: {len(spared)} layers spared")
        trial = self._without(spared) if spared else self.run(self.start, self.guard.steps)
        return Attempt(spared, trial, self.judge.score(trial.graph))

    def _without(self, spared: tuple[Layer, ...]) -> Trial:
        """The steps on all layers but some, and the other steps on those."""
        try:
            trial = self.run(self.start, confined(self.guard.steps, Negation(selector(spared))))
            rest = self.run(trial.graph, confined(self.guard.otherwise, selector(spared)))
        except IrcError as problem:
            reached, why = shown(self.tried[0].score), problem.diagnostics[0].message
            raise error("E308", f"the guard {self.guard.bound} does not hold: the score is {reached}; with "
                                f"{len(spared)} layers spared, {why}",
                        remedy="Loosen the bound, ask the steps for less, or move those that every layer must take "
                               "part in behind the guard.") from None
        return Trial(rest.graph, trial.done + rest.done)

    # the order in which layers are spared

    @cached_property
    def ranked(self) -> tuple[Layer, ...]:
        """The layers that the steps may touch, the one that costs most first; equal ones in the graph's order."""
        costs = self.costs
        return tuple(sorted(self._touched(), key=lambda layer: -costs[layer.name]))

    @cached_property
    def costs(self) -> Mapping[str, float]:
        """The cost of every layer: from one run of both networks where values can be told apart, else alone."""
        base, end = self.base, compressed(self.base, self.tried[0].trial)
        known = Blame(base, end, self.judge.data).costs() if end is not None else {}
        return {layer.name: known[layer.name] if layer.name in known else self._alone(layer)
                for layer in self._touched()}

    @cached_property
    def base(self) -> Graph:
        """The graph in front of the first step that is not exact."""
        graph = self.start
        for record, after in self.tried[0].trial.done:
            if record.contract != "exact":
                break
            graph = after
        return graph

    def _touched(self) -> tuple[Layer, ...]:
        lossy = [step for step in passes_of(self.guard.steps) if not step.exact]
        taken = frozenset[str]().union(*(s.selector.select(self.base) & s.within.select(self.base) for s in lossy))
        return tuple(layer for layer in weighted_layers(self.base) if layer.name in taken)

    def _alone(self, layer: Layer) -> float:
        """The squared error of the output when the steps run on one layer alone; 0 when they cannot."""
        few = Judge(self.judge.metric, self.base, take(self.judge.data, FEW))
        try:
            graph = self.run(self.base, confined(self.guard.steps, selector((layer,)))).graph
        except IrcError:
            return 0.0
        return mean_squared_error(few.outputs(graph), few.expected)

    # what is said about it

    def _notes(self, taken: Attempt) -> Iterator[Note]:
        name = self.judge.metric.name
        yield Note(f"{name} before", self.judge.reference)
        for count in sorted(self.tried, reverse=True):
            if self.tried[count] is not taken:
                yield Note(f"{name} with {count} spared", self.tried[count].score)
        yield Note(f"{name} after", taken.score)
        for layer in taken.spared:
            yield Note("spared, cost", self.costs[layer.name], layer.name)

    def _hopeless(self) -> IrcError:
        bound, reference = self.guard.bound, self.judge.reference
        first, last = self.tried[0].score, self.tried[len(self.ranked)].score
        spared = f", and {shown(last)} with all {len(self.ranked)} layers spared" if self.ranked else ""
        wanted = f", so {shown(bound.target(reference))} is wanted" if bound.relative else ""
        return error("E308", f"the guard {bound} does not hold: the score is {shown(first)}{spared}; the network as it "
                             f"came in has {shown(reference)}{wanted}",
                     remedy="Loosen the bound, take steps that cost less, or an else part that costs less.")


def compressed(base: Graph, trial: Trial) -> Graph | None:
    """The last graph of a trial on reals; None where there is no such graph or the network before is not on reals."""
    graphs = [graph for _, graph in trial.done if graph.level is Level.MODEL]
    return graphs[-1] if graphs and base.level is Level.MODEL else None


def selector(layers: Sequence[Layer]) -> Selector:
    """Exactly these layers, in any graph that is made from theirs."""
    return Layers(tuple((layer.name, layer.node.origin) for layer in layers))


def shown(score: float) -> str:
    return f"{score:.6g}"


