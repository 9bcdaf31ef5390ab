"""Cross-layer equalisation: the outputs stay, the ranges meet, and nothing moves through what is not homogeneous."""

from __future__ import annotations

from collections.abc import Callable

import networks
import numpy as np
import pytest

from irc.graph import Graph
from irc.interpreter import evaluate
from irc.operation import Op
from irc.ops.activation import Sigmoid
from irc.ops.elementwise import Add, Clip, Mul, Relu
from irc.ops.linear import MatMul
from irc.ops.pooling import AvgPool, MaxPool, ReduceMean
from irc.ops.rectifier import LeakyRelu
from irc.ops.shape import Concat, Pad, Reshape, Transpose
from irc.pipeline.step import Context
from passes.equalize.equalize import Equalize
from passes.quantize.quantize import Quantize

UNEVEN = np.array([16.0, 1.0, 0.125, 3.0])
WINDOW = ((2, 2), (2, 2), (0,) * 4, (1, 1))


def equalized(graph: Graph) -> Graph:
    found = Equalize().run(graph, Context())
    found.verify()
    return found


def uneven(*between: Op, bias: bool = True) -> Graph:
    """Two convolutions, the channels between which have ranges far apart, with some ops between them."""
    net = networks.Network()
    x = net.input("x", (1, 2, 8, 8))
    first = net.rng.normal(size=(4, 2, 3, 3)) * UNEVEN.reshape(-1, 1, 1, 1)
    operands = (x, net.constant("w1", first), *((net.weight("b1", 4),) if bias else ()))
    h = net.op("h", networks.conv(pads=1), *operands)
    for i, op in enumerate(between):
        h = net.op(f"between{i}", op, h)
    second = net.rng.normal(size=(3, 4, 3, 3)) / UNEVEN.reshape(1, -1, 1, 1)
    return net.graph(net.op("y", networks.conv(pads=1), h, net.constant("w2", second)))


def output(graph: Graph) -> np.ndarray:
    return evaluate(graph, networks.data_for(graph))[graph.outputs[0].name]


