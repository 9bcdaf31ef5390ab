"""Masking: a channel is dead when the weights and biases that make it are zero.

The masked network has all its channels still; the pruned one is the same network without them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from irc.graph import Constant, Graph
from irc.types import Array, Float
from passes.prune.channels import Channels, mixers
from passes.prune.known import known_values
from passes.prune.removal import removable


def masked(channels: Channels, gone: Array) -> Graph:
    """The graph with zeros for the rows of weights and the biases of the components that `gone` marks."""
    made = {constant.name: constant for constant in _emptied(channels, gone)}
    return channels.graph.map_constants(lambda c: made.get(c.name, c))


def _emptied(channels: Channels, gone: Array) -> Iterator[Constant]:
    dead = gone[channels.component] & channels.is_row
    for name, constant in channels.graph.constants.items():
        marks = [dead[axis] for axis in channels.axes[name]]
        if isinstance(constant.type.format, Float) and any(mark.any() for mark in marks):
            data = np.array(constant.data)
            for axis, mark in enumerate(marks):
                np.moveaxis(data, axis, 0)[mark] = 0
            yield replace(constant, data=data)


def prunable(channels: Channels) -> Array:
    """For each component whether masking it makes it removable: a layer makes it, and whatever reads it then gets a
    constant that can do without it."""
    made = np.zeros(channels.count, np.bool_)
    for mixer in mixers(channels):
        made[mixer.outputs] = True
    made[0] = False
    network = masked(channels, made)
    return made & removable(replace(channels, graph=network), known_values(network))
