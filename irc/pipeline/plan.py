"""A pipeline as a value: the steps, and the guards that hold groups of steps to a score.

`str()` of an item is its text in the pipeline language; reading that text gives the item back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from irc.metric import Bound
from irc.pipeline.selector import Both, Everything, Selector
from irc.pipeline.step import Exact, Pass
from irc.text.values import print_fields


@dataclass(frozen=True, slots=True)
class Step:
    """One pass to run: the pass with its options, the nodes it may touch, and how the user wrote it.

    `within` is what a guard around the step leaves of these nodes; with none of them left the step does not run.
    """

    pass_: Pass
    selector: Selector = field(default_factory=Everything)
    word: str = ""
    text: str = ""
    within: Selector = field(default_factory=Everything)

    @property
    def exact(self) -> bool:
        """Whether the pass promises to change no output."""
        return isinstance(self.pass_.keeps, Exact)

    def __str__(self) -> str:
        options = " ".join(print_fields(self.pass_))
        chosen = "" if isinstance(self.selector, Everything) else f" @ {self.selector}"
        return self.word + (f"{{{options}}}" if options else "") + chosen


@dataclass(frozen=True, slots=True)
class Guarded:
    """`try(steps) until bound else otherwise`: the steps, but for layers spared so that the bound holds; those get
    the other steps."""

    steps: tuple[Item, ...]
    bound: Bound
    otherwise: tuple[Item, ...] = ()
    text: str = ""

    @property
    def word(self) -> str:
        return "try"

    def __str__(self) -> str:
        rest = f" else ({print_plan(self.otherwise)})" if self.otherwise else ""
        return f"try({print_plan(self.steps)}) until {self.bound}{rest}"


Item: TypeAlias = Step | Guarded


def print_plan(items: Iterable[Item]) -> str:
    """The text of a pipeline."""
    return ", ".join(map(str, items))


def passes_of(items: Iterable[Item]) -> Iterator[Step]:
    """Every step, those of guards and of their other parts included."""
    for item in items:
        match item:
            case Step():
                yield item
            case Guarded():
                yield from passes_of((*item.steps, *item.otherwise))


def bounds_of(items: Iterable[Item]) -> Iterator[Bound]:
    """The bound of every guard."""
    for item in items:
        if isinstance(item, Guarded):
            yield item.bound
            yield from bounds_of((*item.steps, *item.otherwise))


def unguarded(items: Iterable[Item]) -> Iterator[Step]:
    """The steps that run when every guard holds at once."""
    for item in items:
        match item:
            case Step():
                yield item
            case Guarded():
                yield from unguarded(item.steps)


def narrowed(item: Item, chosen: Selector) -> Item:
    """The item with the user's `chosen` nodes only."""
    match item:
        case Step():
            return replace(item, selector=both(chosen, item.selector))
        case Guarded():
            steps, otherwise = (tuple(narrowed(i, chosen) for i in part) for part in (item.steps, item.otherwise))
            return replace(item, steps=steps, otherwise=otherwise)


def confined(items: Sequence[Item], left: Selector) -> tuple[Item, ...]:
    """The items as a guard runs them: what is not exact takes only the nodes that are `left`."""
    return tuple(_confined(item, left) for item in items)


def _confined(item: Item, left: Selector) -> Item:
    match item:
        case Step():
            return item if item.exact else replace(item, within=both(left, item.within))
        case Guarded():
            return replace(item, steps=confined(item.steps, left), otherwise=confined(item.otherwise, left))


def both(outer: Selector, mine: Selector) -> Selector:
    """The nodes of both selectors."""
    if isinstance(outer, Everything):
        return mine
    return outer if isinstance(mine, Everything) else Both(outer, mine)
