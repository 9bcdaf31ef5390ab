"""The sparsity of every layer, searched: as much as possible goes, while the loss stays below a floor.

The state is the vector of sparsities of all weight constants; a move changes one of them, picked at random, by a step.
`rmhc`, random-mutation hill climbing, takes a move when more weights go and the loss allows it; `sa`, simulated
annealing, also takes moves that make the network larger by d with probability exp(-d / T), while T falls (Pietron &
Wielgosz 2020, "Retrain or not retrain? Efficient pruning methods of deep CNN networks").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from irc.diagnostics import error
from irc.types import Array

_COOLING = 0.02  # the last temperature, relative to the first: that of a step of an average part
_FINEST = 1 / 16  # of the step


@dataclass(frozen=True, slots=True)
class Search:
    """`loss` of a state must not exceed `floor`; `shares` are the sizes of the parts, of 1 together."""

    loss: Callable[[Array], float]
    floor: float
    shares: Array
    step: float
    evaluations: int
    annealed: bool
    seed: int = 0

    def best(self, start: Array) -> Array:
        """The sparsest state found; the search begins at `start`, or as far towards zero as the loss asks."""
        state, used = self._feasible(start)
        best, rng, steps = state, np.random.default_rng(self.seed), np.full(len(state), self.step)
        for count in range(used, self.evaluations):
            move, at = self._moved(state, steps, rng)
            gain = float(self.shares @ (move - state))
            taken = self._welcome(gain, count / self.evaluations, rng) and self.loss(move) <= self.floor
            if taken:
                state = move
                best = max(best, state, key=lambda s: float(self.shares @ s))
            elif not self.annealed:  # the layer has come to its edge: go on with finer steps
                steps[at] = max(steps[at] / 2, self.step * _FINEST)
        return best

    def _feasible(self, start: Array) -> tuple[Array, int]:
        """The first of start, start / 2, start / 4, ... 0 whose loss is low enough; and how many were tried."""
        for used in range(max(1, self.evaluations)):
            state = start * (0.5**used if used + 1 < self.evaluations else 0)
            if self.loss(state) <= self.floor:
                return state, used + 1
        raise error("E306", f"no network within a loss of {self.floor:g} was found", operator="prune",
                    remedy="The network before is not within it either; raise floor.")

    def _moved(self, state: Array, steps: Array, rng: np.random.Generator) -> tuple[Array, int]:
        """One sparsity up or, when annealing, down."""
        at = int(rng.integers(len(state)))
        sign = rng.choice((-1.0, 1.0)) if self.annealed else 1.0  # a hill climber takes no step down
        move = state.copy()
        move[at] = np.clip(move[at] + sign * steps[at], 0, 1)
        return move, at

    def _welcome(self, gain: float, progress: float, rng: np.random.Generator) -> bool:
        """Whether a move that removes so much more is taken, if the loss allows."""
        if gain > 0:
            return True
        temperature = self.step * float(self.shares.mean()) * _COOLING**progress
        return self.annealed and gain < 0 and bool(rng.random() < np.exp(gain / temperature))
