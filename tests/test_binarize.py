"""Binary and ternary weights, binary activations."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import networks
import numpy as np
import pytest

from irc.build import Build
from irc.codebook import stored
from irc.compiler import Request, compile_model
from irc.cost import op_costs
from irc.diagnostics import IrcError
from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.pipeline.language import parse_pipeline
from irc.pipeline.step import Context
from irc.samples import load_samples
from irc.types import Array, Integer
from irc.verify import verify
from passes.binarize.activations import two_values
from passes.binarize.binarize import Binarize
from passes.binarize.ternarize import Ternarize, least_squares, twn
from passes.quantize.calibration import Histogram

DATA = Path(__file__).parents[1] / "examples" / "data"
LAYERS = {"h": ("w1", 0), "g": ("w2", 0), "dense": ("w3", 1)}


def weight(graph: Graph, layer: str) -> tuple[Array, Array]:
    """Letters and scales of a layer's weight."""
    letters, scale = graph.producers[graph.producers[layer].operands[1]].operands
    found = stored(graph, letters)
    assert found is not None
    return found.data, graph.constants[scale].data


@pytest.mark.parametrize("layer", LAYERS)
def test_binary_weights_are_signs_times_the_mean_magnitude(layer: str) -> None:
    graph, (name, axis) = networks.small_cnn(), LAYERS[layer]
    letters, scale = weight(Binarize().run(graph, Context()), layer)
    real = graph.constants[name].data.astype(np.float64)
    np.testing.assert_array_equal(letters, np.where(real < 0, -1, 1))
    others = tuple(i for i in range(real.ndim) if i != axis)
    np.testing.assert_allclose(scale, np.abs(real).mean(axis=others), rtol=1e-6)


def test_one_scale_for_the_tensor_when_asked() -> None:
    graph = networks.small_cnn()
    _, scale = weight(Binarize(scale="tensor").run(graph, Context()), "h")
    np.testing.assert_allclose(scale, np.abs(graph.constants["w1"].data).mean(), rtol=1e-6)


def test_a_binary_weight_is_stored_in_one_bit() -> None:
    costs = {cost.op: cost for cost in op_costs(Binarize().run(networks.small_cnn(), Context()))}
    assert costs["matmul"].weight_bits == 60 + 2 * 2


def test_twn_follows_its_formula() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 40))
    letters, scale = twn(rows)
    for row, found, s in zip(rows, letters, scale, strict=True):
        limit = 0.7 * np.abs(row).mean()
        assert found.tolist() == [0 if abs(w) <= limit else np.sign(w) for w in row]
        assert s == pytest.approx(np.mean([abs(w) for w in row if abs(w) > limit]))


def test_the_optimal_threshold_is_the_best_of_all_letters() -> None:
    rows = np.random.default_rng(1).normal(size=(4, 6))
    letters, scale = least_squares(rows)
    for row, found, s in zip(rows, letters, scale, strict=True):
        tried = [np.array(t) for t in product((-1, 0, 1), repeat=6) if any(t)]
        best = min(np.square(row - t * max(row @ t / (t @ t), 0)).sum() for t in tried)
        assert np.square(row - found * s).sum() == pytest.approx(best)


def test_zeros_stay_zero_in_ternary_weights_only() -> None:
    rows = np.array([[0.0, 0.0, 0.0], [0.0, 2.0, -2.0]])
    for rule in (twn, least_squares):
        letters, scale = rule(rows)
        assert letters.tolist() == [[0, 0, 0], [0, 1, -1]] and scale.tolist() == [0, 2]


@pytest.mark.parametrize("kind", [Binarize, Ternarize])
def test_rounding_for_the_output_is_closer(kind: type) -> None:
    graph, data = networks.small_cnn(), networks.data_for(networks.small_cnn())
    want = evaluate(graph, data)["out_y"]
    made = [kind(rounding=rounding).run(graph, Context(calibration=data)) for rounding in ("nearest", "gptq")]
    near, fitted = (np.square(evaluate(g, data)["out_y"] - want).sum() for g in made)
    assert fitted < 0.8 * near


def test_only_selected_layers_change() -> None:
    graph = Ternarize().run(networks.small_cnn(), Context(selected=lambda node: node.name == "g"))
    assert graph.producers["h"].operands[1] == "w1" and weight(graph, "g")[0].shape == (3, 4, 3, 3)


def test_two_values_of_two_peaks_are_these() -> None:
    counts = np.zeros(100)
    counts[[20, 80]] = 3, 1
    middle, step = two_values(Histogram(0.0, 1.0, counts))
    assert (middle, step) == pytest.approx((0.505, 0.3))


def test_binary_activations_have_two_values_and_means_stay() -> None:
    graph, data = networks.small_cnn(), networks.data_for(networks.small_cnn())
    inner = Context(calibration=data, selected=lambda node: node.name in ("g", "dense"))
    signed = Binarize(activations=True, rounding="gptq").run(graph, inner)
    signed.verify()
    assert sum(node.op.name == "bipolar" for node in signed.nodes) == 2
    before, after = (evaluate(g, data, keep=True) for g in (graph, signed))
    x = signed.producers["dense"].operands[0]
    assert len(np.unique(after[x])) == 2
    np.testing.assert_allclose(after["out_y"].mean(axis=0), before["out_y"].mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("passes", ["binarize{rounding=gptq}", "ternarize{activations=true}", "binarize{scale=row}",
                                    "ternarize{threshold=max}", "binarize{activations=true}"])
def test_bad_options_and_missing_data_are_coded_errors(passes: str) -> None:
    with pytest.raises(IrcError, match=r"E30[34]|E402"):
        for step in parse_pipeline(passes):
            step.pass_.run(networks.small_cnn(), Context())


@pytest.fixture(scope="module")
def xnor(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """LeNet whose inner layers multiply signs with signs."""
    passes = ("fold, binarize{activations=true rounding=gptq} @ weighted & !first & !last, fold, "
              "quantize{weights=s8 activations=u8}")
    request = Request(DATA / "mnist_lenet.onnx", "hls", passes, DATA / "mnist_calibration.npz")
    return compile_model(request, tmp_path_factory.mktemp("xnor") / "build")[0]


def test_layers_of_signs_multiply_two_bits_by_two_bits(xnor: Build) -> None:
    graph = xnor.graph("integer")
    kinds = [tuple(graph.tensor(o) for o in node.operands[:2]) for node in graph.nodes
             if node.op.name in ("conv", "matmul")]
    bipolar = [pair for pair in kinds if all(t.format == Integer(True, 2) for t in pair)]
    assert len(kinds) == 5 and len(bipolar) == 3
    assert [node.op.name for node in graph.nodes].count("threshold") == 3


def test_signs_are_the_same_in_c_and_in_the_simulator(xnor: Build) -> None:
    samples = load_samples(DATA / "mnist.npz")
    assert verify(xnor, {name: array[:30] for name, array in samples.items()}, frames=4, only=("hls", "sim")).ok


def test_the_shipped_network_survives_ternary_weights() -> None:
    graph = read_onnx(DATA / "mnist_lenet.onnx")
    calibration = load_samples(DATA / "mnist_calibration.npz")
    data = {port.name: calibration[port.name][:, None] for port in graph.inputs}
    images = np.load(DATA / "mnist.npz")
    made = Ternarize(rounding="gptq").run(graph, Context(calibration=data))
    scores = next(iter(evaluate(made, {"image": images["image"].reshape(-1, 1, 1, 28, 28)}).values()))
    assert (scores.argmax(-1).ravel() == images["labels"]).mean() > 0.95
