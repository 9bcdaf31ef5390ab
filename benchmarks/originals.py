"""Sound models for the fuzzer to damage: the shipped ones, the small ones of the collection, and some made here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from workloads import ROOT, SHIPPED

sys.path.insert(0, str(ROOT / "tests"))
from onnx_models import build, ints, sample, weights

COLLECTION = ROOT.parent / "shared" / "models"
LARGEST = 450_000  # bytes of a file that is damaged many times
SLOW = 40_000  # bytes of a file that goes through all passes many times


@dataclass(frozen=True, slots=True)
class Original:
    """A model file, and the files beside it."""

    name: str
    data: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)
    quick: bool = True  # compiled in a second or so


def originals() -> list[Original]:
    """All of them, in the same order always; without the collection: fewer."""
    files = [*sorted(SHIPPED.glob("*.onnx")), *sorted(COLLECTION.rglob("*.onnx"))]
    found = [Original(path.stem, path.read_bytes(), quick=path.parent == SHIPPED or path.stat().st_size < SLOW)
             for path in files if path.stat().st_size < LARGEST]
    made = {"dense": dense(), "convolutional": convolutional(), "quantized": quantized(), "recurrent": recurrent(),
            "branches": branches(), "loop": loop(), "functions": functions(), "qonnx": qonnx(), "shapes": shapes()}
    return [*found, *(Original(name, model.SerializeToString()) for name, model in made.items()), external()]


def dense() -> ModelProto:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("MatMul", ["r", "v"], ["y"])]
    return build(nodes, {"x": (1, 6)}, weights(w=(5, 6), b=(5,), v=(5, 3)))


def convolutional() -> ModelProto:
    """Convolution, batch norm, residual addition, pooling, a depthwise layer, a dense one."""
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
             helper.make_node("BatchNormalization", ["c", "s", "t", "m", "s2"], ["n"], epsilon=1e-3),
             helper.make_node("Relu", ["n"], ["r"]),
             helper.make_node("Conv", ["r", "d"], ["e"], group=2, pads=[1, 1, 1, 1]),
             helper.make_node("Add", ["e", "r"], ["a"]), helper.make_node("Relu", ["a"], ["q"]),
             helper.make_node("MaxPool", ["q"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
             helper.make_node("Flatten", ["p"], ["f"]), helper.make_node("MatMul", ["f", "v"], ["y"])]
    data = weights(w=(2, 1, 3, 3), b=(2,), t=(2,), m=(2,), d=(2, 1, 3, 3), v=(18, 3))
    return build(nodes, {"x": (1, 1, 6, 6)}, {**data, "s": np.ones(2, np.float32), "s2": np.ones(2, np.float32)})


def quantized() -> ModelProto:
    """QDQ of weights, of a bias, and of activations."""
    def pair(name: str, scale: str) -> list[NodeProto]:
        return [helper.make_node("QuantizeLinear", [name, scale, "z"], [f"{name}_q"]),
                helper.make_node("DequantizeLinear", [f"{name}_q", scale, "z"], [f"{name}_d"])]

    rng = np.random.default_rng(0)
    data = {"sx": np.float32(0.02), "sy": np.float32(0.1), "sw": np.array([0.01, 0.02, 0.03], np.float32),
            "z": np.uint8(128), "w": rng.integers(-127, 128, (3, 2, 3, 3)).astype(np.int8), "zw": np.zeros(3, np.int8),
            "b": rng.integers(-99, 99, 3).astype(np.int32), "sb": np.array([2e-4, 4e-4, 6e-4], np.float32)}
    nodes = [*pair("x", "sx"), helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["wd"], axis=0),
             helper.make_node("DequantizeLinear", ["b", "sb"], ["bd"], axis=0),
             helper.make_node("Conv", ["x_d", "wd", "bd"], ["c"]), helper.make_node("Relu", ["c"], ["h"]),
             *pair("h", "sy"), helper.make_node("GlobalAveragePool", ["h_d"], ["y"])]
    return build(nodes, {"x": (1, 2, 5, 5)}, data)


def recurrent() -> ModelProto:
    nodes = [helper.make_node("LSTM", ["x", "w", "r", "b"], ["", "h"], hidden_size=3, direction="bidirectional"),
             helper.make_node("GRU", ["x", "u", "v"], ["g"], hidden_size=2, linear_before_reset=1),
             helper.make_node("RNN", ["x", "p", "q"], ["", "n"], hidden_size=2, activations=["Relu"]),
             helper.make_node("ReduceMean", ["g"], ["m"], axes=[0, 1], keepdims=0),
             helper.make_node("Add", ["m", "n"], ["o"]), helper.make_node("ReduceSum", ["h"], ["k"]),
             helper.make_node("Mul", ["o", "k"], ["y"])]
    return build(nodes, {"x": (4, 1, 2)}, weights(w=(2, 12, 2), r=(2, 12, 3), b=(2, 24), u=(1, 6, 2), v=(1, 6, 2),
                                                  p=(1, 2, 2), q=(1, 2, 2)))


def _port(name: str, kind: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def branches() -> ModelProto:
    """If inside If; the branches read values from outside."""
    def body(op: str, name: str) -> onnx.GraphProto:
        return helper.make_graph([helper.make_node(op, ["h", "w"], [name])], op, [],
                                 [helper.make_empty_tensor_value_info(name)],
                                 [numpy_helper.from_array(sample((4,)), "u")])

    inner = helper.make_node("If", ["no"], ["in"], then_branch=body("Mul", "t"), else_branch=body("Sub", "e"))
    outer = helper.make_graph([inner], "outer", [], [helper.make_empty_tensor_value_info("in")])
    nodes = [helper.make_node("Relu", ["x"], ["h"]),
             helper.make_node("If", ["yes"], ["y"], then_branch=outer, else_branch=body("Add", "f"))]
    return build(nodes, {"x": (1, 4)}, {"yes": np.array(True), "no": np.array(False), **weights(w=(4,))})


def loop() -> ModelProto:
    """Three rounds that carry a state and collect a row each."""
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "w"], ["t"]), helper.make_node("Identity", ["go"], ["on"]),
         helper.make_node("Tanh", ["t"], ["row"])], "body",
        [_port("i", TensorProto.INT64, ()), _port("go", TensorProto.BOOL, ()), _port("s", TensorProto.FLOAT, (1, 4))],
        [_port("on", TensorProto.BOOL, ()), _port("t", TensorProto.FLOAT, (1, 4)),
         _port("row", TensorProto.FLOAT, (1, 4))])
    nodes = [helper.make_node("Loop", ["n", "go0", "x"], ["s0", "rows"], body=body),
             helper.make_node("ReduceSum", ["rows", "a"], ["r"], keepdims=0),
             helper.make_node("Add", ["s0", "r"], ["y"])]
    return build(nodes, {"x": (1, 4)}, {"n": ints(3), "go0": np.array(True), "a": ints(0), **weights(w=(4,))})


def functions() -> ModelProto:
    """A local function that calls another, and an operator that ONNX defines as a function."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    inner = helper.make_function("local", "twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opsets)
    outer = helper.make_function("local", "bend", ["a"], ["c"],
                                 [helper.make_node("twice", ["a"], ["b"], domain="local"),
                                  helper.make_node("LeakyRelu", ["b"], ["c"], alpha=0.2)], opsets)
    nodes = [helper.make_node("bend", ["x"], ["h"], domain="local"),
             helper.make_node("LayerNormalization", ["h", "s"], ["y"], axis=-1)]
    model = build(nodes, {"x": (1, 4)}, weights(s=(4,)))
    model.functions.extend((inner, outer))
    model.opset_import.append(opsets[1])
    return model


