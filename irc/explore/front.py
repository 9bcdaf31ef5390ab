"""Pareto fronts: points that no other point beats. Every objective is better when it is smaller."""

from __future__ import annotations

import numpy as np

from irc.types import Array


def dominance(points: Array) -> Array:
    """[n, n]: whether a point [n, objectives] is nowhere worse than another one and somewhere better."""
    a, b = points[:, None, :], points[None, :, :]
    return np.asarray((a <= b).all(axis=2) & (a < b).any(axis=2))


def front(points: Array) -> list[int]:
    """The points that none dominates, in order; of equal ones the first."""
    if not len(points):
        return []
    first = np.zeros(len(points), bool)
    first[np.unique(points, axis=0, return_index=True)[1]] = True
    return [int(i) for i in np.flatnonzero(first & ~dominance(points).any(axis=0))]


def ranks(points: Array) -> Array:
    """0 for the front, 1 for the front of the others, and so on (fast non-dominated sort of Deb et al. 2002)."""
    beaten_by = dominance(points)
    rank, left = np.zeros(len(points), np.int64), np.ones(len(points), bool)
    for level in range(len(points)):
        here = left & ~beaten_by[left].any(axis=0)
        rank[here], left = level, left & ~here
        if not left.any():
            break
    return rank


def crowding(points: Array) -> Array:
    """Crowding distance of Deb et al. 2002: the room around each point; infinite at the ends of an objective."""
    room = np.zeros(len(points))
    for values in points.T:
        order = np.argsort(values, kind="stable")
        span = float(values[order[-1]] - values[order[0]]) or 1.0
        room[order[[0, -1]]] = np.inf
        room[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / span
    return room
