"""QLinear and Integer products against ONNX Runtime: the same integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import build, interpret, read, runtime

RNG = np.random.default_rng(0)
POWERS = np.float32([0.5, 0.25, 1.0])  # products of powers of two are exact in float32, so ties fall alike


def integers(shape: tuple[int, ...], low: int = -9, high: int = 10, kind: type = np.int8) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(kind)


@pytest.mark.parametrize("channels", [False, True], ids=["per tensor", "per channel"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_qlinear_conv(channels: bool, bias: bool, tmp_path: Path) -> None:
    weights = {"xs": np.float32(0.5), "xz": np.uint8(3), "w": integers((3, 2, 3, 3)),
               "ws": POWERS if channels else np.float32(0.25), "wz": np.zeros(3 if channels else (), np.int8),
               "ys": np.float32(2), "yz": np.uint8(7)} | ({"b": integers((3,), -99, 99, np.int32)} if bias else {})
    node = helper.make_node("QLinearConv", ["x", *weights], ["y"], pads=[1, 0, 1, 2], strides=[1, 2])
    model = build([node], {"x": [1, 2, 6, 7]}, weights, kind=TensorProto.UINT8)
    feeds = {"x": integers((1, 2, 6, 7), 0, 256, np.uint8)}
    assert np.array_equal(interpret(read(model, tmp_path), feeds)[0], runtime(model, feeds)[0])


def test_qlinear_matmul(tmp_path: Path) -> None:
    weights = {"as": np.float32(0.5), "az": np.uint8(120), "b": integers((5, 4), 0, 99, np.uint8),
               "bs": np.float32(0.25), "bz": np.uint8(50), "ys": np.float32(4), "yz": np.uint8(100)}
    model = build([helper.make_node("QLinearMatMul", ["x", *weights], ["y"])], {"x": [3, 5]}, weights,
                  kind=TensorProto.UINT8)
    feeds = {"x": integers((3, 5), 0, 256, np.uint8)}
    assert np.array_equal(interpret(read(model, tmp_path), feeds)[0], runtime(model, feeds)[0])


@pytest.mark.parametrize("zeros", [False, True], ids=["no zero points", "zero points"])
def test_matmul_integer(zeros: bool, tmp_path: Path) -> None:
    weights = {"b": integers((5, 4), 0, 99, np.uint8)} | ({"az": np.uint8(9), "bz": np.uint8(50)} if zeros else {})
    model = build([helper.make_node("MatMulInteger", ["x", *weights], ["y"])], {"x": [3, 5]}, weights,
                  kind=TensorProto.UINT8)
    feeds = {"x": integers((3, 5), 0, 256, np.uint8)}
    assert np.array_equal(interpret(read(model, tmp_path), feeds)[0], runtime(model, feeds)[0])


def test_conv_integer_pads_with_the_zero_point(tmp_path: Path) -> None:
    weights = {"w": integers((3, 2, 3, 3), 0, 99, np.uint8), "xz": np.uint8(9)}
    node = helper.make_node("ConvInteger", ["x", *weights], ["y"], pads=[1, 1, 1, 1])
    model = build([node], {"x": [1, 2, 5, 5]}, weights, kind=TensorProto.UINT8)
    feeds = {"x": integers((1, 2, 5, 5), 0, 256, np.uint8)}
    assert np.array_equal(interpret(read(model, tmp_path), feeds)[0], runtime(model, feeds)[0])
