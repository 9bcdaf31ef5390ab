"""Exported models: ONNX Runtime gives the same classes, and reading them back gives the same integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from backends.onnx import ONNX, QONNX
from irc.diagnostics import IrcError
from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.samples import load_fitting
from irc.text import read_graph
from irc.types import Array

DATA = Path(__file__).parents[1] / "examples" / "data"
PIPELINES = ["quantize", "prune{sparsity=0.6}, quantize{weights=s4 activations=u4}", "shift{terms=2}, quantize"]
IMAGES = np.load(DATA / "mnist.npz")["image"].reshape(-1, 1, 1, 28, 28)


@pytest.fixture(scope="module", params=PIPELINES)
def lenet(request: pytest.FixtureRequest) -> Graph:
    graph = read_onnx(DATA / "mnist_lenet.onnx")
    data = load_fitting(DATA / "mnist.npz", graph)
    return run_pipeline(graph, parse_pipeline(f"fold, clean, {request.param}"), calibration=data).graph


def written(target: object, graph: Graph, folder: Path) -> Path:
    for name, content in target.emit(graph).items():
        (folder / name).write_bytes(content)
    return folder / "model.onnx"


def integers(graph: Graph, x: Array) -> tuple[Graph, Array]:
    low = run_pipeline(graph, parse_pipeline("fold, clean, integer")).graph
    (port,) = low.inputs
    return low, next(iter(evaluate(low, {port.name: port.encoding.encode(x, port.type.format)}).values()))


def test_onnx_runtime_finds_the_same_classes(lenet, tmp_path):
    written(ONNX, lenet, tmp_path)
    x = IMAGES.astype(np.float64)
    have = next(iter(ONNX.run(tmp_path, lenet, {"image": x}, scratch=tmp_path).outputs.values()))
    want = next(iter(evaluate(lenet, {"image": x}).values()))
    assert np.array_equal(have.argmax(-1), want.argmax(-1))
    close = np.abs(have - want) < 1e-4 * np.abs(want).max()
    assert close.mean() > 0.95  # the rest: steps that float32 rounding moved


@pytest.mark.parametrize("target", [ONNX, QONNX], ids=lambda t: t.name)
def test_reading_back_gives_the_same_integers(target, lenet, tmp_path):
    again = read_onnx(written(target, lenet, tmp_path))
    (before, want), (after, have) = (integers(g, IMAGES[:40].astype(np.float64)) for g in (lenet, again))
    assert np.array_equal(have, want)
    assert before.inputs[0].encoding == after.inputs[0].encoding


@pytest.mark.parametrize("target", [ONNX, QONNX], ids=lambda t: t.name)
def test_pruned_weights_stay_zero_and_bytes_stay_the_same(target, lenet, tmp_path):
    again = read_onnx(written(target, lenet, tmp_path))
    weights = [[c.data for c in g.constants.values() if c.data.dtype.kind == "i" and c.data.size > 50]
               for g in (lenet, again)]
    assert sum((w == 0).sum() for w in weights[0]) == sum((w == 0).sum() for w in weights[1])
    assert target.emit(lenet) == target.emit(lenet)


def test_qonnx_says_quant_and_nothing_of_qdq(lenet, tmp_path):
    model = onnx.load(written(QONNX, lenet, tmp_path))
    kinds = {node.op_type for node in model.graph.node}
    assert "Quant" in kinds and not {k for k in kinds if k.endswith("Linear")}


SIGNS = """graph g at model {
  in x: f32[1, 3]
  const s: f32[] = 0.5
  q: s2[1, 3] = bipolar(x)
  y: f32[1, 3] = dequantize(q, s)
  out y = y
}"""


@pytest.mark.parametrize("target", [ONNX, QONNX], ids=lambda t: t.name)
def test_signs(target, tmp_path):
    graph = read_graph(SIGNS)
    written(target, graph, tmp_path)
    run = target.run(tmp_path, graph, {"x": np.array([[[-1.0, 0.0, 2.0]]])}, scratch=tmp_path)
    assert run.outputs["y"].tolist() == [[[-0.5, 0.5, 0.5]]]


def test_a_rounding_that_onnx_does_not_have_is_refused_with_the_other_target(tmp_path):
    text = SIGNS.replace("bipolar(x)", 'quantize(x, s, to=s2, rounding="floor")')
    (problem,) = ONNX.refused(read_graph(text))
    assert (problem.code, problem.place.node, problem.remedy) == ("E502", "q", "Use the target qonnx.")
    assert QONNX.refused(read_graph(text)) == ()


def test_an_op_that_onnx_does_not_have_is_named():
    text = "graph g at model {\n  in x: f32[1, 2, 2]\n  y: f32[1, 2, 2] = softmax(x, axes=[1, 2])\n  out y = y\n}"
    with pytest.raises(IrcError, match=r"E502.*softmax over several axes"):
        ONNX.emit(read_graph(text))
