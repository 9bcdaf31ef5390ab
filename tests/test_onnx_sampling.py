"""Sampling, regions, transforms: against ONNX Runtime, and against the reference of the onnx package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_models import Arrays, assert_same, build, interpret, ints, one, read, sample, weights

from irc.diagnostics import IrcError

IMAGE = (2, 3, 5, 6)


def assert_as_defined(model: onnx.ModelProto, feeds: Arrays, folder: Path) -> None:
    """The same as the onnx package's own evaluation."""
    (theirs,) = ReferenceEvaluator(model).run(None, dict(feeds))
    np.testing.assert_allclose(interpret(read(model, folder), feeds)[0], theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_grid_sample(mode: str, padding_mode: str, align_corners: int, tmp_path: Path) -> None:
    """The grid reaches one and a half images beyond the borders."""
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=padding_mode,
                            align_corners=align_corners)
    model = build([node], {"x": IMAGE, "grid": (2, 7, 4, 2)}, opset=20)
    assert_same(model, {"x": sample(IMAGE), "grid": 1.5 * sample((2, 7, 4, 2), 1)}, tmp_path)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_grid_sample_of_a_volume(mode: str, tmp_path: Path) -> None:
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode)
    model = build([node], {"x": (1, 2, 3, 4, 5), "grid": (1, 2, 3, 2, 3)}, opset=20)
    assert_same(model, {"x": sample((1, 2, 3, 4, 5)), "grid": sample((1, 2, 3, 2, 3), 1)}, tmp_path)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("attributes", [
    {"sampling_ratio": 2}, {"sampling_ratio": 0}, {"sampling_ratio": 3, "spatial_scale": 0.5},
    {"coordinate_transformation_mode": "output_half_pixel"}])
