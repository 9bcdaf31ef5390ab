"""Runs the steps of a pipeline, and holds every pass to what it declares.

After each pass the graph is verified and the contract checked on data (`irc.pipeline.contract`); a breach is an error
that names the pass and the first value that differs. Where a step needs a lower level than the graph is at, the named
pipelines `to-integer` and `to-dataflow` are run first. What a guard tries (`irc.pipeline.guard`) runs in a driver of
its own; its records are kept when the guard settles on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from irc.diagnostics import IrcError, error
from irc.graph import Graph, Node
from irc.metric import Bound
from irc.pipeline import plugins
from irc.pipeline.contract import Checker
from irc.pipeline.guard import Hold
from irc.pipeline.judge import Judge
from irc.pipeline.language import parse_pipeline
from irc.pipeline.plan import Guarded, Item, Step, bounds_of, unguarded
from irc.pipeline.record import Note, Record, Trial
from irc.pipeline.selector import Everything
from irc.pipeline.step import Context, Lossy
from irc.samples import bind
from irc.text import save_graph
from irc.types import Array, Level

LADDER = tuple(Level)  # highest first
REACH = {Level.INTEGER: "to-integer", Level.DATAFLOW: "to-dataflow"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The graph that a pipeline made, and the record of every step, automatic ones included."""

    graph: Graph
    records: tuple[Record, ...]


def run_pipeline(
    graph: Graph,
    steps: Sequence[Item],
    *,
    calibration: Mapping[str, Array] | None = None,
    dump: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    observe: Callable[[Record, Graph], None] | None = None,
    seed: int = 0,
    check: bool = True,
    judge: Judge | None = None,
    trial: bool = False,
) -> Outcome:
    """Run steps and guards on `graph`.

    `calibration` is user data (`load_samples`). `dump` is a folder that gets `NN-word.irc` after each step.
    `progress(text, done, total)` is called before each step, `observe(record, graph)` after each pass. Raises E305
    when a pass breaks its contract, E306 when a step cannot run at the level of the graph, E308 when a guard does not
    hold, E401 when the data do not fit, E402 when a guard has nothing to judge by.
    A `trial` finds what is refused, in little time.
    """
    for bound in bounds_of(steps):
        require_judge(judge, bound)
    driver = _Driver(graph, calibration, dump, seed, Checker(calibration, seed) if check else None, observe, judge)
    driver.quick = trial
    for done, item in enumerate(steps):
        if progress is not None:
            driver.tell = partial(_told, progress, done, len(steps))
        driver.tell(item.text)
        driver.run(item)
    return Outcome(driver.graph, tuple(driver.records))


def require_judge(judge: Judge | None, bound: Bound) -> Judge:
    """The judge that scores with the metric of a bound, or E402."""
    if judge is None:
        raise error("E402", f"the guard {bound} needs data to judge by", remedy="Give them with --data data.npz.")
    return judge.by(bound.metric)


def steps_to(have: Level, want: Level) -> tuple[Step, ...]:
    """The steps that take a graph from level `have` down to `want`; none when it is there. Raises E306 upwards."""
    start, end = LADDER.index(have), LADDER.index(want)
    if end < start:
        raise error("E306", f"the graph is at {have.value} level and cannot go back to {want.value} level")
    words = (REACH[level] for level in LADDER[start + 1 : end + 1])
    return tuple(step for word in words for step in unguarded(parse_pipeline(plugins.find_pipeline(word), word)))


