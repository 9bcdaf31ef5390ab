"""Shared weights: the quantizers against their definitions, codebooks through every form of the network."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import networks
import numpy as np
import onnx
import pytest

from backends.onnx import ONNX, QONNX
from irc.codebook import lookup_of, stored
from irc.cost import op_costs
from irc.diagnostics import IrcError
from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.pipeline.step import Context
from irc.samples import load_fitting
from irc.types import Array, Integer
from passes.prune.prune import Prune
from passes.quantize.codebooks import with_integer_codebooks
from passes.rounding.alphabet import alphabet
from passes.rounding.scales import Grid, best_scale
from passes.share.codebooks import METHODS, cws, drawn, ecsq, pws, uq
from passes.share.share import Share
from passes.simplify.fold import Fold

DATA = Path(__file__).parents[1] / "examples" / "data"
WEIGHTS = {"h": "w1", "g": "w2", "dense": "w3"}


def some_weights(count: int = 3000) -> Array:
    return np.random.default_rng(5).standard_t(4, count) / 8


def values_of(graph: Graph) -> dict[str, Array]:
    """The distinct values of each layer's weight."""
    found = {}
    for layer in WEIGHTS:
        weight = stored(graph, graph.producers[layer].operands[1])
        assert weight is not None
        found[layer] = np.unique(weight.data)
    return found


# the quantizers


def test_cws_is_the_best_clustering_there_is() -> None:
    weights = np.sort(np.random.default_rng(1).normal(size=14))
    splits = [np.split(weights, cuts) for cuts in combinations(range(1, 14), 3)]
    best = min(sum(np.square(part - part.mean()).sum() for part in split) for split in splits)
    assert np.square(cws(weights, 4).nearest(weights) - weights).sum() == pytest.approx(best)


def test_cws_of_many_weights_is_no_worse_than_lloyd_from_anywhere() -> None:
    weights, found = some_weights(), []
    for seed in range(20):
        values = np.sort(np.random.default_rng(seed).choice(weights, 8, replace=False))
        for _ in range(200):
            near = np.abs(weights[:, None] - values).argmin(axis=1)
            values = np.array([weights[near == i].mean() for i in range(8)])
        found.append(np.square(weights - values[near]).sum())
    assert np.square(cws(weights, 8).nearest(weights) - weights).sum() <= min(found) * 1.001


def test_cws_weighs_errors() -> None:
    weights, importance = np.array([0.0, 1.0, 5.0]), np.array([1.0, 3.0, 1.0])
    np.testing.assert_allclose(cws(weights, 2, importance).values, [0.75, 5.0], atol=1e-6)


def test_pws_takes_quantiles_and_keeps_the_mean() -> None:
    weights = some_weights()
    codebook = pws(weights, 9)
    np.testing.assert_allclose(codebook.values, np.quantile(weights, np.arange(9) / 8))
    draws = np.mean([drawn(codebook, weights[:50], np.random.default_rng(i)) for i in range(4000)], axis=0)
    np.testing.assert_allclose(draws, weights[:50], atol=0.03)


def test_uq_takes_the_first_delta_of_its_grid() -> None:
    weights = np.clip(some_weights(), -1, 1)
    grid = 1e-4 + 5e-4 * np.arange(2000)
    delta = next(d for d in grid if len(np.unique(np.rint(weights / d))) <= 16)
    np.testing.assert_allclose(uq(weights, 16).nearest(weights), delta * np.rint(weights / delta), atol=1e-12)


def test_ecsq_prefers_what_is_used_often() -> None:
    weights = some_weights()
    codebook = ecsq(weights, 8)
    assert len(codebook.values) == 8
    counts, values = np.bincount(codebook.index(weights), minlength=8), codebook.values
    reach = (codebook.edges - values[:-1]) - (values[1:] - codebook.edges)  # how much further the left cell reaches
    assert (np.sign(reach) == -np.sign(np.diff(counts))).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("most", [2, 5, 64])
