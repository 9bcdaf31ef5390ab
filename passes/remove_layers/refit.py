"""The layers that are left take over what a removed block did, by least squares on calibration data.

What leaves a residual block is `x + W h + b`, and in the original network, at the same place, `t`. Where a block `x +
F(x)` was taken out right behind it, `t` is the sum behind that block: so the layer in front of the gap gets `W` and
`b` that make its own block and the missing one together. This is linear regression of `t - x - W h - b` on `h`, the
values of the shortened network. All layers behind follow in order, each one making good for what is still missing in
`x`.

Where a relu comes next, places where both `t` and the sum are negative do not matter. They are left out of the
residual, and the regression is repeated with the sums found: each round lowers the squared error behind the relu
(majorization).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from irc.graph import Graph, Node
from irc.interpreter import evaluate
from irc.ops.elementwise import Relu
from irc.ops.linear import Conv
from irc.types import Array, Float, TensorType
from passes.layers import Layer, layers, statics
from passes.reconstruction.compensate import aligned
from passes.reconstruction.products import Product, products
from passes.reconstruction.statistics import moments
from passes.remove_layers.blocks import Block, is_junction
from passes.remove_layers.segment import segment

_CHUNK = 32  # samples whose patches are held together
_ROUNDS = 2  # of the regression in front of a relu
_DAMPING = 1e-3


@dataclass(frozen=True, slots=True)
class Joint:
    """Where a layer's result enters the stream of residual sums: `value` is the sum, or the result itself where nothing
    is added to it. `rectified`: only its positive part is read."""

    layer: Layer
    product: Product
    value: str
    rectified: bool


def stream_end(graph: Graph, block: Block) -> str:
    """The sum in front of a block: what its skip is the relu of, or the skip itself."""
    maker = graph.producers.get(block.skip)
    return maker.operands[0] if maker and isinstance(maker.op, Relu) else block.skip


def feeds_only(graph: Graph, value: str, block: Block) -> bool:
    """Whether nothing but a block reads the sum in front of it. Then the sum may change into what leaves the block."""
    inside = {block.skip, block.name, *(node.name for node in block.nodes)}
    readers = {user.name for name in (value, block.skip) for user in graph.users[name]}
    return readers <= inside and not any(graph.is_output(name) for name in (value, block.skip))


def refitted(original: Graph, shortened: Graph, stands_for: Mapping[str, str], feeds: Mapping[str, Array]) -> Graph:
    """The shortened graph with new weights where layers enter the stream, from the first gap on.

    `stands_for` maps each sum in front of a gap to the sum of the original network that it is to become: the one behind
    the missing block, or itself where something else reads it too. Other sums are to stay what they were.
    """
    here, there = dict(feeds), dict(feeds)
    position = {node.name: i for i, node in enumerate(shortened.nodes)}
    gap = min((position.get(value, -1) for value in stands_for), default=len(position))
    for joint in [found for found in _joints(shortened, stands_for) if position[found.value] >= gap]:
        goal = stands_for.get(joint.value, joint.value)
        target = evaluate(segment(original, there, (goal,)), there)[goal]
        seen = evaluate(segment(shortened, here, (joint.layer.x, joint.value)), here)
        change, shift, sums = _fitted(joint, seen[joint.layer.x], seen[joint.value], target)
        shortened = _changed(shortened, joint, change, shift)
        here, there = {**feeds, joint.value: sums}, {**feeds, goal: target}
    return shortened


def _joints(graph: Graph, stands_for: Mapping[str, str]) -> Iterator[Joint]:
    """In the order of the graph; one for each sum."""
    static, multiplied = statics(graph), {product.node.name: product for product in products(graph)}
    taken: dict[str, Joint] = {}
    for layer in layers(graph):
        value = _entered(graph, layer, static)
        if layer.node.name in multiplied and _is_free(graph, layer) and (value != layer.result or value in stands_for):
            rectified = all(isinstance(user.op, Relu) for user in graph.users[value]) and not graph.is_output(value)
            taken[value] = Joint(layer, multiplied[layer.node.name], value, rectified)
    yield from (taken[node.name] for node in graph.nodes if node.name in taken)


def _entered(graph: Graph, layer: Layer, static: frozenset[str]) -> str:
    """The sum that a layer's result is an operand of, else the result."""
    users = graph.users[layer.result]
    alone = len(users) == 1 and not graph.is_output(layer.result) and is_junction(graph, users[0], static)
    return users[0].name if alone else layer.result


