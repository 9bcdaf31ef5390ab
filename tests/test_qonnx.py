"""QONNX operators against their definition in NumPy, and as integers of the right format."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from irc.diagnostics import IrcError
from irc.frontend import read_onnx
from irc.interpreter import evaluate
from irc.ops.quantization import Bipolar, Dequantize, Quantize
from irc.types import Integer

MODES = {"ROUND": np.round, "CEIL": np.ceil, "FLOOR": np.floor, "ROUND_TO_ZERO": np.trunc,
         "DOWN": np.trunc, "HALF_EVEN": np.round,
         "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)), "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
         "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5)}
X = (np.arange(-48, 48) / 8).reshape(1, 4, 24).astype(np.float32)


def model(folder, nodes, constants, shape=X.shape, out=X.shape, domain="qonnx.custom_op.general"):
    """A file with one input `x` and one output `y`."""
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in (("x", shape), ("y", out))]
    weights = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    path = folder / "m.onnx"
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(domain, 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    return path


def quantizer(folder, scale, zero, bits, op="Quant", domain="qonnx.custom_op.general", **attributes):
    node = helper.make_node(op, ["x", "s", "z", "b"], ["y"], domain=domain, **attributes)
    constants = {"s": np.float32(scale), "z": np.float32(zero), "b": np.float32(bits)}
    return model(folder, [node], constants, domain=domain)


def quantized(x, scale, zero, ends, mode):
    return (np.round(MODES[mode](np.clip(x / scale + zero, *ends))) - zero) * scale


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [0.25, np.array([[0.25], [0.5], [1.0], [0.75]], np.float32)], ids=["one", "each"])
def test_quant_equals_its_definition(mode, scale, tmp_path):
    graph = read_onnx(quantizer(tmp_path, scale, 0, 4, signed=1, narrow=1, rounding_mode=mode))
    want = quantized(X.astype(np.float64), scale, 0, (-7, 7), mode)
    assert np.array_equal(evaluate(graph, {"x": X[None]})["y"][0], want)


@pytest.mark.parametrize(("mode", "zero"), [("ROUND", 3), ("FLOOR", 3), ("CEIL", 5), ("ROUND", 4)])
def test_a_zero_point_is_added_before_rounding(mode, zero, tmp_path):
    graph = read_onnx(quantizer(tmp_path, 0.5, zero, 3, signed=0, rounding_mode=mode))
    want = quantized(X.astype(np.float64), 0.5, zero, (0, 7), mode)
    assert np.array_equal(evaluate(graph, {"x": X[None]})["y"][0], want)


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"])
def test_all_three_names_of_the_domain_are_read(domain, tmp_path):
    graph = read_onnx(quantizer(tmp_path, 1, 0, 8, "IntQuant", domain, signed=0))
    assert [type(n.op) for n in graph.nodes] == [Quantize, Dequantize]
    assert graph.nodes[0].op.to == Integer(False, 8)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", range(2, 33))
def test_every_width_becomes_the_format_of_that_width(bits, signed, tmp_path):
    graph = read_onnx(quantizer(tmp_path, 0.01, 0, bits, signed=int(signed)))
    assert graph.nodes[0].op.to == Integer(signed, bits)


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"])
@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize(("signed", "bits"), [(1, 2), (1, 3), (1, 8), (0, 1), (0, 2), (0, 8)])
def test_both_ends_of_the_range(signed, bits, narrow, domain, tmp_path):
    """The narrow range leaves out the smallest of a signed format, the largest of an unsigned one."""
    graph = read_onnx(quantizer(tmp_path, 1 / 32, 0, bits, domain=domain, signed=signed, narrow=narrow))
    ends = (-(1 << bits - 1) + narrow, (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1 - narrow)
    assert np.array_equal(evaluate(graph, {"x": X[None]})["y"][0], np.clip(np.round(X * 32), *ends) / 32)


@pytest.mark.parametrize("node", [
    helper.make_node("BipolarQuant", ["x", "s"], ["y"], domain="onnx.brevitas"),
    helper.make_node("Quant", ["x", "s", "z", "b"], ["y"], domain="onnx.brevitas", signed=1)], ids=["bipolar", "1 bit"])
def test_one_signed_bit_is_a_sign(node, tmp_path):
    constants = {"s": np.float32(0.5), "z": np.float32(0), "b": np.float32(1)}
    graph = read_onnx(model(tmp_path, [node], constants, domain="onnx.brevitas"))
    assert type(graph.nodes[0].op) is Bipolar
    assert np.array_equal(evaluate(graph, {"x": X[None]})["y"][0], np.where(X >= 0, 0.5, -0.5))


def test_a_constant_becomes_integers_at_once(tmp_path):
    nodes = [helper.make_node("Quant", ["w", "s", "z", "b"], ["wq"], domain="qonnx.custom_op.general", narrow=1),
             helper.make_node("MatMul", ["x", "wq"], ["y"])]
    w = np.linspace(-1, 1, 24 * 2, dtype=np.float32).reshape(24, 2)
    constants = {"w": w, "s": np.array([[0.5, 0.25]], np.float32), "z": np.float32(0), "b": np.float32(2)}
    graph = read_onnx(model(tmp_path, nodes, constants, out=(1, 4, 2)))
    assert [n.op.name for n in graph.nodes] == ["dequantize", "matmul"]
    assert graph.constants["w_q"].type.format == Integer(True, 2)
    assert np.array_equal(graph.constants["w_q"].data, np.clip(np.round(w / [0.5, 0.25]), -1, 1))


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL"])
def test_trunc_leaves_out_the_lowest_bits(mode, tmp_path):
    names = ["x", "s", "z", "bits", "out_s", "out_z", "out_bits"]
    node = helper.make_node("Trunc", names, ["y"], domain="qonnx.custom_op.general", rounding_mode=mode, signed=1)
    values = dict(zip(names[1:], map(np.float32, (0.125, 0, 8, 0.5, 0, 4)), strict=True))
    have = evaluate(read_onnx(model(tmp_path, [node], values)), {"x": X[None]})["y"][0]
    assert np.array_equal(have, np.clip(MODES[mode](np.round(X / 0.125) / 4), -8, 7) * 0.5)


@pytest.mark.parametrize(("scale", "zero", "bits", "attributes", "why"), [
    (1, 0.5, 8, {}, "not a whole number"), (1, 0, 2.5, {}, "bit width"), (1, 0, 40, {}, "bit width"),
    (1, 0, 8, {"rounding_mode": "SIDEWAYS"}, "rounding mode SIDEWAYS"), (1, 3, 8, {"rounding_mode": "DOWN"}, "zero"),
    (np.ones((4, 24), np.float32), 0, 8, {}, "neither per tensor nor per channel")])
def test_what_has_no_exact_meaning_is_refused(scale, zero, bits, attributes, why, tmp_path):
    with pytest.raises(IrcError, match=why) as caught:
        read_onnx(quantizer(tmp_path, scale, zero, bits, **attributes))
    assert caught.value.diagnostics[0].code == "E104"


def test_an_unknown_operator_of_the_domain_is_named(tmp_path):
    with pytest.raises(IrcError, match="FloatQuant of QONNX is not supported"):
        read_onnx(quantizer(tmp_path, 1, 0, 8, "FloatQuant"))
