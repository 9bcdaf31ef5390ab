"""New weights and shifted biases in the graph, whatever op computes a layer and wherever its bias is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import networks
import numpy as np
import pytest

from irc.graph import Constant, Graph
from irc.interpreter import evaluate
from irc.ops.elementwise import Add
from irc.ops.linear import Conv, MatMul
from irc.ops.recurrent import RNN
from irc.types import Array
from passes.layers import layers
from passes.reconstruction.apply import with_refits
from passes.reconstruction.walk import Refit, Visit, reconstruct


def halved(visit: Visit) -> Array:
    """Weights so wrong that the mean of every channel moves."""
    return visit.matrix * np.linspace(0.2, 0.8, visit.matrix.shape[2])


def refitted(graph: Graph) -> tuple[Graph, list[Refit], dict[str, Array]]:
    data = networks.data_for(graph)
    refits = reconstruct(graph, graph, data, halved)
    found = with_refits(graph, refits)
    found.verify()
    return found, refits, data


@pytest.mark.parametrize("make", [networks.small_cnn, networks.branches, networks.residual, networks.embedding])
def test_every_channel_keeps_its_mean(make: Callable[[], Graph]) -> None:
    graph = make()
    found, refits, data = refitted(graph)
    before, after = (evaluate(g, data, keep=True) for g in (graph, found))
    assert len(refits) == len(list(layers(graph)))
    for layer in layers(graph):
        others = tuple(i for i in range(before[layer.result].ndim) if i != layer.axis + 1)
        means = [np.mean(values[layer.result], axis=others) for values in (before, after)]
        np.testing.assert_allclose(means[1], means[0], atol=1e-5)
        assert not np.allclose(before[layer.result], after[layer.result])


def test_biases_are_changed_where_they_are_and_added_where_there_are_none() -> None:
    found, _, _ = refitted(networks.small_cnn())
    by_name = {node.name: node for node in found.nodes}
    assert by_name["h"].operands == ("x", "w1", "b1")
    assert by_name["g"].operands == ("p", "w2", "g_bias")  # a convolution without bias
    assert by_name["y"].operands == ("dense", "b3")
    assert isinstance(refitted(networks.embedding())[0].nodes[-1].op, Add)  # a product without bias


def test_a_bias_that_others_read_stays_theirs() -> None:
    net = networks.Network()
    x = net.input("x", (1, 6))
    h = net.op("h", Add(), net.op("m", MatMul(), x, net.weight("w", 6, 6)), net.weight("b", 1, 6))
    graph = net.graph(net.op("y", Add(), h, "b"))
    found, _, _ = refitted(graph)
    np.testing.assert_array_equal(found.constants["b"].data, graph.constants["b"].data)
    assert {n.name: n.operands for n in found.nodes} == {"m": ("x", "w"), "h": ("m", "h_bias"), "y": ("h", "b")}


def test_a_scalar_bias_becomes_one_a_channel() -> None:
    net = networks.Network()
    product = net.op("m", MatMul(), net.input("x", (1, 4)), net.weight("w", 4, 3))
    graph = net.graph(net.op("y", Add(), product, net.constant("b", np.ones(1))))
    found, refits, _ = refitted(graph)
    np.testing.assert_allclose(found.constants["y_bias"].data, 1 + refits[0].shift, rtol=1e-6)


def test_recurrent_layers_keep_the_shift_in_their_bias() -> None:
    net = networks.Network()
    x = net.input("x", (5, 1, 3))
    weights = [net.weight("w", 4, 3), net.weight("r", 4, 4), net.weight("b", 8)]
    net.op("h", RNN(), x, *weights)
    types = RNN().result_types([net.types[o] for o in (x, *weights)])
    net.nodes[-1] = replace(net.nodes[-1], results=("h", "last"), types=types)
    graph = net.graph("h")
    found, refits, _ = refitted(graph)
    moved: Constant = found.constants["b"]
    np.testing.assert_allclose(moved.data - graph.constants["b"].data, [*refits[0].shift, *np.zeros(4)], atol=1e-6)


def test_no_refit_is_the_same_graph() -> None:
    graph = networks.small_cnn()
    assert with_refits(graph, []) is graph
    assert isinstance(graph.nodes[0].op, Conv)
