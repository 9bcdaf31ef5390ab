"""Whole ONNX models: names, symbolic shapes, shared weights, external data, and everything that can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_models import assert_same, build, interpret, ints, one, read, runtime, sample, save, weights

from irc.diagnostics import Diagnostic, IrcError
from irc.frontend import check_onnx, read_onnx
from irc.interpreter import evaluate

LENET = Path(__file__).parents[1] / "examples" / "data" / "mnist_lenet.onnx"


def test_symbolic_batch_is_one(tmp_path: Path) -> None:
    graph = read(build([helper.make_node("Relu", ["x"], ["y"])], {"x": ("batch", 3)}), tmp_path)
    assert graph.inputs[0].type.shape == (1, 3)


def test_other_symbols_are_bound_by_name_or_place(tmp_path: Path) -> None:
    path = save(build([helper.make_node("Relu", ["x"], ["y"])], {"x": ("N", "width", None)}), tmp_path)
    graph = read_onnx(path, bind={"width": 5, "x:2": 7, "N": 2})
    assert graph.outputs[0].type.shape == (2, 5, 7)


def test_tied_initializer_is_one_constant(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", [a, "w"], [b], transB=1) for a, b in ("xh", "hy")]
    graph = assert_same(build(nodes, {"x": (1, 4)}, weights(w=(4, 4))), {"x": sample((1, 4))}, tmp_path)
    assert list(graph.constants) == ["w"]


def test_initializers_may_be_listed_as_inputs(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    model = build([node], {"x": (1, 4), "w": (4,)}, weights(w=(4,)), opset=8)
    assert [port.name for port in assert_same(model, {"x": sample((1, 4))}, tmp_path).inputs] == ["x"]


def test_names_are_short_identifiers_and_origins_are_verbatim(tmp_path: Path) -> None:
    names = ["/layer1/layer1.0/c1/Relu", "/Relu_1", "/MaxPool", "node_relu", "7"]
    ends = ["x", *(f"/v/{i}" for i in range(4)), "out.put"]
    ops = ["MaxPool" if "Pool" in n else "Relu" for n in names]
    nodes = [helper.make_node(op, [a], [b], name=n, **({"kernel_shape": [1, 1]} if op == "MaxPool" else {}))
             for op, a, b, n in zip(ops, ends[:-1], ends[1:], names, strict=True)]
    graph = read(build(nodes, {"x": (1, 1, 2, 2)}, outputs=["out.put"]), tmp_path)
    assert [node.name for node in graph.nodes] == ["layer1_0_c1", "relu_1", "max_pool", "relu", "v7"]
    assert [node.origin for node in graph.nodes] == [f"onnx:{name}" for name in names]
    assert graph.outputs[0].name == "out.put"


def test_an_output_may_be_an_input(tmp_path: Path) -> None:
    assert_same(one("Identity", (1, 3)), {"x": sample((1, 3))}, tmp_path)


def test_half_precision_weights(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT),
             helper.make_node("Add", ["x", "w32"], ["y"])]
    model = build(nodes, {"x": (1, 4)}, {"w": sample((4,)).astype(np.float16)})
    assert_same(model, {"x": sample((1, 4))}, tmp_path)


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    opset = helper.make_opsetid("", 17)
    body = [helper.make_node("Relu", ["a"], ["t"]), helper.make_node("Tanh", ["t"], ["b"])]
    function = helper.make_function("local", "Block", ["a"], ["b"], body, [opset])
    model = build([helper.make_node("Block", ["x"], ["y"], domain="local")], {"x": (1, 4)})
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    assert_same(model, {"x": sample((1, 4))}, tmp_path)


def test_external_data_beside_the_model(tmp_path: Path) -> None:
    model = one("Gemm", (1, 8), weights(w=(8, 40)))
    feeds = {"x": sample((1, 8))}
    expected = runtime(model, feeds)[0]
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    np.testing.assert_allclose(interpret(read_onnx(tmp_path / "m.onnx"), feeds)[0], expected, rtol=1e-5)


def test_shipped_lenet_recognizes_digits() -> None:
    data = np.load(LENET.with_name("mnist.npz"))
    logits = evaluate(read_onnx(LENET), {"image": data["image"][:100, None]})["logits"]
    assert (logits[:, 0].argmax(-1) == data["labels"][:100]).mean() > 0.98


# --- errors


def problems(model: onnx.ModelProto, folder: Path, **bind: int) -> list[Diagnostic]:
    return check_onnx(save(model, folder), bind=bind)


def codes(model: onnx.ModelProto, folder: Path) -> list[str]:
    return [problem.code for problem in problems(model, folder)]


def relu(*, opset: int = 17) -> onnx.ModelProto:
    return one("Relu", (1, 3), opset=opset)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(IrcError, match=r"error\[E101\]: No such file or directory \[.*absent.onnx\]"):
        read_onnx(tmp_path / "absent.onnx")


def test_folder_instead_of_file(tmp_path: Path) -> None:
    assert [p.code for p in check_onnx(tmp_path)] == ["E101"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip archive", b"\xff" * 40, LENET.read_bytes()[:-1]])
def test_not_a_model(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    assert [p.code for p in check_onnx(tmp_path / "m.onnx")] == ["E102"]


def test_graph_without_nodes(tmp_path: Path) -> None:
    assert codes(build([], {"x": (1, 3)}, outputs=["x"]), tmp_path) == ["E103"]


def test_graph_without_outputs(tmp_path: Path) -> None:
    assert codes(build([helper.make_node("Relu", ["x"], ["y"])], {"x": (1,)}, outputs=[]), tmp_path) == ["E103"]


@pytest.mark.parametrize("opset", [6, 99])
def test_operator_set_out_of_range(opset: int, tmp_path: Path) -> None:
    assert codes(relu(opset=opset), tmp_path) == ["E104"]


def test_all_unsupported_nodes_are_reported_together(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Unique", ["x"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="depends on the first"),
        helper.make_node("Relux", ["b"], ["c"], name="second"),
        helper.make_node("Quant", ["x"], ["d"], name="third", domain="finn.custom_op"),
        helper.make_node("Softmax", ["x"], ["y"], name="fourth", axis=1, steepness=2.0),
    ]
    found = problems(build(nodes, {"x": (1, 3)}), tmp_path)
    assert {p.code for p in found} == {"E104"}
    assert [(p.place.node, p.place.operator) for p in found] == [
        ("first", "Unique"), ("second", "Relux"), ("third", "Quant"), ("fourth", "Softmax")]
    assert [p.remedy for p in found][1] == "Did you mean 'Relu'?"


REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "auto_pad": (one("MaxPool", (1, 1, 4, 4), kernel_shape=[2, 2], auto_pad="MIRROR"), "auto_pad 'MIRROR'"),
    "training": (one("BatchNormalization", (1, 3), weights(a=(3,), b=(3,), c=(3,), d=(3,)), training_mode=1),
                 "training_mode must be 0"),
    "border of no kind": (one("Pad", (1, 3), {"p": ints(0, 1, 0, 1)}, mode="mirror"), "the mode 'mirror'"),
    "complex": (one("Cast", (1, 3), to=TensorProto.COMPLEX64), "element type complex64"),
    "attribute type": (one("Softmax", (1, 3), axis=1.5), "the attribute axis has the wrong type"),
    "blocks": (one("DequantizeLinear", (1, 3), weights(s=(1,)), opset=21, block_size=2),
               "scales [1] do not fit blocks of 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    model, sentence = REFUSED[case]
    (found,) = problems(model, tmp_path)
    assert found.code == "E104" and sentence in found.message and found.place.node.startswith("/m/")


def test_second_output_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("BatchNormalization", ["x", *"abcd"], ["y", "mean"])
    model = build([node], {"x": (1, 1, 4)}, {name: np.ones(1, np.float32) for name in "abcd"}, opset=9)
    assert codes(model, tmp_path) == ["E104"]


@pytest.mark.parametrize("inputs", [["x"], ["x", ""], []])
def test_missing_operand(inputs: list[str], tmp_path: Path) -> None:
    (found,) = problems(build([helper.make_node("MatMul", inputs, ["y"], name="n")], {"x": (1, 3)}), tmp_path)
    assert (found.code, found.place.node) == ("E102", "n")


def test_shape_that_is_computed_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["x", "x"], ["y"])
    (found,) = problems(build([node], {"x": (2,)}, kind=TensorProto.INT64), tmp_path)
    assert found.code == "E104" and "input 1 ('x') must be a constant" in found.message


def test_input_of_strings_is_refused(tmp_path: Path) -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": (1,)}, kind=TensorProto.STRING)
    assert codes(model, tmp_path) == ["E104"]


def test_dangling_name_gets_the_nearest_one(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["hidden"]), helper.make_node("Relu", ["hiden"], ["y"], name="n")]
    (found,) = problems(build(nodes, {"x": (1, 3)}), tmp_path)
    assert (found.code, found.place.node, found.remedy) == ("E105", "n", "Did you mean 'hidden'?")


def test_dangling_output(tmp_path: Path) -> None:
    assert codes(build([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 3)}, outputs=["z"]), tmp_path) == ["E105"]


def test_duplicate_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["x"], ["y"])]
    assert codes(build(nodes, {"x": (1, 3)}), tmp_path) == ["E105"]


def test_nodes_out_of_order(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["h"], ["y"]), helper.make_node("Relu", ["x"], ["h"])]
    assert codes(build(nodes, {"x": (1, 3)}), tmp_path) == ["E105"]


MISMATCHED = {
    "Gemm": one("Gemm", (1, 3), weights(w=(4, 5))),
    "Conv": one("Conv", (1, 3, 8, 8), weights(w=(4, 2, 3, 3))),
    "Conv without strides": one("Conv", (1, 3, 2, 2), weights(w=(4, 3, 3, 3))),
    "Add": one("Add", (1, 3), weights(c=(4,))),
    "Reshape": one("Reshape", (1, 3), {"shape": ints(-1, 2)}),
    "Reshape to two unknowns": one("Reshape", (1, 3), {"shape": ints(-1, -1)}),
    "Flatten": one("Flatten", (1, 3), axis=3),
    "Transpose": one("Transpose", (1, 3), perm=[0, 0]),
    "Unsqueeze": one("Unsqueeze", (1, 3), {"a": ints(0, 0)}),
}


@pytest.mark.parametrize("case", MISMATCHED)
def test_shapes_that_do_not_fit(case: str, tmp_path: Path) -> None:
    (found,) = problems(MISMATCHED[case], tmp_path)
    assert found.code == "E106" and found.place.operator == case.split()[0]


def test_an_output_of_nothing(tmp_path: Path) -> None:
    (found,) = problems(one("Slice", (1, 3), {"s": ints(2), "e": ints(1), "a": ints(1)}), tmp_path)
    assert found.code == "E106" and "the output 'y' is an empty tensor" in found.message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    (found,) = problems(one("Add", (1, 2), {"w": np.array([1, value], np.float32)}), tmp_path)
    assert found.code == "E107" and "'w'" in found.message


def test_symbolic_dimension_without_value(tmp_path: Path) -> None:
    (found,) = problems(build([helper.make_node("Relu", ["x"], ["y"])], {"x": ("N", "width")}), tmp_path)
    assert (found.code, found.remedy) == ("E108", "Bind it: --shape width=value")


@pytest.mark.parametrize("bind", [{"widht": 3}, {"width": 0}])
def test_bad_binding(bind: dict[str, int], tmp_path: Path) -> None:
    path = save(build([helper.make_node("Relu", ["x"], ["y"])], {"x": ("N", "width")}), tmp_path)
    with pytest.raises(IrcError, match=r"E108.*width"):
        read_onnx(path, bind=bind)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "a/../../w.bin", "link.bin", ""])
def test_external_data_outside_the_folder(location: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    model = one("Add", (1, 4), weights(w=(4,)))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    onnx.external_data_helper.set_external_data(_with_raw(tensor), location)
    (found,) = problems(model, folder)
    assert found.code == "E102" and "outside the model's folder" in found.message


def _with_raw(tensor: TensorProto) -> TensorProto:
    """onnx wants raw data to be there before it is declared external."""
    tensor.raw_data = b""
    return tensor


def test_external_data_missing(tmp_path: Path) -> None:
    model = one("Add", (1, 4), weights(w=(4,)))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "absent.bin")
    assert codes(model, tmp_path) == ["E101"]


def test_tensor_data_shorter_than_its_shape(tmp_path: Path) -> None:
    model = one("Add", (1, 4), weights(w=(4,)))
    model.graph.initializer[0].raw_data = bytes(12)
    assert codes(model, tmp_path) == ["E102"]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_damaged_files_end_in_diagnostics(tmp_path_factory: pytest.TempPathFactory, at: int, garbage: bytes) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Flatten", ["c"], ["f"]),
             helper.make_node("Reshape", ["f", "s"], ["y"])]
    data = build(nodes, {"x": ("N", 2, 4, 4)}, {**weights(w=(2, 2, 3, 3)), "s": ints(1, -1)}).SerializeToString()
    at %= len(data)
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(data[:at] + garbage + data[at + len(garbage) :])
    assert all(problem.code.startswith("E1") for problem in check_onnx(path))
