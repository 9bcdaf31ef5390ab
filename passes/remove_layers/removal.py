"""Taking one residual block out of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from irc.graph import Graph
from irc.interpreter import evaluate
from irc.ops.elementwise import Clip, Relu
from irc.types import Array, TensorType
from passes.remove_layers.blocks import Block
from passes.remove_layers.priority import chunks
from passes.remove_layers.segment import segment
from passes.simplify.clean import without_dead_code


def without(graph: Graph, block: Block) -> Graph:
    """The graph with `x` in place of `x + F(x)`.

    A relu (or clip) behind the addition is dropped where `x` is the result of the same one: once is enough.
    """
    edit, maker = graph.edit(), graph.producers.get(block.skip)
    edit.replace(block.addition)
    edit.redirect(block.name, block.skip)
    for user in graph.users[block.name]:
        if maker and isinstance(user.op, Relu | Clip) and user.op == maker.op:
            edit.replace(user)
            edit.redirect(user.name, block.name)
    return without_dead_code(edit.finish())


def with_mean(graph: Graph, block: Block, feeds: Mapping[str, Array]) -> Graph:
    """The graph with `x + E[F(x)]`, a constant for each channel, in place of `x + F(x)`."""
    edit, mean = graph.edit(), mean_of_branch(graph, block, feeds)
    kind = graph.tensor(block.branch)
    constant = edit.constant(f"{block.name}_mean", TensorType(kind.format, mean.shape), mean)
    edit.replace(block.addition, replace(block.addition, operands=(block.skip, constant)))
    return without_dead_code(edit.finish())


def mean_of_branch(graph: Graph, block: Block, feeds: Mapping[str, Array]) -> Array:
    """The mean of F(x) over samples and positions, with one element for each channel."""
    probe, kept = segment(graph, (), (block.branch,)), block.layers[-1].axis + 1
    axes = tuple(i for i in range(1, 1 + len(graph.tensor(block.branch).shape)) if i != kept)
    means = [evaluate(probe, part)[block.branch].mean(axis=axes, keepdims=True) for part in chunks(feeds)]
    return np.asarray(np.concatenate(means).mean(axis=0))