def by_channel(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """The largest weight that makes, and that reads, each channel between both convolutions."""
    made, read = (np.abs(graph.constants[name].data) for name in ("w1", "w2"))
    return made.max(axis=(1, 2, 3)), read.max(axis=(0, 2, 3))


@pytest.mark.parametrize("between", [
    (Relu(),), (LeakyRelu(0.1),), (), (Relu(), MaxPool(*WINDOW)), (AvgPool(*WINDOW), Relu()),
    (Pad((0, 0, 1, 1, 0, 0, 1, 1)),), (Transpose((0, 1, 3, 2)),), (Reshape((1, 4, 4, 16)),)])
def test_ranges_meet_and_the_output_stays_to_the_last_bit(between: tuple[Op, ...]) -> None:
    graph = uneven(*between)
    found = equalized(graph)
    assert np.array_equal(output(found), output(graph))
    made, read = by_channel(found)
    assert np.all(np.abs(np.log2(made / read)) <= 1)  # Nagel et al. 2019, up to powers of two
    before, _ = by_channel(graph)
    assert made.max() / made.min() < 4 < 30 < before.max() / before.min()


@pytest.mark.parametrize("between", [(Clip(0.0, 6.0),), (Sigmoid(),), (Pad((0, 0, 1, 1, 0, 0, 1, 1), 1.0),)])
def test_nothing_moves_through_what_is_not_homogeneous(between: tuple[Op, ...]) -> None:
    graph = uneven(*between)
    assert equalized(graph) is graph


def test_a_value_that_leaves_the_network_keeps_its_scale() -> None:
    graph = uneven(Relu())
    seen = networks.Network()
    seen.inputs, seen.constants, seen.nodes = list(graph.inputs), dict(graph.constants), list(graph.nodes)
    seen.types = {name: graph.tensor(name) for name in graph.types}
    both = seen.graph("y", "between0")
    assert equalized(both) is both


def test_a_residual_stream_has_one_factor() -> None:
    net = networks.Network()
    x = net.input("x", (1, 2, 6, 6))
    a = net.op("a", Relu(), net.op("c", networks.conv(pads=1), x, net.constant(
        "w1", net.rng.normal(size=(4, 2, 3, 3)) * UNEVEN.reshape(-1, 1, 1, 1)), net.weight("b1", 4)))
    h = net.op("h", networks.conv(pads=1), a, net.weight("w2", 4, 4, 3, 3), net.weight("b2", 4))
    r = net.op("r", Relu(), net.op("sum", Add(), h, a))
    flat = net.op("mean", ReduceMean((2, 3)), r)
    graph = net.graph(net.op("y", MatMul(), flat, net.weight("w3", 4, 3)))
    found = equalized(graph)
    assert np.array_equal(output(found), output(graph))
    factor = graph.constants["w1"].data / found.constants["w1"].data
    assert len(set(factor[:, 0, 0, 0])) > 1
    assert np.array_equal(graph.constants["b2"].data / found.constants["b2"].data, factor[:, 0, 0, 0])
    assert np.array_equal(found.constants["w3"].data / graph.constants["w3"].data, factor[:, 0, 0])


def test_a_depthwise_convolution_reads_and_makes() -> None:
    net = networks.Network()
    x = net.input("x", (1, 2, 6, 6))
    a = net.op("a", Relu(), net.op("c", networks.conv(), x, net.constant(
        "w1", net.rng.normal(size=(4, 2, 1, 1)) * UNEVEN.reshape(-1, 1, 1, 1))))
    d = net.op("d", Relu(), net.op("dw", networks.conv(group=4), a, net.weight("wd", 4, 1, 3, 3), net.weight("bd", 4)))
    graph = net.graph(net.op("y", networks.conv(), d, net.weight("w2", 3, 4, 1, 1)))
    found = equalized(graph)
    assert np.array_equal(output(found), output(graph))
    into, out = (graph.constants[n].data / found.constants[n].data for n in ("w1", "bd"))
    assert np.array_equal(found.constants["wd"].data / graph.constants["wd"].data,
                          np.broadcast_to((into[:, 0, 0, 0] / out).reshape(-1, 1, 1, 1), (4, 1, 3, 3)))


def test_grouped_convolutions_concat_and_flatten() -> None:
    net = networks.Network()
    x = net.input("x", (1, 2, 4, 4))
    parts = [net.op(f"r{i}", Relu(), net.op(f"c{i}", networks.conv(pads=1), x, net.constant(
        f"w{i}", net.rng.normal(size=(2, 2, 3, 3)) * UNEVEN[2 * i : 2 * i + 2].reshape(-1, 1, 1, 1))))
        for i in range(2)]
    g = net.op("g", networks.conv(group=2), net.op("cat", Concat(1), *parts), net.weight("wg", 4, 2, 3, 3))
    flat = net.op("flat", Reshape((1, 16)), net.op("rg", Relu(), g))
    dense = net.op("dense", MatMul(), flat, net.weight("wd", 16, 3))
    graph = net.graph(net.op("y", Add(), dense, net.weight("b", 3)))
    found = equalized(graph)
    assert not np.array_equal(found.constants["wd"].data, graph.constants["wd"].data)
    assert np.array_equal(output(found), output(graph))


def test_one_number_added_to_all_channels_keeps_them() -> None:
    net = networks.Network()
    x = net.input("x", (1, 4))
    h = net.op("h", MatMul(), x, net.constant("w1", net.rng.normal(size=(4, 4)) * UNEVEN))
    s = net.op("s", Add(), h, net.constant("one", np.ones((1, 1))))
    graph = net.graph(net.op("y", MatMul(), net.op("r", Relu(), s), net.weight("w2", 4, 2)))
    assert equalized(graph) is graph


def test_products_of_values_and_shared_weights_stay() -> None:
    net = networks.Network()
    x = net.input("x", (1, 4))
    w = net.constant("w1", net.rng.normal(size=(4, 4)) * UNEVEN)
    twice = net.op("h2", MatMul(), net.op("h1", MatMul(), x, w), w)
    squared = net.op("m", Mul(), twice, twice)
    graph = net.graph(net.op("y", MatMul(), squared, net.weight("w2", 4, 2)))
    assert equalized(graph) is graph


def test_only_selected_layers_change() -> None:
    graph = uneven(Relu())
    assert Equalize().run(graph, Context(selected=lambda node: node.name != "y")) is graph


@pytest.mark.parametrize("build", [networks.small_cnn, networks.branches, networks.residual, networks.embedding])
def test_every_network_stays_the_same(build: Callable[[], Graph]) -> None:
    graph = build()
    assert np.array_equal(output(equalized(graph)), output(graph))


def test_one_scale_for_all_channels_then_loses_less() -> None:
    graph = uneven(Relu())
    want, context = output(graph), Context(calibration=networks.data_for(graph))
    quantize = Quantize(granularity="tensor", activations=None)
    plain, even = (output(quantize.run(g, context)) for g in (graph, equalized(graph)))
    assert np.square(even - want).sum() < np.square(plain - want).sum() / 4
