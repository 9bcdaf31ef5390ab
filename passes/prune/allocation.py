"""How much of each weight constant goes, when a fraction of all of them is to go."""

from __future__ import annotations

import numpy as np

from passes.prune.granularity import smallest
from passes.prune.pruner import Pruner


def in_each(pruner: Pruner, sparsity: float) -> dict[str, int]:
    """The same fraction of every constant."""
    return {name: round(sparsity * count) for name, count in pruner.units.items()}


def over_all(pruner: Pruner, sparsity: float) -> dict[str, int]:
    """The units that are worth least in the whole network."""
    worth = {p.name: pruner.granularity.units(pruner.relative[p.name]) for p in pruner.parts}
    if not worth:
        return {}
    together = np.concatenate(list(worth.values()))
    marked = smallest(together, round(sparsity * len(together)))
    parts = np.split(marked, np.cumsum([len(w) for w in worth.values()])[:-1])
    return {name: int(part.sum()) for name, part in zip(worth, parts, strict=True)}
