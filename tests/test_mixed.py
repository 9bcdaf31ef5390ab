"""Mixed precision: the integer program against brute force, its bound, and what it is worth."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import networks
import numpy as np
import pytest

from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.metric import find_metric
from irc.ops.linear import MatMul
from irc.ops.recurrent import LSTM
from irc.pipeline.driver import run_pipeline
from irc.pipeline.judge import judge
from irc.pipeline.language import parse_pipeline
from irc.pipeline.step import Context
from irc.types import Integer, parse_format
from passes.quantize import allocation
from passes.quantize.allocation import allocate
from passes.quantize.quantize import Quantize

WIDTHS = (2, 3, 4, 6, 8)


def brute(costs: np.ndarray, sizes: np.ndarray, bound: int) -> float:
    """The least cost of all combinations within the bound."""
    rows = np.arange(len(costs))
    every = (list(c) for c in itertools.product(range(costs.shape[1]), repeat=len(costs)))
    fitting = (c for c in every if np.isfinite(costs[rows, c]).all() and sizes[rows, c].sum() <= bound)
    return min(costs[rows, c].sum() for c in fitting)


def instance(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Costs in any order, sizes with and without a common divisor, and a bound between the extremes."""
    rng = np.random.default_rng(seed)
    rows, choices = rng.integers(1, 6), rng.integers(1, 5)
    sizes = rng.integers(1, 60, (rows, choices)) * rng.choice([1, 8])
    costs = rng.exponential(size=(rows, choices))
    costs[rng.random(costs.shape) < 0.2] = np.inf
    costs[np.isinf(costs).all(axis=1), 0] = 1.0
    least = np.where(np.isfinite(costs), sizes, 10**6).min(axis=1).sum()
    return costs, sizes, int(rng.integers(least, least + sizes.sum()))


@pytest.mark.parametrize("seed", range(60))
def test_the_choice_is_the_best_of_all_combinations(seed: int) -> None:
    costs, sizes, bound = instance(seed)
    chosen = allocate(costs, sizes, bound)
    rows = np.arange(len(costs))
    assert sizes[rows, chosen].sum() <= bound
    assert costs[rows, chosen].sum() == pytest.approx(brute(costs, sizes, bound))


