"""Put what a reconstruction found into the graph: new weights, and biases that gained a constant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from irc.graph import Edit, Graph, Node
from irc.ops.elementwise import Add
from irc.ops.linear import Conv
from irc.types import Array, Float, TensorType
from passes.layers import Layer, layers
from passes.reconstruction.products import Gates
from passes.reconstruction.walk import Refit


def with_refits(graph: Graph, refits: Iterable[Refit]) -> Graph:
    """`graph` with the new weights and biases; the refits are about its own nodes.

    A bias that is a constant of its own gains the shift; a convolution without bias gets one; behind every other layer
    the shift is added, under the name of the layer. A recurrent layer without bias stays without, as in the walk.
    """
    edit, known = graph.edit(), {layer.node.name: layer for layer in layers(graph)}
    for refit in refits:
        for name, array in zip(refit.product.weights, refit.arrays, strict=True):
            edit.set_constant(name, graph.tensor(name), array)
        if refit.shift.any():
            _shift(edit, graph, refit, known)
    return edit.finish()


def _shift(edit: Edit, graph: Graph, refit: Refit, known: Mapping[str, Layer]) -> None:
    product, shift = refit.product, refit.shift
    if isinstance(product, Gates):
        if product.bias:
            _raise_bias(edit, graph, product.node, product.bias, np.concatenate((shift, np.zeros_like(shift))))
        return
    layer = known[product.node.name]
    channels = (-1, *(1,) * (len(graph.tensor(product.node.name).shape) - layer.axis - 1))
    if _is_real_constant(graph, layer.bias):
        shaped = shift if layer.addition is None else shift.reshape(channels)
        _raise_bias(edit, graph, layer.addition or layer.node, layer.bias, shaped)
    elif isinstance(layer.node.op, Conv) and not layer.bias:
        bias = _real(edit, f"{layer.node.name}_bias", shift)
        edit.replace(layer.node, replace(layer.node, operands=(*layer.node.operands[:2], bias)))
    else:
        _add(edit, layer.node, shift.reshape(channels))


def _is_real_constant(graph: Graph, name: str) -> bool:
    return name in graph.constants and isinstance(graph.tensor(name).format, Float)


def _raise_bias(edit: Edit, graph: Graph, node: Node, name: str, shift: Array) -> None:
    """Let one node read the sum of a constant and a shift; other readers of the constant do not notice."""
    old = graph.constants[name]
    total = old.data.astype(np.float64) + shift
    if total.shape == old.data.shape and len(graph.users[name]) == 1 and not graph.is_output(name):
        edit.set_constant(name, old.type, total)
        return
    own = _real(edit, f"{node.name}_bias", total)
    edit.replace(node, replace(node, operands=tuple(own if o == name else o for o in node.operands)))


def _real(edit: Edit, stem: str, data: Array) -> str:
    return edit.constant(stem, TensorType(Float(32), data.shape), data)


def _add(edit: Edit, node: Node, shift: Array) -> None:
    """Add a constant behind a node; the sum takes over its name."""
    bare = replace(node, results=(edit.fresh(f"{node.name}_product"),))
    edit.replace(node, bare, replace(node, op=Add(), operands=(bare.name, _real(edit, f"{node.name}_bias", shift))))
