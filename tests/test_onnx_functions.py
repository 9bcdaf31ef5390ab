"""Functions, shapes, layers: one node each, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import Arrays, assert_same, build, interpret, ints, one, read, runtime, sample, save, weights

from irc.diagnostics import IrcError
from irc.frontend import read_onnx
from irc.interpreter import evaluate
from irc.limits import Limits

IMAGE = (1, 3, 5, 6)

ELEMENTARY = ["Exp", "Erf", "Softplus", "Softsign", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh", "Floor",
              "Ceil", "Round", "Abs", "Neg", "Sign", "Reciprocal", "HardSwish", "Mish"]


@pytest.mark.parametrize("op", ELEMENTARY)
def test_elementary(op: str, tmp_path: Path) -> None:
    assert_same(one(op, (2, 50), opset=18), {"x": 3 * sample((2, 50))}, tmp_path)


@pytest.mark.parametrize(("op", "low", "high"), [("Log", 0.1, 9), ("Sqrt", 0, 9), ("Asin", -1, 1), ("Acos", -1, 1),
                                                 ("Acosh", 1, 9), ("Atanh", -0.9, 0.9)])
def test_function_of_a_range(op: str, low: float, high: float, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(low, high, (2, 50)).astype(np.float32)
    assert_same(one(op, (2, 50)), {"x": x}, tmp_path)


ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    ("LeakyRelu", {"alpha": 0.3}), ("Elu", {"alpha": 0.7}), ("Selu", {}), ("Celu", {"alpha": 2.0}),
    ("ThresholdedRelu", {"alpha": 0.5}), ("HardSigmoid", {"alpha": 0.3}), ("Shrink", {"lambd": 0.4, "bias": 0.2}),
    ("Gelu", {}), ("Gelu", {"approximate": "tanh"}), ("LogSoftmax", {"axis": 1}), ("Hardmax", {"axis": 1}),
]


@pytest.mark.parametrize(("op", "attributes"), ACTIVATIONS)
def test_activation(op: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    assert_same(one(op, IMAGE, opset=20, **attributes), {"x": 2 * sample(IMAGE)}, tmp_path)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_rows_of_old_operator_sets(op: str, tmp_path: Path) -> None:
    assert_same(one(op, (2, 3, 4), opset=11, axis=1), {"x": sample((2, 3, 4))}, tmp_path)


@pytest.mark.parametrize("op", ["PRelu", "Pow", "Max", "Min", "Mean"])
def test_two_operands(op: str, tmp_path: Path) -> None:
    c = np.abs(sample((3, 1, 1), 1))
    assert_same(one(op, IMAGE, {"c": c}), {"x": np.abs(sample(IMAGE)) - (op != "Pow")}, tmp_path)


@pytest.mark.parametrize("op", ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
def test_comparison_chooses(op: str, tmp_path: Path) -> None:
    nodes = [helper.make_node(op, ["x", "c"], ["t"]), helper.make_node("Not", ["t"], ["n"]),
             helper.make_node("Xor", ["n", "t"], ["o"]), helper.make_node("And", ["n", "o"], ["a"]),
             helper.make_node("Where", ["a", "x", "c"], ["y"])]
    x = np.array([[-1, 0, 1, 2]], np.float32)
    assert_same(build(nodes, {"x": (1, 4)}, {"c": np.array([0, 0, 2, 1], np.float32)}), {"x": x}, tmp_path)


REDUCTIONS = ["ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMin", "ReduceProd", "ReduceLogSumExp", "ReduceLogSum"]


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("op", REDUCTIONS)
def test_reduction(op: str, keepdims: int, tmp_path: Path) -> None:
    x = {"x": np.abs(sample((2, 3, 4)))}
    assert_same(one(op, (2, 3, 4), {"axes": ints(-1, 0)}, opset=18, keepdims=keepdims), x, tmp_path)
    assert_same(one(op, (2, 3, 4), opset=13, axes=[1], keepdims=keepdims), x, tmp_path)


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_first_and_last_of_equal_values(op: str, last: int, tmp_path: Path) -> None:
    x = np.array([[3, 1, 3, 1, 2]], np.float32)
    assert_same(one(op, (1, 5), axis=1, select_last_index=last), {"x": x}, tmp_path)


@pytest.mark.parametrize("attributes", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}])
def test_running_sum(attributes: dict[str, Any], tmp_path: Path) -> None:
    assert_same(one("CumSum", (2, 4), {"axis": np.array(1)}, **attributes), {"x": sample((2, 4))}, tmp_path)


def integers(op: str, kind: type, a: list[int], b: list[int] | None = None, **attributes: Any) -> onnx.ModelProto:
    """A node on integers of one type."""
    given = {} if b is None else {"b": np.array(b, kind)}
    node = helper.make_node(op, ["x", *given], ["y"], **attributes)
    return build([node], {"x": (len(a),)}, given, opset=18, kind=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))


INTEGERS: list[tuple[str, type, list[int], list[int] | None, dict[str, Any]]] = [
    ("Add", np.int32, [2**31 - 1, 5], [1, -7], {}),
    ("Mul", np.int32, [2**31 - 1, -5], [3, 7], {}),
    ("Sub", np.int64, [3, -2], [9, 7], {}),
    ("Div", np.int32, [-7, 7], [2, -2], {}),
    ("Mod", np.int32, [-7, 7], [3, -3], {}),
    ("Mod", np.int32, [-7, 7], [3, -3], {"fmod": 1}),
    ("Pow", np.int32, [3, -2], [4, 3], {}),
    ("Neg", np.int8, [-128, 5], None, {}),
    ("Abs", np.int32, [-9, 5], None, {}),
    ("BitShift", np.uint8, [200, 3], [1, 2], {"direction": "LEFT"}),
    ("BitShift", np.uint32, [200, 3], [1, 2], {"direction": "RIGHT"}),
    ("BitwiseNot", np.uint8, [200, 3], None, {}),
    ("BitwiseAnd", np.int16, [200, -3], [7, 5], {}),
]


@pytest.mark.parametrize(("op", "kind", "a", "b", "attributes"), INTEGERS)
def test_integers_wrap_around(op: str, kind: type, a: list[int], b: list[int] | None, attributes: dict[str, Any],
                              tmp_path: Path) -> None:
    assert_same(integers(op, kind, a, b, **attributes), {"x": np.array(a, kind)}, tmp_path)


def test_division_of_an_integer_by_zero_is_an_error(tmp_path: Path) -> None:
    graph = read(integers("Div", np.int32, [1, 2], [1, 0]), tmp_path)
    with pytest.raises(IrcError, match="divided by zero"):
        interpret(graph, {"x": np.array([1, 2])})


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.BOOL, TensorProto.DOUBLE])
def test_cast_of_reals(to: int, tmp_path: Path) -> None:
    assert_same(one("Cast", (2, 3), to=to), {"x": np.array([[-1.7, 0, 2.5], [0.3, 9, -3]], np.float32)}, tmp_path)


LAYOUTS: list[tuple[str, tuple[int, ...], Arrays, dict[str, Any]]] = [
    ("Expand", (3, 1), {"s": ints(2, 1, 4)}, {}),
    ("Tile", (2, 3), {"r": ints(2, 3)}, {}),
    ("Trilu", (2, 4, 5), {"k": np.array(1)}, {"upper": 0}),
    ("DepthToSpace", (1, 8, 2, 3), {}, {"blocksize": 2, "mode": "CRD"}),
    ("DepthToSpace", (1, 8, 2, 3), {}, {"blocksize": 2}),
    ("SpaceToDepth", (1, 2, 4, 6), {}, {"blocksize": 2}),
    ("Einsum", (2, 3, 4), {"b": sample((2, 4, 5), 1)}, {"equation": "bij,bjk->bik"}),
    ("Einsum", (2, 3, 4), {"b": sample((4, 5), 1)}, {"equation": "...ij,jk"}),
    ("GatherElements", (3, 4), {"i": np.array([[0, -1, 2, 0]])}, {"axis": 0}),
    ("GatherND", (2, 3, 4), {"i": np.array([[[1, 0]], [[2, 3]]])}, {"batch_dims": 1}),
    ("ScatterElements", (3, 4), {"i": np.array([[1, 1]]), "u": sample((1, 2), 1)}, {"axis": 1, "reduction": "add"}),
    ("ScatterND", (4, 3), {"i": np.array([[2], [0]]), "u": sample((2, 3), 1)}, {}),
    ("Compress", (3, 4), {"c": np.array([True, False, True])}, {"axis": 0}),
    ("ReverseSequence", (4, 3), {"n": ints(4, 1, 2)}, {}),
    ("Pad", (2, 5), {"p": ints(0, 2, 1, 3)}, {"mode": "reflect"}),
    ("Pad", (2, 5), {"p": ints(1, 2, 0, 3)}, {"mode": "edge"}),
    ("Pad", (4, 5), {"p": ints(-1, 2, 0, -3)}, {}),
    ("MeanVarianceNormalization", IMAGE, {}, {}),
    ("LpNormalization", IMAGE, {}, {"axis": 1, "p": 1}),
    ("LRN", IMAGE, {}, {"size": 3, "alpha": 0.1}),
    ("InstanceNormalization", IMAGE, weights(s=(3,), b=(3,)), {}),
    ("LayerNormalization", IMAGE, weights(s=(5, 6), b=(5, 6)), {"axis": 2}),
]


@pytest.mark.parametrize(("op", "shape", "given", "attributes"), LAYOUTS)
def test_shape_and_normalization(op: str, shape: tuple[int, ...], given: Arrays, attributes: dict[str, Any],
                                 tmp_path: Path) -> None:
    assert_same(one(op, shape, given, opset=17, **attributes), {"x": sample(shape)}, tmp_path)


@pytest.mark.parametrize(("op", "outputs", "given", "attributes"), [
    ("Split", 3, {}, {"axis": 1, "num_outputs": 3}), ("Split", 2, {"s": ints(1, 4)}, {"axis": 1}),
    ("TopK", 2, {"k": ints(3)}, {"axis": 1}), ("TopK", 2, {"k": ints(2)}, {"axis": 0, "largest": 0}),
])
def test_several_outputs(op: str, outputs: int, given: Arrays, attributes: dict[str, Any], tmp_path: Path) -> None:
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, ["x", *given], names, **attributes)
    assert_same(build([node], {"x": (4, 5)}, given, opset=18, outputs=names), {"x": sample((4, 5))}, tmp_path)


@pytest.mark.parametrize("how", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize(mode: str, how: str, tmp_path: Path) -> None:
    given = {"roi": np.zeros(0, np.float32), "scales": np.zeros(0, np.float32), "sizes": ints(1, 3, 7, 4)}
    model = one("Resize", IMAGE, given, mode=mode, coordinate_transformation_mode=how)
    assert_same(model, {"x": sample(IMAGE)}, tmp_path)


TRANSPOSED: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 3, 5), (3, 2, 3), {}),
    ((1, 3, 5, 4), (3, 2, 3, 2), {"strides": [2, 3], "pads": [1, 0, 0, 1]}),
    ((1, 4, 5, 4), (4, 2, 3, 2), {"group": 2, "strides": [2, 2], "output_padding": [1, 0]}),
    ((1, 3, 5, 4), (3, 2, 3, 3), {"dilations": [2, 1], "strides": [1, 2]}),
    ((1, 3, 5, 4), (3, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((1, 3, 5, 4), (3, 2, 3, 3), {"strides": [2, 2], "output_shape": [10, 9]}),
    ((1, 2, 3, 3, 3), (2, 2, 2, 2, 2), {"strides": [2, 1, 2]}),
]


@pytest.mark.parametrize(("x", "w", "attributes"), TRANSPOSED)
def test_transposed_convolution(x: tuple[int, ...], w: tuple[int, ...], attributes: dict[str, Any],
                                tmp_path: Path) -> None:
    given = weights(w=w, b=(w[1] * attributes.get("group", 1),))
    assert_same(one("ConvTranspose", x, given, **attributes), {"x": sample(x)}, tmp_path)


@pytest.mark.parametrize(("op", "attributes"), [
    ("LpPool", {"kernel_shape": [2, 3], "p": 3, "strides": [2, 1], "pads": [1, 0, 0, 1]}), ("GlobalLpPool", {"p": 3}),
    ("AveragePool", {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1, "count_include_pad": 1,
                     "pads": [1, 0, 1, 1]}),
])
def test_pooling(op: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    assert_same(one(op, IMAGE, opset=19, **attributes), {"x": sample(IMAGE)}, tmp_path)


@pytest.mark.parametrize("order", [0, 1])
def test_places_of_the_maximum(order: int, tmp_path: Path) -> None:
    attributes: dict[str, Any] = {"kernel_shape": [3, 2], "pads": [1, 1, 0, 0], "strides": [2, 1]}
    node = helper.make_node("MaxPool", ["x"], ["y", "i"], storage_order=order, **attributes)
    assert_same(build([node], {"x": (2, 3, 5, 6)}, outputs=["y", "i"]), {"x": sample((2, 3, 5, 6))}, tmp_path)


ROWS = {"RNN": 1, "GRU": 3, "LSTM": 4}
RECURRENT: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}), ("GRU", {}), ("LSTM", {}), ("GRU", {"linear_before_reset": 1}), ("LSTM", {"clip": 0.5}),
    ("RNN", {"direction": "reverse"}), ("LSTM", {"direction": "bidirectional"}),
    ("GRU", {"direction": "bidirectional"}), ("LSTM", {"input_forget": 1}),
    ("LSTM", {"activations": ["Sigmoid", "Softsign", "Relu"]}),
]


@pytest.mark.parametrize(("op", "attributes"), RECURRENT)
def test_recurrent(op: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    time, batch, size, hidden, rows = 5, 2, 3, 4, ROWS[op] * 4
    many = 2 if attributes.get("direction") == "bidirectional" else 1
    names = ["w", "r", "b", "", "h", *(["c", "p"] if op == "LSTM" else [])]
    shapes = {"w": (many, rows, size), "r": (many, rows, hidden), "b": (many, 2 * rows), "h": (many, batch, hidden),
              "c": (many, batch, hidden), "p": (many, 3 * hidden)}
    given = weights(**{name: shapes[name] for name in names if name})
    outputs = ["y", "yh", *(["yc"] if op == "LSTM" else [])]
    node = helper.make_node(op, ["x", *names], outputs, hidden_size=hidden, **attributes)
    model = build([node], {"x": (time, batch, size)}, given, outputs=outputs)
    assert_same(model, {"x": sample((time, batch, size))}, tmp_path)


def test_samples_do_not_mix_in_a_recurrent_layer(tmp_path: Path) -> None:
    given = weights(w=(1, 8, 3), r=(1, 8, 2), b=(1, 16))
    node = helper.make_node("LSTM", ["x", *given], ["y"], hidden_size=2)
    model = build([node], {"x": (4, 1, 3)}, given)
    graph, x = read(model, tmp_path), sample((5, 4, 1, 3))
    found = evaluate(graph, {"x": x})["y"]
    for ours, one_sample in zip(found, x, strict=True):
        np.testing.assert_allclose(ours, runtime(model, {"x": one_sample})[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("condition", [True, False])
def test_branch_of_a_known_condition(condition: bool, tmp_path: Path) -> None:
    branches = {f"{name}_branch": helper.make_graph([helper.make_node(op, ["x"], [f"{name}_out"])], name, [],
                                                    [helper.make_empty_tensor_value_info(f"{name}_out")])
                for name, op in (("then", "Relu"), ("else", "Neg"))}
    node = helper.make_node("If", ["c"], ["y"], **branches)
    graph = assert_same(build([node], {"x": (1, 4)}, {"c": np.array(condition)}), {"x": sample((1, 4))}, tmp_path)
    assert [n.op.name for n in graph.nodes] == ["relu" if condition else "neg"]


def test_branch_of_an_unknown_condition_is_refused(tmp_path: Path) -> None:
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "b", [],
                               [helper.make_empty_tensor_value_info("b")])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(IrcError, match=r"E104.*must be a constant"):
        read_onnx(save(build([node], {"x": (1,)}, kind=TensorProto.BOOL), tmp_path))


def test_name_that_a_branch_does_not_know(tmp_path: Path) -> None:
    branch = helper.make_graph([helper.make_node("Relu", ["nowhere"], ["b"])], "b", [],
                               [helper.make_empty_tensor_value_info("b")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(IrcError, match=r"E105.*'nowhere'"):
        read_onnx(save(build([node], {"x": (1,)}, {"c": np.array(True)}), tmp_path))


def scan_body() -> onnx.GraphProto:
    """A running sum of what is scanned, and its square."""
    nodes = [helper.make_node("Add", ["s", "i"], ["next"]), helper.make_node("Mul", ["next", "w"], ["scaled"])]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (3,)) for name in ("s", "i", "next", "scaled")]
    return helper.make_graph(nodes, "body", ports[:2], ports[2:])


@pytest.mark.parametrize("backwards", [0, 1])
def test_scan(backwards: int, tmp_path: Path) -> None:
    node = helper.make_node("Scan", ["start", "x"], ["last", "all"], body=scan_body(), num_scan_inputs=1,
                            scan_input_directions=[backwards], scan_output_directions=[1 - backwards])
    model = build([node], {"x": (4, 3)}, weights(start=(3,), w=(3,)), outputs=["last", "all"])
    assert_same(model, {"x": sample((4, 3))}, tmp_path)


def loop_body() -> onnx.GraphProto:
    """x doubles until the third step."""
    nodes = [helper.make_node("Less", ["n", "two"], ["go"]), helper.make_node("Add", ["v", "v"], ["next"]),
             helper.make_node("Identity", ["next"], ["row"])]
    ports = [helper.make_tensor_value_info("n", TensorProto.INT64, ()),
             helper.make_tensor_value_info("c", TensorProto.BOOL, ()),
             helper.make_tensor_value_info("v", TensorProto.FLOAT, (3,)),
             helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
             *(helper.make_tensor_value_info(name, TensorProto.FLOAT, (3,)) for name in ("next", "row"))]
    return helper.make_graph(nodes, "body", ports[:3], ports[3:])


@pytest.mark.parametrize("trips", [2, 9])
def test_loop_ends_by_count_or_condition(trips: int, tmp_path: Path) -> None:
    node = helper.make_node("Loop", ["m", "c", "x"], ["last", "all"], body=loop_body())
    given = {"m": np.array(trips), "c": np.array(True), "two": np.array(2)}
    graph = assert_same(build([node], {"x": (3,)}, given, outputs=["last", "all"]), {"x": sample((3,))}, tmp_path)
    assert sum(n.op.name == "add" for n in graph.nodes) == min(trips, 3)


@pytest.mark.parametrize(("limits", "answer"), [
    (Limits(), "E109.*one after the other"), (Limits(depth=1 << 20), "E104.*too many to unroll")])
def test_loop_without_end_is_refused(limits: Limits, answer: str, tmp_path: Path) -> None:
    body = loop_body()
    body.node[0].input[1] = "n_above"
    node = helper.make_node("Loop", ["", "c", "x"], ["last", "all"], body=body)
    given = {"c": np.array(True), "n_above": np.array(1 << 40)}
    with pytest.raises(IrcError, match=answer):
        read_onnx(save(build([node], {"x": (3,)}, given, outputs=["last", "all"]), tmp_path), limits=limits)


DAMAGED = {
    "no such operator yet": one("Gelu", (1, 3), opset=13),
    "no channels": one("LRN", (3,), size=3),
    "scales of another rank": one("Upsample", (1, 1, 2, 2), {"s": np.ones(3, np.float32)}, opset=9),
    "region of another rank": one("Resize", IMAGE, {"r": np.ones(3, np.float32), "s": np.ones(4, np.float32)},
                                  coordinate_transformation_mode="tf_crop_and_resize"),
    "output padding of another rank": one("ConvTranspose", (1, 1, 4, 4), weights(w=(1, 1, 2, 2)), output_padding=[1]),
    "letters of another rank": one("Einsum", (2, 3), equation="ijk->i"),
    "index table of another rank": one("GatherElements", (2, 3), {"i": np.array([0])}),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_node_is_refused_with_its_name(case: str, tmp_path: Path) -> None:
    with pytest.raises(IrcError, match="node '/m/") as found:
        read_onnx(save(DAMAGED[case], tmp_path))
    assert {d.code for d in found.value.diagnostics} <= {"E104", "E106"}


HUGE = {
    "resize": one("Resize", (1, 1, 4, 4), {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 1e9, 1e9], np.float32)}),
    "one-hot": one("OneHot", (4,), {"d": np.array(1 << 40), "v": np.zeros(2, np.float32)}),
    "border": one("Pad", (4,), {"p": ints(1 << 40, 1 << 40)}, mode="reflect"),
    "tile": one("Tile", (2, 3), {"r": ints(1 << 40, 1 << 40)}),
}


@pytest.mark.parametrize("case", HUGE)
def test_huge_result_is_refused_before_it_is_made(case: str, tmp_path: Path) -> None:
    with pytest.raises(IrcError, match="node '/m/"):
        read_onnx(save(HUGE[case], tmp_path))
