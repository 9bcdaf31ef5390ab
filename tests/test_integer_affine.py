"""Networks that were quantized elsewhere: their own scales, batch norms, roundings and signs, as exact integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.pipeline.step import Context
from irc.text import read_graph
from irc.types import Array
from passes.lower.integer import LowerInteger
from passes.simplify.drop_softmax import DropSoftmax

ADD = """graph g at model {{
  in x: f32[1, 2]
  in y: f32[1, 2]
  const sx: f32[] = {sx}
  const sy: f32[] = {sy}
  const so: f32[] = {so}
  const zx: s8[] = 3
  const zy: s8[] = -7
  const zo: s8[] = 5
  a: s8[1, 2] = quantize(x, sx, zx, to=s8)
  ar: f32[1, 2] = dequantize(a, sx, zx)
  b: s8[1, 2] = quantize(y, sy, zy, to=s8)
  br: f32[1, 2] = dequantize(b, sy, zy)
  sum: f32[1, 2] = add(ar, br)
  r: f32[1, 2] = relu(sum)
  q: s8[1, 2] = quantize(r, so, zo, to=s8)
  out o = q
}}"""
LAYER = """graph g at model {{
  in x: f32[1, 3]
  const s: f32[] = 1.0
  const w: s2[3, 2] = [[1, -1], [1, 1], [-1, 1]]
  const k: f32[2] = [0.75, -0.5]
  const c: f32[2] = [0.3, 0.25]
  const so: f32[] = 0.5
  xq: s4[1, 3] = quantize(x, s, to=s4)
  xr: f32[1, 3] = dequantize(xq, s)
  wr: f32[3, 2] = dequantize(w, s, axis=1)
  h: f32[1, 2] = matmul(xr, wr)
  scaled: f32[1, 2] = mul(h, k)
  n: f32[1, 2] = add(scaled, c)
  q: {end}
  out o = q
}}"""
ENDS = ['s4[1, 2] = quantize(n, so, to=s4, rounding="floor")', 's3[1, 2] = quantize(n, so, to=s3, narrow=true)',
        'u4[1, 2] = quantize(n, so, to=u4, rounding="away_from_zero")', "s2[1, 2] = bipolar(n)",
        's4[1, 2] = quantize(n, so, to=s4, rounding="half_toward_zero")']


def integers(graph: Graph, data: dict[str, Array]) -> Array:
    low = LowerInteger().run(graph, Context())
    low.verify()
    feeds = {p.name: p.encoding.encode(data[p.name], p.type.format) for p in low.inputs}
    return evaluate(low, feeds)["o"]


@pytest.mark.parametrize("scales", [(0.1, 0.37, 0.21), (0.5, 0.25, 1.0), (0.03939355, 0.10419496, 0.050945673)])
def test_a_sum_of_two_scales_is_rounded_once_and_exactly(scales):
    scales = [float(np.float32(s)) for s in scales]
    graph = read_graph(ADD.format(**dict(zip(("sx", "sy", "so"), map(repr, scales), strict=True))))
    q = np.stack(np.meshgrid(np.arange(-128, 128, 3), np.arange(-128, 128, 3)), -1).reshape(-1, 2)
    x, y = ((q[:, [k]] - z) * s for k, z, s in ((0, 3, scales[0]), (1, -7, scales[1])))
    have = integers(graph, {"x": np.repeat(x, 2, 1)[:, None], "y": np.repeat(y, 2, 1)[:, None]})[:, 0, 0]
    sx, sy, so = map(Fraction, scales)
    want = [min(max(round(max((int(a) - 3) * sx + (int(b) + 7) * sy, Fraction(0)) / so) + 5, -128), 127) for a, b in q]
    assert have.tolist() == want


@pytest.mark.parametrize("end", ENDS)
def test_batch_norm_of_either_sign_before_any_quantizer(end):
    graph = read_graph(LAYER.format(end=end))
    x = np.stack(np.meshgrid(*[np.arange(-8.0, 8.0)] * 3), -1).reshape(-1, 1, 3)
    assert np.array_equal(integers(graph, {"x": x}), evaluate(graph, {"x": x})["o"])


INPUT = """graph g at model {{
  in x: f32[1, 4]
  const two: f32[] = 2.0
  const minus: f32[] = {shift}
  const s: f32[] = 1.0
  double: f32[1, 4] = mul(x, two)
  moved: f32[1, 4] = add(double, minus)
  q: {end}
  out o = q
}}"""


@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("end", ["s2[1, 4] = bipolar(moved)", "s2[1, 4] = quantize(moved, s, to=s2, narrow=true)",
                                 "u3[1, 4] = quantize(moved, s, to=u3)"])
def test_arithmetic_before_the_first_quantizer_is_part_of_the_port(end, shift):
    graph = read_graph(INPUT.format(end=end, shift=shift))
    x = (np.arange(-64, 64) / 16).reshape(-1, 1, 4)
    assert np.array_equal(integers(graph, {"x": x}), evaluate(graph, {"x": x})["o"])


def test_a_part_of_a_step_before_the_first_quantizer_is_refused():
    with pytest.raises(IrcError, match="shifted by a part of a step"):
        LowerInteger().run(read_graph(INPUT.format(end="u3[1, 4] = quantize(moved, s, to=u3)", shift=0.3)), Context())


def test_sixteen_bits_behind_a_batch_norm_are_refused_with_a_remedy():
    with pytest.raises(IrcError, match=r"needs 65535 thresholds.*quantize the biases"):
        LowerInteger().run(read_graph(LAYER.format(end="s16[1, 2] = quantize(n, so, to=s16)")), Context())


SOFTMAX = """graph g at model {
  in x: f32[1, 3]
  const s: f32[] = 0.125
  p: f32[1, 3] = softmax(x, axes=[1])
  q: u8[1, 3] = quantize(p, s, to=u8)
  r: f32[1, 3] = dequantize(q, s)
  out o = r
}"""


def test_drop_softmax_ends_at_the_logits_under_the_same_name():
    dropped = DropSoftmax().run(read_graph(SOFTMAX), Context())
    assert [(p.name, p.value) for p in dropped.outputs] == [("o", "x")]
    assert dropped.nodes == ()


def test_drop_softmax_leaves_a_network_without_one_alone():
    graph = read_graph(SOFTMAX.replace("softmax(x, axes=[1])", "relu(x)"))
    assert DropSoftmax().run(graph, Context()) is graph