@pytest.mark.parametrize("weights", [some_weights(70), np.linspace(-3, 3, 700), np.repeat([-1e-3, 2e-3, 7.0], 40),
                                     np.full(9, 0.25)], ids=["few", "even", "repeated", "equal"])
def test_no_codebook_is_larger_than_asked_for(method: str, most: int, weights: Array) -> None:
    codebook = METHODS[method](weights, most, None)
    assert 1 <= len(codebook.values) <= most
    assert np.isfinite(codebook.nearest(weights)).all()


# the pass


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
@pytest.mark.parametrize("scope", ["layer", "kind"])
def test_layers_share_values(method: str, rounding: str, scope: str) -> None:
    graph = networks.small_cnn()
    shared = Share(method, 5, scope, rounding).run(graph, Context(calibration=networks.data_for(graph)))
    shared.verify()
    values = values_of(shared)
    assert all(2 <= len(v) <= 5 for v in values.values())
    tables = {layer: lookup_of(shared, shared.producers[layer].operands[1]).operands[0] for layer in WEIGHTS}
    assert (tables["h"] == tables["g"]) == (scope == "kind")
    assert len(np.union1d(values["h"], values["g"])) <= (5 if scope == "kind" else 10)


def test_indices_take_as_many_bits_as_the_codebook_needs() -> None:
    costs = {cost.op: cost for cost in op_costs(Share(values=5).run(networks.small_cnn(), Context()))}
    assert costs["matmul"].weight_bits == 12 * 5 * 3 + 5 * 32
    assert costs["gather"].weight_bits == 0


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
@pytest.mark.parametrize("method", METHODS)
def test_pruned_weights_stay_zero_and_zero_is_one_of_the_values(method: str, rounding: str) -> None:
    pruned = Prune(sparsity=0.5).run(networks.small_cnn(), Context())
    graph = Share(method, 4, rounding=rounding).run(pruned, Context(calibration=networks.data_for(pruned)))
    for layer, name in WEIGHTS.items():
        weight = stored(graph, graph.producers[layer].operands[1])
        assert (weight.data[pruned.constants[name].data == 0] == 0).all()
        assert len(np.unique(weight.data)) <= 4


def test_rounding_for_the_output_is_closer_than_rounding_of_weights() -> None:
    graph, data = networks.small_cnn(), networks.data_for(networks.small_cnn())
    want = evaluate(graph, data)["out_y"]
    near, fitted = (evaluate(Share(values=4, rounding=r).run(graph, Context(calibration=data)), data)["out_y"]
                    for r in ("nearest", "gptq"))
    assert np.square(fitted - want).sum() < 0.6 * np.square(near - want).sum()


def test_a_layer_of_few_values_keeps_them() -> None:
    graph = networks.small_cnn()
    few = graph.map_constants(lambda c: c if c.name != "w2" else type(c)(c.name, c.type, np.sign(c.data)))
    shared = Share(values=8).run(few, Context())
    assert values_of(shared)["g"].tolist() == [-1, 1]


def test_more_values_than_there_are_is_an_error() -> None:
    with pytest.raises(IrcError, match=r"E304.*no selected layer has more than 108 distinct weights"):
        Share(values=200).run(networks.small_cnn(), Context())


@pytest.mark.parametrize("option", ["values=1", "values=257", "method=means", "scope=network", "rounding=up"])
def test_bad_options_are_refused(option: str) -> None:
    with pytest.raises(IrcError, match="E304"):
        parse_pipeline(f"share{{{option}}}")


def test_gptq_needs_calibration_data() -> None:
    with pytest.raises(IrcError, match="E402"):
        Share(rounding="gptq").run(networks.small_cnn(), Context())


def test_the_same_seed_gives_the_same_codebooks() -> None:
    graph = networks.small_cnn()
    first, again, other = (Share("pws", 4).run(graph, Context(seed=seed)) for seed in (3, 3, 4))
    assert first == again != other


def test_only_selected_layers_share() -> None:
    graph = Share(values=4).run(networks.small_cnn(), Context(selected=lambda node: node.name == "g"))
    assert lookup_of(graph, graph.producers["g"].operands[1])
    assert graph.producers["h"].operands[1] == "w1"