def qonnx() -> ModelProto:
    quant = {"domain": "qonnx.custom_op.general", "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes = [helper.make_node("Quant", ["x", "sx", "z", "eight"], ["xq"], **quant),
             helper.make_node("Quant", ["w", "sw", "z", "three"], ["wq"], **{**quant, "narrow": 1}),
             helper.make_node("MatMul", ["xq", "wq"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("Quant", ["r", "sy", "z", "three"], ["y"], **{**quant, "signed": 0})]
    scalars = {"sx": 0.1, "sw": 0.3, "sy": 0.2, "z": 0.0, "eight": 8.0, "three": 3.0}
    model = build(nodes, {"x": (1, 4)}, {k: np.float32(v) for k, v in scalars.items()} | dict(weights(w=(4, 3))))
    model.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 1))
    return model


def shapes() -> ModelProto:
    """Arithmetic on shapes, as exporters write it, and operators that make large tensors of small ones."""
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "one"], ["c"], axis=0),
             helper.make_node("Concat", ["b", "c", "rest"], ["t"], axis=0),
             helper.make_node("Reshape", ["x", "t"], ["h"]),
             helper.make_node("Pad", ["h", "p"], ["g"]), helper.make_node("Tile", ["g", "r"], ["k"]),
             helper.make_node("Resize", ["k", "", "", "z"], ["m"], mode="linear"),
             helper.make_node("Slice", ["m", "b", "e", "b", "b"], ["n"]), helper.make_node("Expand", ["n", "f"], ["o"]),
             helper.make_node("Einsum", ["o", "o"], ["q"], equation="abc,abd->acd"),
             helper.make_node("TopK", ["q", "two"], ["v", "i"]),
             helper.make_node("Transpose", ["v"], ["y"], perm=[0, 2, 1])]
    return build(nodes, {"x": (1, 2, 4)}, {
        "one": ints(1), "b": ints(1), "rest": ints(-1), "p": ints(0, 0, 1, 0, 0, 1), "r": ints(1, 2, 1),
        "z": ints(1, 4, 8), "e": ints(3), "f": ints(2, 1, 1), "two": ints(2)})


def external() -> Original:
    """Weights in a file beside the model."""
    model, stored = dense(), b""
    for tensor in model.graph.initializer:
        tensor.data_location = TensorProto.EXTERNAL
        keys = {"location": "weights.bin", "offset": str(len(stored)), "length": str(len(tensor.raw_data))}
        tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in keys.items())
        stored += tensor.raw_data
        tensor.ClearField("raw_data")
    return Original("external", model.SerializeToString(), {"weights.bin": stored})
