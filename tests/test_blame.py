"""What each layer costs and how far its output is off, against NumPy and brute force."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import CALIBRATION, IMAGES, LENET, compile_dense, irc
from networks import Network
from test_judge import language_model

from irc.build import load_build
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.ops.elementwise import Add, Relu
from irc.ops.linear import MatMul
from irc.pipeline.blame import MOST, Blame, costliest, weighted_layers
from irc.pipeline.language import parse_pipeline
from irc.samples import bind, load_samples
from irc.types import Array

DATA = {"x": np.random.default_rng(0).standard_normal((30, 6))}


def two_layers(seed: int = 0) -> Graph:
    net = Network(seed)
    h = net.op("h", Add(), net.op("a", MatMul(), net.input("x", (1, 6)), net.weight("w", 6, 5)), net.weight("b", 1, 5))
    return net.graph(net.op("y", MatMul(), net.op("r", Relu(), h), net.weight("v", 5, 4)))


def moved(graph: Graph, *names: str) -> Graph:
    """The network with some constants rounded to halves."""
    return graph.map_constants(lambda c: replace(c, data=np.rint(2 * c.data) / 2) if c.name in names else c)


def relative(found: Array, expected: Array) -> float:
    return float(np.square(found - expected).sum() / np.square(expected).sum())


def outputs(graph: Graph, data: dict[str, Array]) -> Array:
    return evaluate(graph, bind(graph, data))[graph.outputs[0].name]


@pytest.mark.parametrize(("layer", "constants"), [("a", ("w", "b")), ("y", ("v",))])
def test_the_cost_of_a_layer_is_the_error_when_it_alone_is_compressed(layer: str, constants: tuple[str, ...]) -> None:
    """A bias that is added behind belongs to the layer."""
    graph = two_layers()
    found = Blame(graph, moved(graph, "w", "b", "v"), DATA).costs()[layer]
    assert found == pytest.approx(relative(outputs(moved(graph, *constants), DATA), outputs(graph, DATA)), rel=1e-12)


def test_an_untouched_layer_costs_nothing_but_carries_the_error_of_others() -> None:
    graph = two_layers()
    errors = {e.layer: e for e in Blame(graph, moved(graph, "w"), DATA).errors()}
    assert errors["y"].cost == 0
    assert errors["y"].mean > 0


def test_without_quantizer_the_error_is_relative_to_the_root_mean_square() -> None:
    graph, after = two_layers(), moved(two_layers(), "w", "v")
    found = {e.layer: e for e in Blame(graph, after, DATA).errors()}["y"]
    expected, apart = outputs(graph, DATA), np.abs(outputs(after, DATA) - outputs(graph, DATA))
    size = np.sqrt(np.mean(expected**2))
    assert found.unit == "relative"
    assert (found.mean, found.largest) == pytest.approx((apart.mean() / size, apart.max() / size))


def test_nothing_costs_anything_in_an_unchanged_network() -> None:
    graph = two_layers()
    errors = Blame(graph, graph, DATA).errors()
    assert [(e.cost, e.mean, e.largest) for e in errors] == [(0, 0, 0)] * 2
    assert costliest(errors) is None


def test_tables_are_layers_and_tokens_are_shared_values() -> None:
    graph, data = language_model(), {"tokens": np.random.default_rng(0).integers(0, 5, (9, 4))}
    found = Blame(graph, moved(graph, "table"), data).costs()
    assert found["e"] == pytest.approx(relative(outputs(moved(graph, "table"), data), outputs(graph, data)))
    assert found["y"] == 0


def test_no_more_samples_are_looked_at_than_needed() -> None:
    many = {"x": np.zeros((10 * MOST, 6))}
    assert Blame(two_layers(), two_layers(), many).samples == MOST


def test_layers_are_nodes_with_weights() -> None:
    from irc.frontend import read_onnx

    assert [layer.name for layer in weighted_layers(read_onnx(LENET))] == [
        "c1", "c2", "f1_matmul", "f2_matmul", "f3_matmul"]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lenet") / "b"
    answer = irc("compile", LENET, "--passes", "quantize{weights=s3 activations=u5}", "--calib", CALIBRATION,
                 "--data", IMAGES, "--target", "sim", "-o", folder)
    assert (answer.code, answer.err) == (0, "")
    return folder


def test_compile_reports_the_metric_of_the_integers_that_the_target_computes(build: Path) -> None:
    made, data = load_build(build), load_samples(IMAGES)
    labels = data["labels"]
    before, after = (100 * np.mean(outputs(made.graph(s), dict(data)).argmax(-1).ravel() == labels)
                     for s in ("float", "quantized"))
    found = made.manifest["metric"]
    assert (found["name"], found["samples"]) == ("accuracy", 300)
    assert (found["before"], found["after"]) == pytest.approx((before, after), abs=1e-3)


def test_explain_gives_errors_in_steps_of_the_layers_quantizer(build: Path) -> None:
    made, data = load_build(build), {"image": load_samples(IMAGES)["image"][:MOST]}
    answer = irc("explain", build, "--data", IMAGES, "--json").json
    float_, quantized = (evaluate(g, bind(g, data), keep=True) for g in map(made.graph, ("float", "quantized")))
    graph = made.graph("quantized")
    scale, zero = (graph.constants[name].data.astype(float) for name in graph.producers["relu_q"].operands[1:])
    apart = np.abs(quantized["relu_q"] - zero - float_["relu"] / scale)
    found = next(layer for layer in answer["layers"] if layer["layer"] == "c1")
    assert found["unit"] == "lsb"
    assert (found["mean"], found["largest"]) == pytest.approx((apart.mean(), apart.max()))
    assert answer["layers"][-1]["unit"] == "relative"  # nothing quantizes the logits


def test_explain_lists_what_the_constants_take_to_store(build: Path) -> None:
    stored = irc("explain", build, "--json").json["storage"]
    weights = [row for row in stored if row["format"] == "s3"]
    assert sum(row["dense_bits"] for row in weights) == 3 * 61_470
    assert all(row["bits"] <= row["dense_bits"] for row in stored)
    assert f"all {len(stored)} constants" in irc("explain", build).out


def test_the_exclusion_that_explain_names_spares_the_layer_that_costs_most(build: Path) -> None:
    answer = irc("explain", build, "--data", IMAGES, "--json").json
    worst = max(answer["layers"], key=lambda layer: layer["cost"])
    assert answer["costliest"]["layer"] == worst["layer"]
    graph = load_build(build).graph("float")
    (step,) = parse_pipeline(f"quantize{{weights=s3 activations=u5}} {answer['costliest']['exclusion']}")
    left = {node.name for node in graph.nodes} - step.selector.select(graph)  # type: ignore[union-attr]
    assert left == {worst["layer"]}


def test_explain_prints_a_row_a_layer_and_the_exclusion(build: Path) -> None:
    out = irc("explain", build, "--calib", CALIBRATION).out
    assert "Layers on 64 samples" in out
    assert '@ !name("' in out
    assert "cosine 1 -> 0.9" in out
    assert "Layers on" not in irc("explain", build).out
    assert "accuracy 100 -> " in irc("explain", build).out  # as it was when the build was made


def test_explain_of_an_integer_network_has_no_layers(tmp_path: Path) -> None:
    folder = compile_dense(tmp_path, "sim")
    assert json.loads(irc("explain", folder, "--json").out)["layers"] == []