class _Driver:
    """The graph as it stands, and what has been done to it."""

    def __init__(self, graph: Graph, calibration: Mapping[str, Array] | None, dump: Path | None, seed: int,
                 checker: Checker | None, observe: Callable[[Record, Graph], None] | None = None,
                 judge: Judge | None = None) -> None:
        self.graph = graph
        self.calibration = calibration
        self.folder = dump
        self.seed = seed
        self.checker = checker
        self.observe = observe
        self.judge = judge
        self.quick = False
        self.tell: Callable[[str], None] = _silent
        self.records: list[Record] = []
        self.dump("input")

    def run(self, item: Item) -> None:
        match item:
            case Step():
                self.step(item)
            case Guarded():
                self.guarded(item)

    def guarded(self, guard: Guarded) -> None:
        """Keep what the guard settles on: the records of its steps, then its own."""
        before, start = self.graph, time.perf_counter()
        trial, notes = Hold(guard, before, require_judge(self.judge, guard.bound), self.trial, self.tell).result()
        seconds = time.perf_counter() - start
        for record, graph in trial.done:
            self.keep(record, graph)
        deviation = self.checker.compare(before, trial.graph, Lossy(), guard.text) if self.checker else None
        self.keep(Record(guard.word, guard.text, str(guard.bound), seconds, len(before.nodes), len(trial.graph.nodes),
                         notes, deviation), trial.graph)

    def trial(self, graph: Graph, items: Sequence[Item]) -> Trial:
        """Run items on a graph aside: what comes out is kept only if a guard takes it."""
        done = list[tuple[Record, Graph]]()
        aside = _Driver(graph, self.calibration, None, self.seed, self.checker, lambda *news: done.append(news),
                        self.judge)
        aside.quick = self.quick
        for item in items:
            aside.run(item)
        return Trial(aside.graph, tuple(done))

    def step(self, step: Step) -> None:
        """Reach the level that the step requires, then run it."""
        wanted = step.pass_.requires
        if wanted is not None and wanted is not self.graph.level:
            for needed in self.descent(step, wanted):
                self.apply(needed)
        self.apply(step)

    def descent(self, step: Step, wanted: Level) -> tuple[Step, ...]:
        try:
            return steps_to(self.graph.level, wanted)
        except IrcError:
            raise error("E306", f"pass '{step.text}' works at {wanted.value} level, "
                                f"but the graph is at {self.graph.level.value} level already",
                        remedy="move it further to the front of the pipeline") from None

    def apply(self, step: Step) -> None:
        before, notes = self.graph, list[Note]()
        self.require_level(step)
        chosen = self.chosen(step)
        if not chosen and not isinstance(step.within, Everything):
            return
        context = self.context(step, chosen, notes)
        start = time.perf_counter()
        after = step.pass_.run(before, context)
        seconds = time.perf_counter() - start
        _verify(after, step)
        contract = step.pass_.keeps
        deviation = self.checker.compare(before, after, contract, step.text) if self.checker else None
        self.keep(Record(step.word, step.text, str(contract), seconds, len(before.nodes), len(after.nodes),
                         tuple(notes), deviation), after)

    def keep(self, record: Record, graph: Graph) -> None:
        self.graph = graph
        self.records.append(record)
        self.dump(record.word)
        if self.observe is not None:
            self.observe(record, graph)

    def require_level(self, step: Step) -> None:
        wanted = step.pass_.requires
        if wanted is not None and self.graph.level is not wanted:
            raise error("E306", f"pass '{step.text}' works at {wanted.value} level, "
                                f"but the graph is at {self.graph.level.value} level")

    def chosen(self, step: Step) -> frozenset[str]:
        """The nodes that the user's selector takes and that guards leave. Raises E306 when the former takes none."""
        chosen = step.selector.select(self.graph)
        if not chosen and not isinstance(step.selector, Everything):
            raise error("E306", f"the selector of '{step.text}' takes no node of the graph")
        return chosen & step.within.select(self.graph)

    def context(self, step: Step, chosen: frozenset[str], notes: list[Note]) -> Context:
        whole = isinstance(step.selector, Everything) and isinstance(step.within, Everything)

        def selected(node: Node) -> bool:
            return whole or node.name in chosen

        def note(key: str, value: object, node: str = "") -> None:
            notes.append(Note(key, value, node))

        data = bind(self.graph, self.calibration) if self.calibration is not None else None
        return Context(data, selected, note, self.seed, self.judge, self.quick)

    def dump(self, word: str) -> None:
        if self.folder is not None:
            save_graph(self.graph, self.folder / f"{len(self.records):02d}-{word}.irc")


def _told(progress: Callable[[str, int, int], None], done: int, total: int, text: str) -> None:
    progress(text, done, total)


def _silent(text: str) -> None:
    """Nobody watches."""


def _verify(graph: Graph, step: Step) -> None:
    """E305 when a pass made a graph that is not well formed, or left it at another level than it ensures."""
    wanted = step.pass_.ensures
    if wanted is not None and graph.level is not wanted:
        raise error("E305", f"pass '{step.text}' ensures {wanted.value} level, but left {graph.level.value} level")
    try:
        graph.verify()
    except IrcError as problem:
        first = problem.diagnostics[0]
        raise error("E305", f"pass '{step.text}' made a graph that is not well formed: {first.message}",
                    node=first.place.node, operator=first.place.operator) from None
