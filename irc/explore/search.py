"""Which pipelines of a space to try: all of them where the budget allows, else those that evolution proposes.

A search proposes a generation and learns what became of it before it proposes the next one, so what it tries depends on
its seed and never on how many workers there are or which of them is the fastest.

Evolution is NSGA-II (Deb, Pratap, Agarwal, Meyarivan 2002, "A Fast and Elitist Multiobjective Genetic Algorithm"):
parents are the best of all trials so far by rank and crowding distance, chosen by binary tournaments; a child takes
each choice from either parent and makes one of them anew. It begins with the points at which every hole has the same
alternative, and with random ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

from irc.explore.front import crowding, ranks
from irc.explore.space import Choices, Space
from irc.types import Array

POPULATION = 12
_ATTEMPTS = 50  # at a child that is new, before the space is taken to be used up

Objectives = tuple[float, ...]  # each better when it is smaller


class Search(ABC):
    """Proposes generations of pipelines (`ask`), and learns what became of each (`tell`)."""

    @abstractmethod
    def ask(self) -> list[str]:
        """The next pipelines to try, none of them proposed before; empty at the end."""

    @abstractmethod
    def tell(self, found: Sequence[Objectives | None]) -> None:
        """The objectives of the pipelines that were asked for last, in their order; None where a trial failed."""


def search(space: Space, trials: int, seed: int) -> Search:
    """The search of at most so many pipelines of a space."""
    return Exhaustive(space) if space.size <= trials else Evolution(space, trials, seed)


class Exhaustive(Search):
    """All pipelines of a space, in one generation."""

    def __init__(self, space: Space) -> None:
        every = product(*(range(gene.alternatives) for gene in space.genes))
        self._left = list(dict.fromkeys(map(space.pipeline, every)))

    def ask(self) -> list[str]:
        generation, self._left = self._left, []
        return generation

    def tell(self, found: Sequence[Objectives | None]) -> None:
        """There is nothing to learn."""


class Evolution(Search):
    """NSGA-II over the genes of a space, without trying any pipeline twice."""

    def __init__(self, space: Space, trials: int, seed: int) -> None:
        self._space = space
        self._sizes = np.array([gene.alternatives for gene in space.genes])
        self._left = trials
        self._rng = np.random.default_rng(seed)
        self._proposed: set[str] = set()
        self._asked: list[Choices] = []
        self._known: list[tuple[Choices, Objectives]] = []
        self._begun = False

    def ask(self) -> list[str]:
        made = [] if self._begun else self._fresh(self._uniform())
        self._begun = True
        for source in (self._children, self._strangers):  # strangers first, and where families die out
            made += self._fresh(source(), POPULATION - len(made))
        made = made[: self._left]
        self._left -= len(made)
        self._asked = [choices for choices, _ in made]
        return [pipeline for _, pipeline in made]

    def tell(self, found: Sequence[Objectives | None]) -> None:
        self._known += [(c, o) for c, o in zip(self._asked, found, strict=True) if o is not None]

    def _fresh(self, source: Iterator[Choices], most: int | None = None) -> list[tuple[Choices, str]]:
        """Choices whose pipelines are new, at most so many, until the source often has none."""
        made, idle = list[tuple[Choices, str]](), 0
        while (most is None or len(made) < most) and idle < _ATTEMPTS:
            choices = next(source, None)
            if choices is None:
                break
            pipeline = self._space.pipeline(choices)
            idle = 0 if pipeline not in self._proposed else idle + 1
            if pipeline not in self._proposed:
                self._proposed.add(pipeline)
                made.append((choices, pipeline))
        return made

    def _uniform(self) -> Iterator[Choices]:
        """The same alternative everywhere, as far as there are so many."""
        for number in range(int(self._sizes.max())):
            yield _choices(np.minimum(number, self._sizes - 1))

    def _strangers(self) -> Iterator[Choices]:
        while True:
            yield _choices(self._rng.integers(self._sizes))

    def _children(self) -> Iterator[Choices]:
        if not self._known:
            return
        parent, changeable = self._tournament(), np.flatnonzero(self._sizes > 1)
        while True:
            mother, father = parent(), parent()
            child = np.where(self._rng.random(len(self._sizes)) < 0.5, mother, father)
            gene = self._rng.choice(changeable)
            child[gene] = (child[gene] + self._rng.integers(1, self._sizes[gene])) % self._sizes[gene]
            yield _choices(child)

    def _tournament(self) -> Callable[[], Array]:
        """Draws parents: of two of the best trials the one of lower rank, among equals the one with more room."""
        choices, points = (np.array(column) for column in zip(*self._known, strict=True))
        rank = ranks(points)
        room = np.zeros(len(points))
        for level in np.unique(rank):
            room[rank == level] = crowding(points[rank == level])
        best = np.lexsort((-room, rank))[:POPULATION]  # ties: the older one

        def draw() -> Array:
            return np.asarray(choices[best[self._rng.integers(len(best), size=2).min()]])

        return draw


def _choices(numbers: Array) -> Choices:
    return tuple(int(number) for number in numbers)
