"""Lowering to exact integers: the same numbers as the quantized network, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import networks
import numpy as np
import pytest

from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.operation import Op
from irc.ops.elementwise import Clip, Div, Relu
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import ArgMax, AvgPool, ReduceMax, ReduceMean, ReduceSum
from irc.ops.quantization import Requantize
from irc.ops.shape import Pad, Reshape, Slice
from irc.pipeline.step import Context
from irc.text import read_graph
from irc.types import Array, Float, Integer, Level
from passes.lower.integer import LowerInteger
from passes.quantize.quantize import Quantize
from passes.shift.shift import Shift

U4, S8 = Integer(False, 4), Integer(True, 8)
GRAPHS = [networks.small_cnn, networks.branches, networks.residual, networks.embedding]
OPTIONS = [{}, {"scales": "pot"}, {"activations": S8}, {"weights": Integer(True, 3), "activations": U4},
           {"granularity": "tensor", "calibration": "minmax"}]


def quantized(graph: Graph, **options: Any) -> Graph:
    return Quantize(**options).run(graph, Context(calibration=networks.data_for(graph)))


def lowered(graph: Graph) -> Graph:
    found = LowerInteger().run(graph, Context())
    found.verify()
    assert found.level is Level.INTEGER
    return found


def encoded(graph: Graph, data: dict[str, Array]) -> dict[str, Array]:
    """What the integer ports receive for real data."""
    return {p.name: p.encoding.encode(data[p.name], cast(Integer, p.type.format)) for p in graph.inputs if p.encoding}


def assert_same_numbers(real: Graph, integer: Graph) -> None:
    """The integers, decoded, are the quantized network's reals (up to float64 rounding of the latter)."""
    data = networks.data_for(real, seed=5)
    want, have = evaluate(real, data), evaluate(integer, encoded(integer, data))
    for port in integer.outputs:
        assert port.encoding is not None
        np.testing.assert_allclose(port.encoding.decode(have[port.name]), want[port.name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("build", GRAPHS)
@pytest.mark.parametrize("options", OPTIONS)
def test_integers_are_the_quantized_reals(build: Callable[[], Graph], options: dict[str, Any]) -> None:
    real = quantized(build(), **options)
    assert_same_numbers(real, lowered(real))


def test_shift_networks_keep_their_alphabet() -> None:
    real = quantized(Shift(terms=2).run(networks.small_cnn(), Context()))
    integer = lowered(real)
    assert_same_numbers(real, integer)
    assert str(integer.tensor(integer.producers["h"].operands[1]).format) == "p2e6"


def test_padding_is_the_zero_point() -> None:
    integer = lowered(quantized(networks.small_cnn()))
    op = integer.producers["h"].op
    assert isinstance(op, Conv)
    assert integer.inputs[0].encoding is not None
    assert op.pad_value == integer.inputs[0].encoding.zero > 0


def test_bias_and_zero_point_are_one_addition() -> None:
    integer = lowered(quantized(networks.small_cnn()))
    names = [n.op.name for n in integer.nodes if n.op.name != "mul"]  # mul: biases in half units
    assert names == ["conv", "add", "requantize", "max_pool", "conv", "add", "requantize", "reshape", "matmul", "add"]


def test_no_real_is_left() -> None:
    integer = lowered(quantized(networks.residual()))
    assert not any(isinstance(t.format, Float) for t in integer.types.values())


def test_token_ids_get_the_bits_of_the_table() -> None:
    integer = lowered(quantized(networks.embedding()))
    assert str(integer.inputs[0].type) == "u5[1, 6]"


def test_argmax_gives_the_same_classes() -> None:
    net = networks.Network()
    x = net.input("x", (1, 6))
    y = net.op("y", MatMul(), x, net.weight("w", 6, 3))
    real = quantized(net.graph(net.op("class", ArgMax(1), y)))
    integer, data = lowered(real), networks.data_for(real)
    have = evaluate(integer, encoded(integer, data))["out_class"]
    np.testing.assert_array_equal(have, evaluate(real, data)["out_class"])


def test_a_clip_before_a_quantize_becomes_integer_bounds() -> None:
    net = networks.Network()
    x = net.input("x", (1, 6))
    h = net.op("h", Clip(-0.31, 0.57), net.op("m", MatMul(), x, net.weight("w", 6, 4)))
    real = quantized(net.graph(net.op("y", MatMul(), h, net.weight("w2", 4, 3))), activations=S8)
    assert_same_numbers(real, lowered(real))


def test_a_relu_on_signed_activations_keeps_zero() -> None:
    net = networks.Network()
    x = net.input("x", (1, 2, 4, 4))
    h = net.op("h", networks.conv(), x, net.weight("w", 3, 2, 3, 3))
    top = net.op("top", ReduceMax((2, 3)), h)
    both = net.op("y", MatMul(), net.op("r", Relu(), top), net.weight("w2", 3, 2))
    real = quantized(net.graph(both, net.op("z", MatMul(), top, net.weight("w3", 3, 2))))
    assert_same_numbers(real, lowered(real))


@pytest.mark.parametrize("op", [ReduceMean((2, 3)), ReduceSum((2, 3)), AvgPool((2, 2), (2, 2), (0,) * 4, (1, 1)),
                                AvgPool((3, 3), (2, 2), (1,) * 4, (1, 1), True), Pad((0, 0, 1, 1, 0, 0, 1, 1)),
                                Slice((0, 1, 0, 0), (1, 2, 4, 2), (1, 1, 1, 2))], ids=lambda op: op.name)
def test_means_sums_pads_and_slices_are_exact(op: Op) -> None:
    net = networks.Network()
    x = net.input("x", (1, 3, 4, 4))
    h = net.op("h", op, x)
    flat = net.op("flat", Reshape((1, net.types[h].size)), h)
    real = quantized(net.graph(net.op("y", MatMul(), flat, net.weight("w", net.types[h].size, 3))))
    assert_same_numbers(real, lowered(real))


def test_averages_of_fewer_numbers_at_the_border_are_refused() -> None:
    net = networks.Network()
    x = net.input("x", (1, 3, 4, 4))
    h = net.op("h", AvgPool((3, 3), (1, 1), (1,) * 4, (1, 1)), x)
    with pytest.raises(IrcError, match=r"E306.*border average fewer numbers.*node 'h'"):
        lowered(quantized(net.graph(net.op("y", networks.conv(), h, net.weight("w", 2, 3, 4, 4)))))


def test_grouped_convolutions_and_channel_scales() -> None:
    net = networks.Network()
    x = net.input("x", (1, 4, 5, 5))
    h = net.op("h", Relu(), net.op("c", networks.conv(pads=1, group=4), x, net.weight("w", 4, 1, 3, 3)))
    real = quantized(net.graph(net.op("y", networks.conv(), h, net.weight("w2", 2, 4, 1, 1))))
    assert_same_numbers(real, lowered(real))


def test_weights_with_a_zero_point_lose_it() -> None:
    real = read_graph("""graph g at model {
      in x: f32[1, 3]
      const s: f32[] = 0.5
      const z: u8[] = 7
      const w: u8[3, 2] = [[1, 255], [7, 0], [9, 30]]
      const ws: f32[2] = [0.25, 0.125]
      const wz: u8[] = 8
      q: u8[1, 3] = quantize(x, s, z, to=u8)
      d: f32[1, 3] = dequantize(q, s, z)
      v: f32[3, 2] = dequantize(w, ws, wz, axis=1)
      y: f32[1, 2] = matmul(d, v)
      out y = y
    }""")
    integer = lowered(real)
    data = {"x": np.random.default_rng(0).normal(size=(20, 1, 3)) * 9}
    have = evaluate(integer, encoded(integer, data))
    port = integer.outputs[0]
    assert port.encoding is not None
    np.testing.assert_array_equal(port.encoding.decode(have[port.name]), evaluate(real, data)[port.name])


def test_a_bias_scale_rounded_to_float32_is_accepted() -> None:
    real = quantized(networks.small_cnn(), scale_bits=8)
    name = real.producers[real.producers["y"].operands[1]].operands[1]
    scale = real.constants[name]
    rounded = replace(scale, type=replace(scale.type, format=Float(32)), data=scale.data * (1 + 3e-8))
    lowered(replace(real, constants={**real.constants, name: rounded}))


def test_layers_left_float_are_refused_by_name() -> None:
    graph = networks.small_cnn()
    context = Context(calibration=networks.data_for(graph), selected=lambda node: node.name != "g")
    with pytest.raises(IrcError, match=r"E306.*'w2' of conv is not quantized.*node 'g'.*add quantize\{"):
        lowered(Quantize().run(graph, context))


def test_float_networks_are_refused_at_the_input() -> None:
    with pytest.raises(IrcError, match=r"E306.*input 'x' is not quantized.*add quantize\{"):
        lowered(networks.small_cnn())


def test_ops_without_integer_form_are_named() -> None:
    net = networks.Network()
    x = net.input("x", (1, 6))
    h = net.op("h", MatMul(), x, net.weight("w", 6, 3))
    ratio = net.op("ratio", Div(), h, net.constant("c", np.full((1, 3), 3.0)))
    y = net.op("y", MatMul(), ratio, net.weight("w2", 3, 2))
    with pytest.raises(IrcError, match=r"E306.*div has no integer form.*node 'ratio', operator div"):
        lowered(quantized(net.graph(y)))


def test_ratios_beyond_63_bits_are_refused() -> None:
    real = read_graph("""graph g at model {
      in x: f32[1, 3]
      const s: f32[] = 0.1
      const t: f32[] = 3.3e13
      q: u8[1, 3] = quantize(x, s, to=u8)
      d: f32[1, 3] = dequantize(q, s)
      r: u8[1, 3] = quantize(d, t, to=u8)
      out y = r
    }""")
    with pytest.raises(IrcError, match=r"E306.*does not fit a fraction of 63-bit integers.*node 'r'"):
        lowered(real)


def test_the_ratio_is_exact() -> None:
    integer = lowered(quantized(networks.small_cnn()))
    node = next(n for n in integer.nodes if isinstance(n.op, Requantize))
    top, bottom = (integer.constants[o].data for o in node.operands[1:])
    assert np.gcd(top, bottom).max() == 1
    assert (np.log2(bottom) % 1 == 0).all(), "short scales make dyadic ratios"
