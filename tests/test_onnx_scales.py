"""Quantizers whose scales are computed or run in blocks, and integers as bits, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import assert_same, build, interpret, one, read, runtime, sample


@pytest.mark.parametrize("seed", range(4))
def test_scale_and_zero_point_of_the_data_themselves(seed: int, tmp_path: Path) -> None:
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])
    model = build([node], {"x": (4, 250)}, outputs=["y", "scale", "zero"])
    assert_same(model, {"x": sample((4, 250), seed)}, tmp_path)


def test_a_dynamically_quantized_layer(tmp_path: Path) -> None:
    """What onnxruntime.quantization.quantize_dynamic writes."""
    rng = np.random.default_rng(3)
    nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
             helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["sum"]),
             helper.make_node("Cast", ["sum"], ["real"], to=TensorProto.FLOAT),
             helper.make_node("Mul", ["s", "ws"], ["scale"]), helper.make_node("Mul", ["real", "scale"], ["y"])]
    given = {"w": rng.integers(-128, 128, (16, 8)).astype(np.int8), "wz": np.array(3, np.int8),
             "ws": np.array(0.01, np.float32)}
    assert_same(build(nodes, {"x": (2, 16)}, given), {"x": sample((2, 16))}, tmp_path)


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize(("axis", "block"), [(0, 2), (1, 3), (-1, 6)])
def test_weights_quantized_in_blocks(axis: int, block: int, zero: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(axis + block)
    shape = [4, 6]
    shape[axis] //= block
    given = {"q": rng.integers(-128, 128, (4, 6)).astype(np.int8),
             "scale": rng.uniform(0.01, 0.1, shape).astype(np.float32),
             **({"zero": rng.integers(-9, 9, shape).astype(np.int8)} if zero else {})}
    nodes = [helper.make_node("DequantizeLinear", list(given), ["w"], axis=axis, block_size=block),
             helper.make_node("MatMul", ["x", "w"], ["y"])]
    assert_same(build(nodes, {"x": (3, 4)}, given, opset=21), {"x": sample((3, 4))}, tmp_path)


@pytest.mark.parametrize("zero", [True, False])
def test_data_quantized_in_blocks(zero: bool, tmp_path: Path) -> None:
    given = {"scale": np.array([[0.05, 0.5], [0.03, 0.2]], np.float32),
             **({"zero": np.array([[1, 2], [3, -4]], np.int8)} if zero else {})}
    model = one("QuantizeLinear", (2, 6), given, opset=21, axis=1, block_size=3,
                **({} if zero else {"output_dtype": TensorProto.INT8}))
    assert_same(model, {"x": sample((2, 6))}, tmp_path)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bits_shifted_out(direction: str, tmp_path: Path) -> None:
    shifts = np.array([0, 1, 7, 3], np.uint8)
    model = build([helper.make_node("BitShift", ["x", "by"], ["y"], direction=direction)], {"x": (3, 4)},
                  {"by": shifts}, kind=TensorProto.UINT8)
    x = np.random.default_rng(1).integers(0, 256, (3, 4)).astype(np.uint8)
    np.testing.assert_array_equal(interpret(read(model, tmp_path), {"x": x})[0], runtime(model, {"x": x})[0])


def test_a_part_of_nothing(tmp_path: Path) -> None:
    """Splits and slices that leave nothing are written by rotary embeddings of whole heads."""
    nodes = [helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1), helper.make_node("Relu", ["b"], ["c"]),
             helper.make_node("Concat", ["c", "a"], ["y"], axis=1)]
    model = build(nodes, {"x": (2, 6)}, {"sizes": np.array([6, 0])})
    graph = assert_same(model, {"x": sample((2, 6))}, tmp_path)
    assert [node.op.name for node in graph.nodes] == ["slice"]
