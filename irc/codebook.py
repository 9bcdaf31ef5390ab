"""Weights that share values: `gather(codebook, indices)` with both constant.

A look-up is an op on constants, so the layer that reads it needs no second meaning, and whoever wants plain weights has
them from `stored`.
"""

from __future__ import annotations

from irc.graph import Constant, Graph, Node
from irc.ops.shape import Gather


def lookup_of(graph: Graph, name: str) -> Node | None:
    """The node that picks the elements of a value from a constant codebook [values] by constant indices."""
    maker = graph.producers.get(name)
    if maker is None or not isinstance(maker.op, Gather) or any(o not in graph.constants for o in maker.operands):
        return None
    return maker if len(graph.tensor(maker.operands[0]).shape) == 1 else None


def stored(graph: Graph, name: str) -> Constant | None:
    """The constant of that name, or the elements that are picked from a codebook as one; None when it is neither."""
    maker = lookup_of(graph, name)
    if maker is None:
        return graph.constants.get(name)
    codebook, index = (graph.constants[o].data for o in maker.operands)
    return Constant(name, graph.tensor(name), codebook[index])