def test_fold_leaves_codebooks_alone() -> None:
    graph = Share(values=4).run(networks.small_cnn(), Context())
    assert Fold().run(graph, Context()).producers["w1_shared"].op.name == "gather"


# down to integers, and out as ONNX


@pytest.fixture(scope="module", params=["share{values=16}", "share{values=8 scope=kind rounding=gptq}",
                                        "prune{sparsity=0.6}, share{method=ecsq values=4 rounding=gptq}"])
def lenet(request: pytest.FixtureRequest) -> Graph:
    graph = read_onnx(DATA / "mnist_lenet.onnx")
    data = load_fitting(DATA / "mnist_calibration.npz", graph)
    shared = run_pipeline(graph, parse_pipeline(f"fold, {request.param}"), calibration=data).graph
    letters = alphabet(Integer(True, 8))
    whole = with_integer_codebooks(shared, letters, lambda r: best_scale(r, letters, Grid(5)), lambda node: True)
    passes = "quantize{weights=s8 activations=u8}, clean"
    return run_pipeline(whole, parse_pipeline(passes), calibration=data).graph


def images() -> Array:
    return np.load(DATA / "mnist.npz")["image"].reshape(-1, 1, 1, 28, 28)[:60].astype(np.float64)


def integers(graph: Graph) -> Array:
    low = run_pipeline(graph, parse_pipeline("fold, clean, integer")).graph
    (port,) = low.inputs
    return next(iter(evaluate(low, {port.name: port.encoding.encode(images(), port.type.format)}).values()))


def test_quantize_makes_codebooks_of_integers(lenet: Graph) -> None:
    tables = [c for c in lenet.constants.values() if c.name.endswith("codebook_q")]
    assert tables and all(c.type.format == Integer(True, 8) and c.type.size <= 16 for c in tables)
    bits = sum(cost.weight_bits for cost in op_costs(lenet) if cost.op in ("conv", "matmul"))
    assert bits <= 61_470 * 4 + 5 * 16 * 8 + 22 * 32  # indices, codebooks, biases of convolutions


def test_integers_are_those_of_the_quantized_network(lenet: Graph) -> None:
    want = next(iter(evaluate(lenet, {"image": images()}).values()))
    have = integers(lenet)
    low = run_pipeline(lenet, parse_pipeline("fold, clean, integer")).graph
    np.testing.assert_allclose(low.outputs[0].encoding.decode(have), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("target", [ONNX, QONNX], ids=lambda t: t.name)
def test_exported_weights_stay_shared(target: object, lenet: Graph, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(target.emit(lenet)["model.onnx"])
    have = next(iter(target.run(tmp_path, lenet, {"image": images()}, scratch=tmp_path).outputs.values()))
    want = next(iter(evaluate(lenet, {"image": images()}).values()))
    assert np.array_equal(have.argmax(-1), want.argmax(-1))
    np.testing.assert_array_equal(integers(read_onnx(tmp_path / "model.onnx")), integers(lenet))


@pytest.mark.parametrize("target", [ONNX, QONNX], ids=lambda t: t.name)
def test_shared_reals_are_looked_up_by_onnx_runtime_too(target: object, tmp_path: Path) -> None:
    graph = Share(values=6).run(networks.small_cnn(), Context())
    (tmp_path / "model.onnx").write_bytes(target.emit(graph)["model.onnx"])
    data = networks.data_for(graph)
    have = next(iter(target.run(tmp_path, graph, data, scratch=tmp_path).outputs.values()))
    np.testing.assert_allclose(have, evaluate(graph, data)["out_y"], rtol=1e-4, atol=1e-4)
    model = onnx.load(tmp_path / "model.onnx")
    assert sum(node.op_type == "Gather" for node in model.graph.node) == 3


def test_onnx_holds_codebooks_and_indices(lenet: Graph) -> None:
    model = onnx.load_from_string(ONNX.emit(lenet)["model.onnx"])
    assert sum(node.op_type == "Gather" for node in model.graph.node) == 5
    assert len(model.SerializeToString()) < 61_706 * 4 / 6
