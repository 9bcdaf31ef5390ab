"""QONNX with channels last, against ONNX Runtime with channels first; thresholds of FINN, against their definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import Arrays, build, interpret, read, runtime, sample, weights

from backends.onnx import ONNX
from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.ops.quantization import Threshold
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.types import Integer, Level

LAST, GENERAL = "qonnx.custom_op.channels_last", "qonnx.custom_op.general"


def node(op: str, names: list[str], domain: str = GENERAL, result: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, names, [result], name=f"/m/{op}", domain=domain, **attributes)


def turned(data: np.ndarray) -> np.ndarray:
    """Channels from the second axis to the last."""
    return np.moveaxis(data, 1, -1)


STATISTICS = {**weights(s=(4,), b=(4,), m=(4,)), "v": np.array([0.5, 1, 2, 0.1], np.float32)}
BOX = {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [0, 1, 1, 1]}
CASES: dict[str, tuple[tuple[int, ...], Arrays, dict[str, Any]]] = {
    "Conv": ((1, 4, 6, 7), weights(w=(5, 4, 2, 3), b=(5,)), {**BOX, "dilations": [1, 2], "group": 1}),
    "Conv by groups": ((1, 4, 6, 7), weights(w=(6, 2, 2, 3)), {**BOX, "group": 2, "dilations": [1, 1]}),
    "Conv along one axis": ((1, 4, 9), weights(w=(3, 4, 3)), {"kernel_shape": [3], "strides": [2]}),
    "MaxPool": ((1, 4, 6, 7), {}, BOX), "AveragePool": ((1, 4, 6, 7), {}, BOX),
    "BatchNormalization": ((1, 4, 6, 7), STATISTICS, {"epsilon": 1e-3, "momentum": 0.8}),
}


@pytest.mark.parametrize("case", CASES)
def test_channels_last(case: str, tmp_path: Path) -> None:
    shape, given, attributes = CASES[case]
    op, x = case.split()[0], sample(shape)
    (theirs,) = runtime(build([node(op, ["x", *given], "", **attributes)], {"x": shape}, given), {"x": x})
    there = {name: turned(data) if op == "Conv" and name == "w" else data for name, data in given.items()}
    model = build([node(op, ["x", *given], LAST, **attributes)], {"x": turned(x).shape}, there)
    (ours,) = interpret(read(model, tmp_path), {"x": turned(x)})
    np.testing.assert_allclose(ours, turned(theirs), rtol=1e-5, atol=1e-6)


def test_another_operator_with_channels_last_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IrcError, match="Resize of QONNX is not supported"):
        read(build([node("Resize", ["x"], LAST)], {"x": (1, 4, 4, 2)}), tmp_path)


def counted(x: np.ndarray, thresholds: np.ndarray, axis: int, scale: float = 1, bias: float = 0) -> np.ndarray:
    """The definition of MultiThreshold."""
    reached = np.moveaxis(x, axis, -1)[..., None] >= thresholds
    return np.moveaxis(reached.sum(axis=-1), -1, axis) * scale + bias


@pytest.mark.parametrize(("shape", "axis", "layout"), [
    ((2, 3, 4, 5), 1, "NCHW"), ((2, 4, 5, 3), 3, "NHWC"), ((4, 3), 1, "NCHW"), ((4, 3), 1, "NHWC"),
    ((2, 5, 3), 2, "NCHW")])
@pytest.mark.parametrize(("scale", "bias"), [(1.0, 0.0), (0.5, -2.0), (2.0, -1.0), (0.25, 0.1)])
def test_thresholds(shape: tuple[int, ...], axis: int, layout: str, scale: float, bias: float, tmp_path: Path) -> None:
    table = np.round(np.random.default_rng(1).normal(size=(3, 7)), 1).astype(np.float32)
    model = build([node("MultiThreshold", ["x", "t"], out_dtype="INT4", out_scale=scale, out_bias=bias,
                        data_layout=layout)], {"x": shape}, {"t": table})
    x = np.round(sample(shape), 1)  # some meet a threshold exactly
    (ours,) = interpret(read(model, tmp_path), {"x": x})
    np.testing.assert_allclose(ours, counted(x, table, axis, scale, bias), rtol=1e-6)


def test_thresholds_for_all_channels(tmp_path: Path) -> None:
    table = np.array([[-1, 0, 0.5]], np.float32)
    graph = read(build([node("MultiThreshold", ["x", "t"], out_dtype="UINT2")], {"x": (2, 3)}, {"t": table}), tmp_path)
    assert np.array_equal(interpret(graph, {"x": sample((2, 3))})[0], counted(sample((2, 3)), table, 1))


def lowered(graph: Graph, pipeline: str) -> Graph:
    return run_pipeline(graph, parse_pipeline(pipeline)).graph


def finn(data_layout: str) -> onnx.ModelProto:
    """Quantized input and weights, a convolution, thresholds of every channel, a pooling, a dense layer."""
    rng, nhwc = np.random.default_rng(2), data_layout == "NHWC"
    domain = LAST if nhwc else ""
    kernel = rng.integers(-3, 4, (4, 3, 3, 3)).astype(np.float32)
    given = {"w": turned(kernel) if nhwc else kernel, "one": np.float32(1), "zero": np.float32(0),
             "eight": np.float32(8), "three": np.float32(3),
             "t": np.sort(rng.integers(-300, 300, (4, 7)), axis=1).astype(np.float32),
             "d": rng.integers(-3, 4, (16, 5)).astype(np.float32), "shape": np.array([1, 16])}
    nodes = [node("Quant", ["x", "one", "zero", "eight"], result="q", signed=0, narrow=0),
             node("Quant", ["w", "one", "zero", "three"], result="k", signed=1, narrow=1),
             node("Conv", ["q", "k"], domain, "c", kernel_shape=[3, 3], strides=[1, 1], dilations=[1, 1], group=1),
             node("MultiThreshold", ["c", "t"], result="m", out_dtype="UINT3", data_layout=data_layout),
             node("MaxPool", ["m"], domain, "p", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0]),
             node("Reshape", ["p", "shape"], "", "f"),
             node("Quant", ["d", "one", "zero", "three"], result="e", signed=1, narrow=1),
             node("MatMul", ["f", "e"], "")]
    return build(nodes, {"x": (1, 6, 6, 3) if nhwc else (1, 3, 6, 6)}, given)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_thresholds_become_integers_and_hardware(layout: str, tmp_path: Path) -> None:
    graph = read(finn(layout), tmp_path)
    x = np.random.default_rng(3).integers(0, 256, (20, *graph.inputs[0].type.shape)).astype(np.float64)
    want = evaluate(graph, {"x": x})["y"]
    integer = lowered(graph, "fold, clean, integer")
    assert integer.level is Level.INTEGER
    assert {n.op.to for n in integer.nodes if isinstance(n.op, Threshold)} == {Integer(False, 3)}
    assert np.array_equal(evaluate(integer, {"x": x.astype(np.int64)})["y"], want)
    assert lowered(graph, "to-integer, to-dataflow").level is Level.DATAFLOW


def test_what_the_onnx_target_has_no_form_for_is_named(tmp_path: Path) -> None:
    """The convolution reads a transposed weight, and has no bias."""
    assert [(d.code, d.place.operator) for d in ONNX.refused(read(finn("NHWC"), tmp_path))] == [("E502", "threshold")]
