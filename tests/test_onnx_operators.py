"""Every supported operator, in every operator set that defines it differently, gives what ONNX Runtime gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Arrays, assert_same, build, ints, one, read, sample, weights

from irc.types import Integer, TensorType

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1-D": ((1, 3, 9), (4, 3, 3), {}),
    "2-D padded unevenly": ((1, 3, 7, 8), (4, 3, 3, 2), {"pads": [1, 0, 2, 1]}),
    "3-D": ((1, 2, 4, 5, 6), (3, 2, 2, 2, 2), {}),
    "strided and dilated": ((1, 2, 11, 12), (2, 2, 3, 3), {"strides": [2, 3], "dilations": [2, 1]}),
    "grouped": ((1, 4, 5, 5), (6, 2, 3, 3), {"group": 2}),
    "depthwise": ((1, 4, 5, 5), (4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "valid": ((1, 2, 7, 7), (2, 2, 3, 3), {"auto_pad": "VALID", "strides": [2, 2]}),
    "same upper": ((1, 2, 7, 8), (2, 2, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "same lower": ((1, 2, 7, 8), (2, 2, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    "same, kernel smaller than stride": ((1, 2, 7, 7), (2, 2, 1, 1), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "kernel_shape given": ((1, 2, 6, 6), (2, 2, 3, 3), {"kernel_shape": [3, 3]}),
}


@pytest.mark.parametrize("opset", [7, 11, 21])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv(case: str, bias: bool, opset: int, tmp_path: Path) -> None:
    x, w, attributes = CONVOLUTIONS[case]
    given = weights(w=w, b=w[:1]) if bias else weights(w=w)
    assert_same(one("Conv", x, given, opset=opset, **attributes), {"x": sample(x)}, tmp_path)


@pytest.mark.parametrize("opset", [7, 9, 13, 21])
@pytest.mark.parametrize("bias", [(5,), (1, 5), (2, 5), (1,), (), None])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int, bias: tuple[int, ...] | None, opset: int, tmp_path: Path) -> None:
    b, x = (5, 3) if transposed else (3, 5), (3, 2) if transposed else (2, 3)
    bias = (5,) if bias is None and opset < 11 else bias
    given = weights(b=b) if bias is None else weights(b=b, c=bias)
    model = one("Gemm", x, given, opset=opset, transA=transposed, transB=transposed, alpha=0.5, beta=2.0)
    assert_same(model, {"x": sample(x)}, tmp_path)


def test_gemm_is_matmul_then_add_of_a_constant(tmp_path: Path) -> None:
    graph = read(one("Gemm", (1, 3), weights(b=(5, 3), c=(5,)), transB=1), tmp_path)
    assert [node.op.name for node in graph.nodes] == ["matmul", "add"]
    assert [graph.tensor(o).shape for node in graph.nodes for o in node.operands[1:]] == [(3, 5), (5,)]


def test_gemm_without_beta_ignores_the_bias(tmp_path: Path) -> None:
    graph = assert_same(one("Gemm", (1, 3), weights(b=(3, 5), c=(5,)), beta=0.0), {"x": sample((1, 3))}, tmp_path)
    assert [node.op.name for node in graph.nodes] == ["matmul"]


@pytest.mark.parametrize(("a", "b"), [((1, 3), (3, 4)), ((2, 2, 3), (3, 4)), ((2, 1, 2, 3), (5, 3, 4)), ((1, 3), (3,))])
def test_matmul(a: tuple[int, ...], b: tuple[int, ...], tmp_path: Path) -> None:
    assert_same(one("MatMul", a, weights(b=b)), {"x": sample(a)}, tmp_path)


@pytest.mark.parametrize("opset", [7, 13, 14, 21])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_arithmetic_broadcasts(op: str, opset: int, tmp_path: Path) -> None:
    assert_same(one(op, (1, 3, 4), weights(c=(3, 1)), opset=opset), {"x": sample((1, 3, 4))}, tmp_path)


@pytest.mark.parametrize("op", ["Relu", "Sigmoid", "Tanh", "Identity", "GlobalMaxPool", "GlobalAveragePool"])
def test_one_operand(op: str, tmp_path: Path) -> None:
    assert_same(one(op, (1, 3, 4, 5)), {"x": 3 * sample((1, 3, 4, 5))}, tmp_path)


def test_sum_of_three(tmp_path: Path) -> None:
    assert_same(one("Sum", (1, 3), weights(a=(1, 3), b=(3,))), {"x": sample((1, 3))}, tmp_path)


@pytest.mark.parametrize("bounds", [{"min": -0.5, "max": 0.5}, {"min": 0.0}, {"max": 0.25}, {}])
def test_clip_by_attribute(bounds: dict[str, float], tmp_path: Path) -> None:
    assert_same(one("Clip", (1, 9), opset=8, **bounds), {"x": sample((1, 9))}, tmp_path)


@pytest.mark.parametrize("opset", [11, 13, 21])
@pytest.mark.parametrize("inputs", [("low", "high"), ("low",), ("", "high"), ()])
def test_clip_by_input(inputs: tuple[str, ...], opset: int, tmp_path: Path) -> None:
    node = helper.make_node("Clip", ["x", *inputs], ["y"])
    bounds = {"low": np.float32(-0.5), "high": np.float32(0.5)}
    model = build([node], {"x": (1, 9)}, {k: np.asarray(v) for k, v in bounds.items() if k in inputs}, opset=opset)
    assert_same(model, {"x": sample((1, 9))}, tmp_path)


POOLS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "overlapping": {"kernel_shape": [3, 2]},
    "padded": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]},
    "ceil": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    "ceil and padded": {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    "same upper": {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "same lower": {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
}


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("case", POOLS)
def test_pooling(case: str, op: str, size: int, tmp_path: Path) -> None:
    shape = (1, 2, size, size + 1)
    assert_same(one(op, shape, opset=21, **POOLS[case]), {"x": sample(shape)}, tmp_path)


@pytest.mark.parametrize("opset", [7, 10, 11, 19])
def test_average_pool_counts_padding(opset: int, tmp_path: Path) -> None:
    model = one("AveragePool", (1, 2, 6, 6), opset=opset, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    assert_same(model, {"x": sample((1, 2, 6, 6))}, tmp_path)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_dilated_pooling(op: str, tmp_path: Path) -> None:
    model = one(op, (1, 2, 9, 9), opset=19, kernel_shape=[3, 3], dilations=[2, 2], pads=[1, 1, 1, 1])
    assert_same(model, {"x": sample((1, 2, 9, 9))}, tmp_path)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(("op", "opset"), [("ReduceMax", 11), ("ReduceMax", 13), ("ReduceMean", 13), ("ReduceSum", 11)])
def test_reduction_by_attribute(op: str, opset: int, keepdims: int, tmp_path: Path) -> None:
    model = one(op, (2, 3, 4), opset=opset, axes=[1, -1], keepdims=keepdims)
    assert_same(model, {"x": sample((2, 3, 4))}, tmp_path)


@pytest.mark.parametrize("axes", [{"axes": ints(1, -1)}, {}])
@pytest.mark.parametrize(("op", "opset"), [("ReduceMax", 18), ("ReduceMean", 18), ("ReduceSum", 13), ("ReduceSum", 21)])
def test_reduction_by_input(op: str, opset: int, axes: Arrays, tmp_path: Path) -> None:
    assert_same(one(op, (2, 3, 4), axes, opset=opset, keepdims=0), {"x": sample((2, 3, 4))}, tmp_path)


def test_reduction_over_no_axes_does_nothing(tmp_path: Path) -> None:
    graph = assert_same(one("ReduceSum", (2, 3), noop_with_empty_axes=1), {"x": sample((2, 3))}, tmp_path)
    assert graph.nodes == ()


@pytest.mark.parametrize("opset", [7, 11, 13])
@pytest.mark.parametrize(("axis", "keepdims"), [(0, 1), (1, 0), (2, 1)])
def test_argmax(axis: int, keepdims: int, opset: int, tmp_path: Path) -> None:
    model = one("ArgMax", (2, 3, 4), opset=opset, axis=axis, keepdims=keepdims)
    assert_same(model, {"x": np.round(sample((2, 3, 4)))}, tmp_path)


@pytest.mark.parametrize("opset", [7, 11, 13, 21])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax(axis: int, opset: int, tmp_path: Path) -> None:
    assert_same(one("Softmax", (2, 3, 4), opset=opset, axis=axis), {"x": sample((2, 3, 4))}, tmp_path)


@pytest.mark.parametrize(("opset", "shape"), [(7, (2, 3, 4)), (13, (2, 3, 4))])
def test_softmax_default_axis(opset: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    assert_same(one("Softmax", shape, opset=opset), {"x": sample(shape)}, tmp_path)


@pytest.mark.parametrize("shape", [(4, 6), (-1, 3), (0, -1), (2, 0, 4), (24,), (-1,), (1, 2, 3, 4)])
def test_reshape(shape: tuple[int, ...], tmp_path: Path) -> None:
    assert_same(one("Reshape", (2, 3, 4), {"shape": ints(*shape)}), {"x": sample((2, 3, 4))}, tmp_path)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_flatten(axis: int, tmp_path: Path) -> None:
    assert_same(one("Flatten", (2, 3, 4), axis=axis), {"x": sample((2, 3, 4))}, tmp_path)


@pytest.mark.parametrize(("op", "shape", "axes"), [("Squeeze", (1, 3, 1), [0, -1]), ("Unsqueeze", (2, 3), [0, 2])])
def test_axes_appear_and_vanish(op: str, shape: tuple[int, ...], axes: list[int], tmp_path: Path) -> None:
    by_attribute = one(op, shape, opset=12, axes=axes)
    by_input = one(op, shape, {"axes": ints(*axes)}, opset=13)
    for model in (by_attribute, by_input):
        assert_same(model, {"x": sample(shape)}, tmp_path)


def test_squeeze_of_all_single_axes(tmp_path: Path) -> None:
    assert_same(one("Squeeze", (1, 3, 1)), {"x": sample((1, 3, 1))}, tmp_path)


@pytest.mark.parametrize("attributes", [{}, {"perm": [1, 0, 2]}, {"perm": [0, 1, 2]}])
def test_transpose(attributes: dict[str, list[int]], tmp_path: Path) -> None:
    assert_same(one("Transpose", (2, 3, 4), **attributes), {"x": sample((2, 3, 4))}, tmp_path)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis: int, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Concat", ["x", "r", "x"], ["y"], axis=axis)]
    assert_same(build(nodes, {"x": (2, 3)}), {"x": sample((2, 3))}, tmp_path)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [ints(2, 0, -1), np.array(1), np.array([[0, 1], [1, 2]])])
def test_gather(indices: np.ndarray, axis: int, tmp_path: Path) -> None:
    assert_same(one("Gather", (3, 3), {"i": indices.astype(np.int64)}, axis=axis), {"x": sample((3, 3))}, tmp_path)


def test_embedding_of_tokens(tmp_path: Path) -> None:
    node = helper.make_node("Gather", ["table", "tokens"], ["y"])
    model = build([node], {"tokens": ("N", 4)}, weights(table=(7, 3)), kind=TensorProto.INT64)
    graph = assert_same(model, {"tokens": np.array([[0, 6, 3, 3]])}, tmp_path)
    assert graph.inputs[0].type == TensorType(Integer(True, 64), (1, 4))


SLICES = [([1], [3], [0], [1]), ([-2], [99], [1], [1]), ([0, 3], [4, 0], [0, -1], [2, -1]), ([3], [-99], [0], [-2])]


@pytest.mark.parametrize(("starts", "ends", "axes", "steps"), SLICES)
def test_slice_by_input(starts: list[int], ends: list[int], axes: list[int], steps: list[int], tmp_path: Path) -> None:
    given = {k: ints(*v) for k, v in {"s": starts, "e": ends, "a": axes, "t": steps}.items()}
    assert_same(one("Slice", (4, 5), given), {"x": sample((4, 5))}, tmp_path)


def test_slice_by_attribute(tmp_path: Path) -> None:
    assert_same(one("Slice", (4, 5), opset=9, starts=[1, -3], ends=[9, -1]), {"x": sample((4, 5))}, tmp_path)


def test_pad_by_attribute(tmp_path: Path) -> None:
    assert_same(one("Pad", (2, 3), opset=10, pads=[0, 1, 2, 0], value=0.5), {"x": sample((2, 3))}, tmp_path)


@pytest.mark.parametrize("given", [{"p": ints(0, 1, 2, 0)}, {"p": ints(0, 1, 2, 0), "v": np.array(0.5, np.float32)}])
def test_pad_by_input(given: Arrays, tmp_path: Path) -> None:
    assert_same(one("Pad", (2, 3), given, opset=13), {"x": sample((2, 3))}, tmp_path)


def test_pad_of_some_axes(tmp_path: Path) -> None:
    given = {"p": ints(1, 2), "v": np.array(0, np.float32), "axes": ints(-1)}
    assert_same(one("Pad", (2, 3), given, opset=18), {"x": sample((2, 3))}, tmp_path)


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_normalization(opset: int, tmp_path: Path) -> None:
    given = {k: np.abs(v) for k, v in weights(scale=(3,), bias=(3,), mean=(3,), variance=(3,)).items()}
    model = one("BatchNormalization", (1, 3, 4, 4), given, opset=opset, epsilon=1e-3)
    assert_same(model, {"x": sample((1, 3, 4, 4))}, tmp_path)


@pytest.mark.parametrize("opset", [7, 10, 12, 13])
def test_dropout_is_nothing_at_inference(opset: int, tmp_path: Path) -> None:
    assert read(one("Dropout", (1, 3), opset=opset), tmp_path).nodes == ()


@pytest.mark.parametrize(("zero", "opset"), [(np.uint8(7), 10), (np.int8(-3), 13), (np.int8(0), 21), (np.int16(5), 21)])
def test_quantize_and_dequantize(zero: Any, opset: int, tmp_path: Path) -> None:
    given = {"scale": np.array(0.1, np.float32), "zero": np.asarray(zero)}
    nodes = [helper.make_node("QuantizeLinear", ["x", *given], ["q"]),
             helper.make_node("DequantizeLinear", ["q", *given], ["y"])]
    assert_same(build(nodes, {"x": (1, 50)}, given, opset=opset), {"x": 20 * sample((1, 50))}, tmp_path)


@pytest.mark.parametrize(("axis", "shape"), [(0, (3, 1, 2, 2)), (1, (3, 2, 2, 2))])
def test_quantized_weight_stays_quantized(axis: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    q = np.random.default_rng(0).integers(-127, 128, shape).astype(np.int8)
    scale = np.abs(sample(shape[axis : axis + 1]))
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=axis),
             helper.make_node("Conv", ["x", "w"], ["y"])]
    x = (1, shape[1], 4, 4)
    graph = assert_same(build(nodes, {"x": x}, {"q": q, "s": scale}), {"x": sample(x)}, tmp_path)
    assert [node.op.name for node in graph.nodes] == ["dequantize", "conv"]
    assert graph.tensor(graph.nodes[0].operands[0]).format == Integer(True, 8)


def test_cast_of_an_integer_input(tmp_path: Path) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    model = build([node], {"x": (1, 4)}, kind=TensorProto.UINT8)
    assert_same(model, {"x": np.array([[0, 1, 128, 255]], np.uint8)}, tmp_path)


def test_constants_of_every_kind(tmp_path: Path) -> None:
    kinds = {"value_float": 0.5, "value_floats": [1.0, 2.0], "value": numpy_helper.from_array(sample((1, 2)))}
    nodes = [helper.make_node("Constant", [], [name], **{name: value}) for name, value in kinds.items()]
    nodes.append(helper.make_node("Sum", ["x", *kinds], ["y"]))
    assert_same(build(nodes, {"x": (1, 2)}), {"x": sample((1, 2))}, tmp_path)


def test_shape_arithmetic_is_folded_away(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["batch1"]),
        helper.make_node("Mul", ["seven", "one_i"], ["width"]),
        helper.make_node("ConstantOfShape", ["axis_shape"], ["one"], value=numpy_helper.from_array(ints(1))),
        helper.make_node("Concat", ["batch1", "width", "one"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    given = {"zero": np.array(0), "axis": ints(0), "seven": ints(7), "one_i": ints(1), "axis_shape": ints(1)}
    graph = assert_same(build(nodes, {"x": ("N", 7)}, given), {"x": sample((1, 7))}, tmp_path)
    assert [node.op.name for node in graph.nodes] == ["reshape"]


def test_integer_division_cuts_toward_zero(tmp_path: Path) -> None:
    nodes = [helper.make_node("Div", ["a", "b"], ["c"]), helper.make_node("Gather", ["x", "c"], ["y"], axis=1)]
    model = build(nodes, {"x": (1, 5)}, {"a": ints(-7, 7, -6), "b": ints(2, 2, 4)})
    assert_same(model, {"x": sample((1, 5))}, tmp_path)
