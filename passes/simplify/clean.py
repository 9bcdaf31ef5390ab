"""`clean`: remove what nobody needs, and compute everything once.

Before::

    a: f32[1, 8] = relu(x)
    b: f32[1, 8] = relu(x)
    c: f32[1, 8] = relu(b)
    d: f32[2, 4] = reshape(c, shape=[2, 4])
    e: f32[8, 1] = reshape(d, shape=[8, 1])
    unused: f32[1, 8] = add(x, x)
    out y: f32[8, 1] = e

After::

    a: f32[1, 8] = relu(x)
    e: f32[8, 1] = reshape(a, shape=[8, 1])
    out y: f32[8, 1] = e
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import ClassVar

import numpy as np

from irc.graph import MISSING, Constant, Graph, Node
from irc.ops.elementwise import Add, Clip, Div, Mul, Relu, Sub
from irc.ops.shape import Concat, Reshape, Slice, Transpose
from irc.pipeline.step import Context, Contract, Exact, Pass
from irc.types import Level, StreamType, TensorType


@dataclass(frozen=True, slots=True)
class Clean(Pass):
    """Remove dead code, duplicates and operations that do nothing."""

    keeps: ClassVar[Contract] = Exact()
    requires: ClassVar[Level | None] = None

    def run(self, graph: Graph, context: Context) -> Graph:
        if graph.level is Level.DATAFLOW:  # every channel has one producer and one consumer: nothing to share
            return graph
        return without_dead_code(_simplified(graph, context))


def _simplified(graph: Graph, context: Context) -> Graph:
    """One walk in topological order: duplicates and identities redirect to the value they equal."""
    edit, alias = graph.edit(), _equal_constants(graph.constants)
    makers: dict[str, Node] = {}
    seen: dict[object, str] = {}
    for original in graph.nodes:
        node, same = _rewired(original, alias), original.name
        if context.selected(original):
            node = _shortened(node, makers)
            same = _same_value(node, makers, graph) or seen.setdefault((node.op, node.operands, node.types), same)
        if same != node.name:
            alias[node.name] = same
            edit.replace(original)
            continue
        makers[node.name] = node
        if node != original:
            edit.replace(original, node)
    for old, new in alias.items():
        edit.redirect(old, new)
    return edit.finish()


def _rewired(node: Node, alias: Mapping[str, str]) -> Node:
    operands = tuple(alias.get(o, o) for o in node.operands)
    return node if operands == node.operands else replace(node, operands=operands)


def _equal_constants(constants: Mapping[str, Constant]) -> dict[str, str]:
    """Each constant that repeats an earlier one, with that earlier one."""
    first: dict[tuple[object, bytes], str] = {}
    kept = {name: first.setdefault((c.type, blake2b(np.ascontiguousarray(c.data).data).digest()), name)
            for name, c in constants.items()}
    return {name: same for name, same in kept.items() if name != same}


def _shortened(node: Node, makers: Mapping[str, Node]) -> Node:
    """A reshape of a reshape reads the first operand; so do two transposes, with their permutations composed."""
    below = makers.get(node.operands[0]) if node.operands else None
    match node.op, below.op if below else None:
        case Reshape(), Reshape():
            assert below is not None
            return replace(node, operands=below.operands)
        case Transpose(outer), Transpose(inner):
            assert below is not None
            return replace(node, op=Transpose(tuple(inner[p] for p in outer)), operands=below.operands)
        case _:
            return node


def _same_value(node: Node, makers: Mapping[str, Node], graph: Graph) -> str | None:
    """The operand that this node merely repeats."""
    if isinstance(node.type, StreamType) or not node.operands:
        return None
    first, below = node.operands[0], makers.get(node.operands[0])
    match node.op:
        case Transpose(perm) if perm == tuple(range(len(perm))):
            return first
        case Concat() if len(node.operands) == 1:
            return first
        case Reshape() | Slice(steps=_) if _type(first, makers, graph) == node.type and _keeps_order(node):
            return first
        case Relu() if below and isinstance(below.op, Relu):
            return first
        case Relu() if below and isinstance(below.op, Clip) and below.op.low >= 0:
            return first
        case Add() | Sub():
            return _neutral(node, 0, makers, graph)
        case Mul() | Div():
            return _neutral(node, 1, makers, graph)
        case _:
            return None


def _keeps_order(node: Node) -> bool:
    return not isinstance(node.op, Slice) or all(step > 0 for step in node.op.steps)


def _neutral(node: Node, number: int, makers: Mapping[str, Node], graph: Graph) -> str | None:
    """The operand that stays when the other one is the neutral element, provided the type stays too."""
    a, b = node.operands
    swappable = isinstance(node.op, Add | Mul)
    for kept, other in ((a, b), (b, a)) if swappable else ((a, b),):
        constant = graph.constants.get(other)
        if constant is not None and np.all(constant.data == number) and _type(kept, makers, graph) == node.type:
            return kept
    return None


def _type(name: str, makers: Mapping[str, Node], graph: Graph) -> TensorType | None:
    """The type of a value; only one made by a single-result node may stand for another."""
    found = makers[name].type if name in makers else graph.types[name]
    return found if isinstance(found, TensorType) else None


def without_dead_code(graph: Graph) -> Graph:
    """The graph without nodes and constants that no output depends on."""
    live = {port.value for port in graph.outputs}
    for node in reversed(graph.nodes):
        if any(result in live for result in node.results):
            live.update(node.operands)
    live.discard(MISSING)
    nodes = tuple(node for node in graph.nodes if any(result in live for result in node.results))
    constants = {name: c for name, c in graph.constants.items() if name in live}
    if len(nodes) == len(graph.nodes) and len(constants) == len(graph.constants):
        return graph
    return replace(graph, nodes=nodes, constants=constants)