def _is_free(graph: Graph, layer: Layer) -> bool:
    """Whether the weight and the bias of a layer are reals of its own, or a bias can be given to it."""
    def own(name: str) -> bool:
        return name in graph.constants and isinstance(graph.tensor(name).format, Float) and len(graph.users[name]) == 1

    outputs = graph.tensor(layer.node.name).shape[layer.axis]
    if not layer.bias:
        return own(layer.weight) and isinstance(layer.node.op, Conv)
    return own(layer.weight) and own(layer.bias) and graph.tensor(layer.bias).size == outputs


def _fitted(joint: Joint, x: Array, sums: Array, target: Array) -> tuple[Array, Array, Array]:
    """What the matrix [groups, rows, columns] and the bias [channels] gain, and the sums that come of it."""
    groups, rows, columns = joint.product.matrix([np.empty(s) for s in joint.product.shapes]).shape
    change, shift = np.zeros((groups, rows, columns)), np.zeros((groups, rows))
    one = np.broadcast_to(np.eye(rows), (groups, rows, rows))
    for _ in range(_ROUNDS if joint.rectified else 1):
        missing = np.where((target <= 0) & (sums <= 0), 0, target - sums) if joint.rectified else target - sums
        found = moments((_rows(joint, missing[at]), _inputs(joint, x[at])) for at in _slices(len(x)))
        step = aligned(one, np.zeros_like(change), found, _DAMPING)
        offset = (found.mean0 - (step @ found.mean[..., None])[..., 0])
        sums = sums + np.concatenate([_added(joint, _inputs(joint, x[at]) @ step.swapaxes(1, 2) + offset[:, None],
                                             sums[at].shape) for at in _slices(len(x))])
        change, shift = change + step, shift + offset
    return change, shift.reshape(-1), sums


def _slices(count: int) -> list[slice]:
    return [slice(at, at + _CHUNK) for at in range(0, count, _CHUNK)]


def _inputs(joint: Joint, x: Array) -> Array:
    return joint.product.inputs({joint.layer.x: x})


def _rows(joint: Joint, values: Array) -> Array:
    """Values at the layer's result as [groups, products, rows]."""
    groups = joint.product.matrix([np.empty(s) for s in joint.product.shapes]).shape[0]
    last = np.moveaxis(values, joint.layer.axis + 1, -1)
    return last.reshape(-1, groups, last.shape[-1] // groups).swapaxes(0, 1)


def _added(joint: Joint, rows: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `_rows`."""
    axis = joint.layer.axis + 1
    moved = (*shape[:axis], *shape[axis + 1 :], shape[axis])
    return np.moveaxis(rows.swapaxes(0, 1).reshape(moved), -1, axis)


def _changed(graph: Graph, joint: Joint, change: Array, shift: Array) -> Graph:
    """The graph with the new weight and bias of one layer."""
    edit, layer = graph.edit(), joint.layer
    weight = graph.constants[layer.weight]
    matrix = joint.product.matrix([weight.data.astype(np.float64)]) + change
    edit.set_constant(layer.weight, weight.type, joint.product.arrays(matrix)[0])
    if layer.bias:
        bias = graph.constants[layer.bias]
        edit.set_constant(layer.bias, bias.type, bias.data + shift.reshape(bias.type.shape))
    else:
        edit.replace(layer.node, _biased(layer.node, edit.constant(
            f"{layer.node.name}_bias", TensorType(weight.type.format, shift.shape), shift)))
    return edit.finish()


def _biased(node: Node, bias: str) -> Node:
    return replace(node, operands=(*node.operands[:2], bias))