@pytest.mark.parametrize("seed", range(20))
def test_a_coarser_unit_keeps_the_bound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_STATES", 16)
    costs, sizes, bound = instance(seed)
    chosen, rows = allocate(costs, sizes, bound), np.arange(len(costs))
    assert sizes[rows, chosen].sum() <= bound
    tighter = bound - (len(costs) + 1) * (bound // 16 + 9)
    if tighter >= np.where(np.isfinite(costs), sizes, 10**6).min(axis=1).sum():
        assert costs[rows, chosen].sum() <= brute(costs, sizes, tighter) + 1e-9


def test_a_hundred_layers_of_millions_of_weights() -> None:
    rng = np.random.default_rng(0)
    counts, widths = rng.integers(1, 10**7, 100), np.array(WIDTHS)
    costs = rng.exponential(size=(100, 1)) * 4.0**-widths
    chosen = allocate(costs, counts[:, None] * widths, int(counts.sum()) * 3)
    assert 2.99 < (counts * widths[chosen]).sum() / counts.sum() <= 3
    assert costs[np.arange(100), chosen].sum() < costs[:, 1].sum()


def test_a_budget_below_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 3"):
        allocate(np.zeros((2, 2)), np.array([[2, 4], [2, 4]]), 3)


# --- the pass


def uneven() -> Graph:
    """Two branches into one dense layer, of which the first hardly matters."""
    graph = networks.branches()
    return graph.map_constants(lambda c: replace(c, data=c.data * 1e-3) if c.name == "w0" else c)


def ran(graph: Graph, **options: Any) -> tuple[Graph, dict[tuple[str, str], Any]]:
    notes = dict[tuple[str, str], Any]()

    def note(key: str, value: object, node: str = "") -> None:
        notes[key, node] = value

    data = networks.data_for(graph)
    scores = judge(find_metric("mse"), graph, {k: v.reshape(len(v), *v.shape[2:]) for k, v in data.items()})
    found = Quantize(**options).run(graph, Context(calibration=data, note=note, judge=scores))
    found.verify()
    return found, notes


def widths(graph: Graph, *nodes: str) -> list[int]:
    """The stored bits of the weights that some layers read."""
    weights = (graph.producers[graph.producers[n].operands[1]].operands[0] for n in nodes)
    return [graph.constants[w].type.format.bits for w in weights]


def weight_bits(graph: Graph) -> int:
    stored = (graph.constants[graph.producers[graph.producers[n].operands[1]].operands[0]] for n in ("h", "g", "dense"))
    return sum(c.type.size * c.type.format.bits for c in stored)


def error(graph: Graph, changed: Graph) -> float:
    data = networks.data_for(graph, seed=5)
    port = graph.outputs[0].name
    return float(np.square(evaluate(graph, data)[port] - evaluate(changed, data)[port]).mean())


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
@pytest.mark.parametrize("sensitivity", ["fisher", "mse", "hessian"])
def test_mixed_widths_stay_within_the_bytes_of_a_uniform_one(sensitivity: str, rounding: str) -> None:
    graph = networks.small_cnn()
    found, notes = ran(graph, mixed=WIDTHS, average=4.0, sensitivity=sensitivity, rounding=rounding)
    uniform, _ = ran(graph, weights=Integer(True, 4), rounding=rounding)
    assert weight_bits(found) <= weight_bits(uniform)
    assert notes["weight_bits", ""] == f"{weight_bits(found)} of at most {weight_bits(uniform)}"
    assert [notes["width", n] for n in ("h", "g", "dense")] == [f"s{w}" for w in widths(found, "h", "g", "dense")]


def test_mixed_widths_lose_less_than_a_uniform_one() -> None:
    graph = uneven()
    mixed, uniform = ran(graph, mixed=(2, 3, 4, 5, 6), average=4.0)[0], ran(graph, weights=Integer(True, 4))[0]
    assert error(graph, mixed) < 0.75 * error(graph, uniform)
    assert widths(mixed, "c0", "c1", "y")[0] == 2


def test_the_fewest_bits_within_a_loss() -> None:
    graph = networks.small_cnn()
    found, notes = ran(graph, mixed=WIDTHS, loss=0.01)
    assert 0 < notes["loss", ""] <= 0.01
    assert 2 < notes["bits_per_weight", ""] < 8
    more, _ = ran(graph, mixed=WIDTHS, loss=0.0001)
    assert weight_bits(more) > weight_bits(found)


def test_recurrent_layers_choose_too() -> None:
    net = networks.Network()
    x = net.input("x", (5, 1, 2))
    operands = (x, net.weight("w", 12, 2), net.weight("r", 12, 3), net.weight("b", 24))
    net.op("states", LSTM(), *operands)
    net.nodes[-1] = replace(net.nodes[-1], results=("states", "h", "c"), types=tuple(
        LSTM().result_types([net.types[o] for o in operands])))
    graph = net.graph(net.op("y", MatMul(), "states", net.weight("wy", 3, 2)))
    text = "quantize{mixed=[2, 4, 8] average=4 activations=none}"
    outcome = run_pipeline(graph, parse_pipeline(text), calibration=networks.data_for(graph))
    notes = {(n.key, n.node) for r in outcome.records for n in r.notes}
    assert {("width", "states"), ("width", "y"), ("weight_bits", "")} <= notes


def test_the_first_and_the_last_layer_have_formats_of_their_own() -> None:
    graph = networks.small_cnn()
    found, _ = ran(graph, weights=Integer(True, 3), first=Integer(True, 8), last=Integer(True, 6))
    assert widths(found, "h", "g", "dense") == [8, 3, 6]


def test_formats_of_outer_layers_count_in_the_budget() -> None:
    graph = networks.small_cnn()
    found, notes = ran(graph, mixed=(2, 3, 4), average=4.0, first=Integer(True, 8))
    assert widths(found, "h") == [8]
    assert notes["bits_per_weight", ""] <= 4


def test_first_is_the_first_even_when_it_is_quantized_already() -> None:
    graph = networks.small_cnn()
    once = Quantize(weights=Integer(True, 5)).run(
        graph, Context(calibration=networks.data_for(graph), selected=lambda node: node.name in ("h", "x", "r")))
    again, _ = ran(once, weights=Integer(True, 3), first=Integer(True, 8))
    assert widths(again, "h", "g", "dense") == [5, 3, 3]


@pytest.mark.parametrize(("options", "problem"), [
    ({"mixed": WIDTHS}, "E304.*mixed needs one bound"),
    ({"mixed": WIDTHS, "average": 3.0, "loss": 0.5}, "E304.*mixed needs one bound"),
    ({"average": 3.0}, "E304.*there is one.*mixed="),
    ({"mixed": (4, 8), "average": 3.0}, "E304.*average=3 is below the smallest width, 4"),
    ({"mixed": (2, 3), "loss": 0.0}, "E308.*no choice of widths keeps the loss within 0"),
    ({"first": parse_format("u8")}, "E304.*first=u8 is not a format"),
    ({"mixed": (2, 4), "average": 2.5, "first": Integer(True, 8)}, "E304.*average=2.5 is less than .* take"),
])
def test_bounds_that_cannot_be_kept_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(IrcError, match=problem):
        ran(networks.small_cnn(), **options)


def test_weights_that_are_quantized_already_leave_nothing_to_choose() -> None:
    graph, _ = ran(networks.small_cnn())
    with pytest.raises(IrcError, match=r"E306.*no layer left whose width"):
        ran(graph, mixed=WIDTHS, average=4.0)


@pytest.mark.parametrize("option", [{"average": 4.0}, {"loss": 1.0}])
def test_missing_calibration_data_are_named(option: dict[str, float]) -> None:
    with pytest.raises(IrcError, match=r"E402.*needs calibration data"):
        Quantize(mixed=WIDTHS, activations=None, **option).run(networks.small_cnn(), Context())


def test_a_loss_needs_a_judge() -> None:
    graph = networks.small_cnn()
    with pytest.raises(IrcError, match=r"E402.*quantize\{loss\} needs data to judge"):
        Quantize(mixed=WIDTHS, loss=1.0).run(graph, Context(calibration=networks.data_for(graph)))


@pytest.mark.parametrize("text", ["quantize{mixed=[1, 4] average=3}", "quantize{mixed=[2, 17] average=3}",
                                  "quantize{mixed=[2, 4] average=17}", "quantize{mixed=[2, 4] sensitivity=trace}"])
def test_options_out_of_range_are_found_when_they_are_read(text: str) -> None:
    with pytest.raises(IrcError, match="E304"):
        parse_pipeline(text)
