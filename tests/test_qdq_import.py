"""QuantizeLinear and DequantizeLinear of every integer type against ONNX Runtime: the same integers."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import helper
from onnx_models import build, interpret, read, runtime

TYPES = {"int8": np.int8, "uint8": np.uint8, "int16": np.int16, "uint16": np.uint16, "int4": ml_dtypes.int4,
         "uint4": ml_dtypes.uint4}


@pytest.mark.parametrize("kind", TYPES)
def test_quantized_and_back(kind: str, tmp_path: Path) -> None:
    weights = {"s": np.float32(0.25), "z": np.array(3).astype(TYPES[kind])}
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    model = build(nodes, {"x": [4, 50]}, weights, opset=21)
    feeds = {"x": np.random.default_rng(0).normal(0, 20, (4, 50)).astype(np.float32)}
    assert np.array_equal(interpret(read(model, tmp_path), feeds)[0], runtime(model, feeds)[0])


@pytest.mark.parametrize("kind", ["int8", "uint8", "int4", "int16"])
def test_weights_per_channel_with_zero_points(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    w = rng.integers(0, 8, (6, 3)).astype(TYPES[kind])
    weights = {"w": w, "s": np.float32([0.5, 0.25, 2]), "z": np.array([0, 1, 5]).astype(TYPES[kind])}
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["r"], axis=1),
             helper.make_node("MatMul", ["x", "r"], ["y"])]
    model = build(nodes, {"x": [2, 6]}, weights, opset=21)
    feeds = {"x": rng.integers(-9, 9, (2, 6)).astype(np.float32)}
    assert np.array_equal(interpret(read(model, tmp_path), feeds)[0], runtime(model, feeds)[0])


@pytest.mark.parametrize("opset", [10, 13, 17, 19, 21])
def test_ties_go_to_even_in_every_operator_set(opset: int, tmp_path: Path) -> None:
    weights = {"s": np.float32(2), "z": np.uint8(10)}
    model = build([helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])], {"x": [9]}, weights, opset=opset)
    feeds = {"x": np.float32([-25, -3, -1, 0, 1, 3, 5, 7, 2000])}
    assert np.array_equal(interpret(read(model, tmp_path), feeds)[0], runtime(model, feeds)[0])
