"""Sensitivities against their definitions, evaluated on whole networks."""

from __future__ import annotations

from dataclasses import replace

import networks
import numpy as np
import pytest

from irc.graph import Graph
from irc.interpreter import evaluate
from irc.ops.activation import Softmax
from irc.ops.linear import MatMul
from irc.pipeline.step import Context
from irc.types import Array, Integer
from passes.quantize.mixed import rows_of
from passes.quantize.rounding import planned
from passes.quantize.sensitivity import Row, sensitivities
from passes.quantize.steps import Steps
from passes.rounding.alphabet import alphabet
from passes.rounding.fit import Rounding

LETTERS = tuple(alphabet(Integer(True, bits)) for bits in (2, 3, 4))


def rows(graph: Graph) -> tuple[Row, ...]:
    plans = planned(graph, lambda node: True, Steps(graph, {}, {}), lambda node: LETTERS[0], 8, False)
    return rows_of(graph, plans, {}, LETTERS)


def costs(kind: str, graph: Graph) -> list[Array]:
    return sensitivities(kind, graph, graph, rows(graph), False, Context(calibration=networks.data_for(graph)))


def nearest(graph: Graph, row: Row, place: int) -> tuple[str, Array, Array]:
    """A layer's weight, as it is and rounded by itself."""
    data = graph.constants[row.product.weights[0]].data
    rounding = Rounding(LETTERS[place], row.plan.grid, row.product.widths)
    return row.product.weights[0], data, row.product.arrays(rounding.start(row.product.matrix([data])).values)[0]


def with_constant(graph: Graph, name: str, data: Array) -> Graph:
    return graph.map_constants(lambda c: replace(c, data=data) if c.name == name else c)


@pytest.mark.parametrize("place", range(len(LETTERS)))
def test_fisher_is_the_error_of_the_output_when_a_layer_alone_is_rounded(place: int) -> None:
    graph = networks.small_cnn()
    data, port = networks.data_for(graph), graph.outputs[0].name
    want = evaluate(graph, data)[port]
    for row, found in zip(rows(graph), costs("fisher", graph), strict=True):
        name, _, rounded = nearest(graph, row, place)
        have = evaluate(with_constant(graph, name, rounded), data)[port]
        assert found[place] == pytest.approx(np.square(have - want).sum() / np.square(want).sum(), rel=1e-3)


def dense(softmax: bool = False) -> Graph:
    net = networks.Network()
    h = net.op("h", MatMul(), net.input("x", (1, 6)), net.weight("w", 6, 4))
    return net.graph(net.op("p", Softmax((1,)), h) if softmax else h)


def test_mse_is_the_error_of_the_layer_and_hessian_that_of_the_weights_times_the_trace() -> None:
    graph = dense()
    (row,), x = rows(graph), networks.data_for(graph)["x"].reshape(-1, 6)
    centred = x - x.mean(axis=0)
    for place in range(len(LETTERS)):
        _, data, rounded = nearest(graph, row, place)
        mse = np.square(centred @ (rounded - data)).sum() / np.square(centred @ data).sum()
        trace = np.square(centred).mean() * np.square(rounded - data).sum()
        assert costs("mse", graph)[0][place] == pytest.approx(mse, rel=1e-4)
        assert costs("hessian", graph)[0][place] == pytest.approx(trace, rel=1e-4)


def test_a_softmax_at_the_end_hides_nothing() -> None:
    assert np.allclose(costs("fisher", dense(softmax=True)), costs("fisher", dense()))


def test_a_layer_of_letters_costs_next_to_nothing() -> None:
    graph = with_constant(dense(), "w", np.random.default_rng(0).integers(-1, 2, (6, 4)).astype(float))
    for kind in ("fisher", "mse"):
        assert np.allclose(costs(kind, graph), 0, atol=1e-3)