def test_pooled_regions(mode: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    """Some reach over the borders, one lies outside, one is smaller than an element."""
    rois = [[0, 0, 5, 4], [1.2, 0.4, 3.9, 3.3], [-2.5, -1, 9, 7], [2, 2, 2.2, 2.3], [30, 30, 40, 40]]
    model = one("RoiAlign", IMAGE, {"rois": np.array(rois, np.float32), "batch": ints(0, 1, 1, 0, 1)}, mode=mode,
                output_height=3, output_width=2, **attributes)
    assert_same(model, {"x": sample(IMAGE)}, tmp_path)


@pytest.mark.parametrize(("w", "offsets", "attributes"), [
    ((4, 4, 3, 3), 1, {"pads": [1, 1, 1, 1]}), ((4, 2, 3, 2), 2, {"group": 2, "strides": [2, 1], "offset_group": 2}),
    ((6, 1, 2, 2), 4, {"group": 4, "dilations": [2, 1], "pads": [0, 1, 2, 0], "offset_group": 4})])
def test_deformable_convolution(w: tuple[int, ...], offsets: int, attributes: dict[str, Any], tmp_path: Path) -> None:
    w = (w[0] // attributes.get("group", 1) * attributes.get("group", 1), *w[1:])
    x = (2, 4, 6, 7)
    sizes = interpret(read(one("Conv", x, weights(w=w), **{k: v for k, v in attributes.items() if k != "offset_group"}),
                           tmp_path), {"x": sample(x)})[0].shape[2:]
    taps = offsets * w[2] * w[3]
    given = weights(w=w, offset=(2, 2 * taps, *sizes), b=w[:1], mask=(2, taps, *sizes))
    assert_as_defined(one("DeformConv", x, given, opset=19, **attributes), {"x": sample(x)}, tmp_path)


@pytest.mark.parametrize(("image", "block", "attributes"), [
    ((5, 6), (2, 3), {}), ((5, 6), (2, 3), {"strides": [2, 1], "pads": [1, 0, 0, 2]}),
    ((6, 7), (3, 2), {"dilations": [2, 3]}), ((9,), (3,), {"strides": [3]})])
def test_windows_added_up(image: tuple[int, ...], block: tuple[int, ...], attributes: dict[str, Any],
                          tmp_path: Path) -> None:
    """The convolution's own windows: as many as onnx counts."""
    rank = len(image)
    pads = np.reshape(attributes.get("pads", [0] * 2 * rank), (2, rank)).sum(axis=0)
    reach = np.array(attributes.get("dilations", [1] * rank)) * (np.array(block) - 1)
    count = int(np.prod((np.array(image) + pads - reach - 1) // attributes.get("strides", [1] * rank) + 1))
    shape = (2, 3 * int(np.prod(block)), count)
    model = one("Col2Im", shape, {"image": ints(*image), "block": ints(*block)}, opset=18, **attributes)
    assert_as_defined(model, {"x": sample(shape)}, tmp_path)


@pytest.mark.parametrize(("parts", "length", "attributes"), [
    (1, 8, {}), (2, 8, {}), (1, 8, {"onesided": 1}), (1, 7, {"onesided": 1}), (2, 8, {"inverse": 1}),
    (1, 5, {}), (1, 12, {})])
def test_fourier_transform(parts: int, length: int, attributes: dict[str, Any], tmp_path: Path) -> None:
    """Shorter and longer than the data: cut and padded."""
    model = one("DFT", (2, 8, 3, parts), {"length": np.array(length), "axis": np.array(1)}, opset=20, **attributes)
    assert_as_defined(model, {"x": sample((2, 8, 3, parts))}, tmp_path)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("windowed", [True, False])
def test_short_time_fourier_transform(onesided: int, windowed: bool, tmp_path: Path) -> None:
    given = {"step": np.array(4), "window": np.hanning(16).astype(np.float32), "length": np.array(16)}
    names = ["x", "step", "window" if windowed else "", "length"]
    model = build([helper.make_node("STFT", names, ["y"], onesided=onesided)], {"x": (2, 50, 1)}, given)
    assert_same(model, {"x": sample((2, 50, 1))}, tmp_path)


def test_a_mel_spectrogram(tmp_path: Path) -> None:
    """As speech models start: frames, energies, filter bank, logarithm."""
    given = {"step": np.array(32), "window": np.hanning(64).astype(np.float32), "length": np.array(64),
             "bands": np.array(8), "rate": np.array(8000), "low": np.array(100, np.float32),
             "high": np.array(4000, np.float32), "tiny": np.array(1e-3, np.float32)}
    nodes = [helper.make_node("STFT", ["x", "step", "window", "length"], ["frames"]),
             helper.make_node("ReduceSumSquare", ["frames"], ["energy"], axes=[3], keepdims=0),
             helper.make_node("MelWeightMatrix", ["bands", "length", "rate", "low", "high"], ["mel"]),
             helper.make_node("MatMul", ["energy", "mel"], ["bins"]),
             helper.make_node("Add", ["bins", "tiny"], ["above"]), helper.make_node("Log", ["above"], ["y"])]
    assert_same(build(nodes, {"x": (1, 400, 1)}, given), {"x": sample((1, 400, 1))}, tmp_path)


def test_determinant(tmp_path: Path) -> None:
    assert_same(one("Det", (3, 4, 4)), {"x": sample((3, 4, 4))}, tmp_path)


@pytest.mark.parametrize("model", [
    one("DFT", (1, 1_000_000, 1), {"length": np.array(1), "axis": np.array(1)}, opset=20),
    one("RoiAlign", (1, 1, 4, 4), {"r": np.zeros((1, 4), np.float32), "b": ints(0)}, sampling_ratio=10**9),
    one("Col2Im", (1, 1, 1), {"i": ints(10**6, 10**6), "b": ints(10**6, 10**6)}, opset=18),
    one("DeformConv", (1, 1, 4, 4), weights(w=(1, 1, 2, 2), o=(1, 8, 9, 9)), opset=19),
], ids=lambda m: m.graph.node[0].op_type)
def test_more_than_there_can_be_is_refused(model: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(IrcError, match="E104"):
        read(model, tmp_path)
