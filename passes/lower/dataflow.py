"""Lower integers to streams: every tensor becomes a channel, every op one or two actors, folded to one multiplier.

A channel carries the elements of a tensor in some order. The order is tracked as a `Layout`, so that flattening and
transposing cost no hardware: the next layer's weights are permuted instead.

before:  c1: s17[1, 6, 28, 28] = conv(image, c1_weight, strides=[1, 1], pads=[2, 2, 2, 2], dilations=[1, 1])
after:   c1_window: stream u8[784, 25] lanes=1 repeat=6 depth=5 = window(image, size=[28, 28], channels=1, ...)
         c1: stream s17[784, 6] lanes=1 depth=10 = matvec(c1_window, c1_weight)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from irc.dataflow.depths import with_depths
from irc.graph import Graph
from irc.ops.routing import Fork
from irc.pipeline.step import Context, Contract, Exact, Pass
from irc.types import Level
from passes.lower.streams.lowering import Lowering


@dataclass(frozen=True, slots=True)
class LowerDataflow(Pass):
    """Turn integer tensors into streams between actors, one multiplier a layer; `parallelize` folds it out."""

    keeps: ClassVar[Contract] = Exact()
    requires: ClassVar[Level | None] = Level.INTEGER
    ensures: ClassVar[Level | None] = Level.DATAFLOW

    def run(self, graph: Graph, context: Context) -> Graph:
        lowered = _forked(Lowering(graph).run())
        return lowered if context.trial else with_depths(lowered)  # depths refuse nothing, and need every firing


def _forked(graph: Graph) -> Graph:
    """The graph with a fork wherever a channel has more than one reader."""
    readers: dict[str, list[tuple[str, int]]] = {}
    for node in graph.nodes:
        for i, operand in enumerate(node.operands):
            readers.setdefault(operand, []).append((node.name, i))
    for port in graph.outputs:
        readers.setdefault(port.value, []).append((f"out:{port.name}", -1))
    edit = graph.edit()
    renamed: dict[tuple[str, int], str] = {}
    for name, uses in readers.items():
        if len(uses) > 1 and name not in graph.constants:
            origin = graph.producers[name].origin if name in graph.producers else ""
            fork = edit.node(f"{name}_fork", Fork(len(uses)), [name], [graph.types[name]], origin)
            edit.insert_after(name, fork)
            renamed.update(zip(uses, fork.results, strict=True))
    for node in graph.nodes:
        operands = tuple(renamed.get((node.name, i), o) for i, o in enumerate(node.operands))
        if operands != node.operands:
            edit.replace(node, replace(node, operands=operands))
    edit.set_outputs([replace(p, value=renamed.get((f"out:{p.name}", -1), p.value)) for p in graph.outputs])
    return edit.finish()
