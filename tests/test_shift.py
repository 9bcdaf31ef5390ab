"""Weights as sums of powers of two."""

from __future__ import annotations

import itertools

import networks
import numpy as np
import pytest

from irc.graph import Constant, Graph
from irc.interpreter import evaluate
from irc.ops.elementwise import Relu
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.pipeline.step import Context
from irc.types import PowerOfTwo
from passes.quantize.quantize import Quantize
from passes.rounding.alphabet import alphabet as letters_of
from passes.rounding.scales import Grid, best_scale, round_to
from passes.shift.shift import Shift


def weights(graph: Graph) -> list[Constant]:
    return [c for c in graph.constants.values() if isinstance(c.type.format, PowerOfTwo)]


def alphabet(terms: int, exponent: int) -> set[int]:
    """All sums of `terms` numbers that are 0 or +-2^e, spelled out."""
    single = [0, *(s << e for e in range(exponent + 1) for s in (1, -1))]
    return {sum(c) for c in itertools.product(single, repeat=terms)}


@pytest.mark.parametrize(("terms", "exponent"), [(1, 3), (2, 6), (3, 2)])
def test_every_weight_is_in_the_alphabet(terms: int, exponent: int) -> None:
    graph = Shift(terms=terms, exponent=exponent).run(networks.small_cnn(), Context())
    graph.verify()
    assert len(weights(graph)) == 3
    for weight in weights(graph):
        assert set(weight.data.reshape(-1).tolist()) <= alphabet(terms, exponent)


def test_rounding_takes_the_nearest_of_the_alphabet() -> None:
    rows, form = np.random.default_rng(0).normal(size=(2, 50)) * 40, PowerOfTwo(2, 5)
    table = np.array(sorted(alphabet(2, 5)))
    nearest = np.abs(rows[..., None] - table).min(axis=-1)
    np.testing.assert_allclose(np.abs(round_to(rows, np.ones(2), letters_of(form)) - rows), nearest)


def test_more_terms_are_closer() -> None:
    graph, data = networks.small_cnn(), networks.data_for(networks.small_cnn())
    want = evaluate(graph, data)["out_y"]
    errors = [np.square(evaluate(Shift(terms=t).run(graph, Context()), data)["out_y"] - want).sum() for t in (1, 2, 3)]
    assert errors[0] > 4 * errors[1] > 16 * errors[2]


def test_the_scale_is_the_best_power_of_two() -> None:
    rows, form = np.random.default_rng(3).normal(size=(4, 60)), PowerOfTwo(1, 4)
    chosen = best_scale(rows, letters_of(form), Grid(1))
    losses = [np.square(round_to(rows, np.full(4, 2.0**e), letters_of(form)) * 2.0**e - rows).sum(axis=1)
              for e in range(-12, 3)]
    np.testing.assert_array_equal(chosen, 2.0 ** (np.argmin(losses, axis=0) - 12))


def test_quantize_leaves_shift_weights_alone() -> None:
    shifted = Shift().run(networks.small_cnn(), Context())
    graph = Quantize().run(shifted, Context(calibration=networks.data_for(shifted)))
    assert graph.producers["h"].operands[1] == shifted.producers["h"].operands[1]
    assert graph.producers["h"].operands[2] == "b1_dq"


def test_quantized_weights_are_rewritten() -> None:
    net = networks.small_cnn()
    quantized = Quantize().run(net, Context(calibration=networks.data_for(net)))
    graph = Shift().run(quantized, Context())
    graph.verify()
    assert len(weights(graph)) == 3


def test_one_scale_for_the_tensor_when_asked() -> None:
    graph = Shift(granularity="tensor").run(networks.small_cnn(), Context())
    assert all(graph.constants[f"{w.name.removesuffix('_q')}_scale"].type.shape == () for w in weights(graph))


def test_only_selected_layers_are_rewritten() -> None:
    graph = Shift().run(networks.small_cnn(), Context(selected=lambda node: node.name == "g"))
    assert [w.name for w in weights(graph)] == ["w2_q"]


@pytest.mark.parametrize(("name", "values", "bits"), [
    ("pot", {0, *(s << e for e in range(7) for s in (1, -1))}, 4), ("s3", {0, 1, -1, 2, -2, 4, -4}, 3),
    ("dense", {1, -1, 2, -2, 4, -4, 8, -8}, 3),
])
def test_alphabets_hold_what_their_papers_say(name: str, values: set[int], bits: int) -> None:
    graph = Shift(alphabet=name).run(networks.small_cnn(), Context())
    assert all(set(w.data.reshape(-1).tolist()) <= values for w in weights(graph))
    assert {w.type.format.bits for w in weights(graph)} == {bits}


@pytest.mark.parametrize("rounding", ["gptq", "inq"])
def test_rounding_together_is_closer_than_each_by_itself(rounding: str) -> None:
    graph, data = networks.small_cnn(), networks.data_for(networks.small_cnn())
    want, context = evaluate(graph, data)["out_y"], Context(calibration=data)
    alone, together = (Shift(alphabet="s3", rounding=r).run(graph, context) for r in ("nearest", rounding))
    errors = [np.square(evaluate(g, data)["out_y"] - want).sum() for g in (together, alone)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("passes", ["shift{rounding=gptq}", "shift{rounding=inq}", "shift{alphabet=pot rounding=gptq}",
                                    "shift{alphabet=s3 rounding=inq}", "ternarize{rounding=gptq}"])
def test_what_was_pruned_stays_zero(passes: str) -> None:
    graph, data = networks.small_cnn(), networks.data_for(networks.small_cnn())
    pruned = run_pipeline(graph, parse_pipeline("prune{sparsity=0.5}"), calibration=data, check=False).graph
    found = run_pipeline(pruned, parse_pipeline(passes), calibration=data, check=False).graph
    for name in ("w1", "w2", "w3"):
        letters = next(c.data for c in found.constants.values() if c.name == f"{name}_q")
        assert not letters[pruned.constants[name].data == 0].any()
        assert letters.any()


@pytest.mark.parametrize(("group", "form"), [(4, "d1e3"), (2, "p1e3"), (1, "d1e3")])
def test_zero_gets_a_code_only_where_a_lowering_needs_it(group: int, form: str) -> None:
    net = networks.Network()
    x = net.input("x", (1, 4, 5, 5))
    graph = net.graph(net.op("r", Relu(), net.op("y", networks.conv(group=group), x,
                                                 net.weight("w", 4, 4 // group, 3, 3))))
    passes = "shift{alphabet=dense}, quantize{activations=u8}, dataflow"
    low = run_pipeline(graph, parse_pipeline(passes), calibration=networks.data_for(graph)).graph
    (found,) = {str(c.type.format) for c in low.constants.values() if isinstance(c.type.format, PowerOfTwo)
                and c.data.size >= 36}
    assert found == form
