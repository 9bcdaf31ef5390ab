"""What a network costs, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from command_line import irc
from onnx import helper
from onnx_models import build, one, read, save, weights

from irc.cost import activation_bits, macs
from irc.text import read_graph

CHAIN = """graph chain at model {
  in x: f32[1, 8]
  const w: s8[8, 2] = [[1, 2], [1, 2], [1, 2], [1, 2], [1, 2], [1, 2], [1, 2], [1, 2]]
  const s: f32[] = 0.5
  w_dq: f32[8, 2] = dequantize(w, s)
  a: f32[1, 8] = relu(x)
  b: f32[1, 2] = matmul(a, w_dq)
  y: f32[1, 2] = relu(b)
  out y = y
}"""


def test_activations_that_are_needed_at_once() -> None:
    """x and a; dequantized weights are no activations."""
    assert activation_bits(read_graph(CHAIN)) == 2 * 8 * 32


def test_a_value_that_is_read_late_is_kept() -> None:
    late = CHAIN.replace("y: f32[1, 2] = relu(b)", "c: f32[1, 2] = relu(b)\n  z: f32[1, 8] = add(a, x)\n"
                         "  y: f32[1, 2] = relu(c)").replace("out y = y", "out y = y\n  out z = z")
    assert activation_bits(read_graph(late)) == (8 + 8 + 2 + 8) * 32


def test_products_of_a_recurrent_layer(tmp_path: Path) -> None:
    """Each of 7 steps multiplies all rows of four gates with 3 inputs and 2 states."""
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2)
    graph = read(build([node], {"x": (7, 1, 3)}, weights(w=(1, 8, 3), r=(1, 8, 2))), tmp_path)
    assert sum(macs(graph, node) for node in graph.nodes) == 7 * 8 * (3 + 2)


def test_products_of_a_transposed_convolution(tmp_path: Path) -> None:
    graph = read(one("ConvTranspose", (1, 4, 5, 5), weights(w=(4, 3, 2, 2))), tmp_path)
    assert sum(macs(graph, node) for node in graph.nodes) == 4 * 25 * 3 * 4


def test_check_tells_memory_and_who_is_kept_off(tmp_path: Path) -> None:
    answer = irc("check", save(one("Erf", (1, 8)), tmp_path), "--json")
    assert answer.code == 1
    assert answer.json["activation_bits"]["float"] == 2 * 8 * 32
    kept = {(p["code"], tuple(p["targets"])) for p in answer.json["problems"]}
    assert ("E306", ("hls", "sim", "verilog")) in kept


def test_what_comes_of_a_refused_layer_is_not_refused_again(tmp_path: Path) -> None:
    """All three results of an LSTM."""
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y", "h", "c"], hidden_size=2)
    model = build([node], {"x": (7, 1, 3)}, weights(w=(1, 8, 3), r=(1, 8, 2)), outputs=["y", "h", "c"])
    problems = irc("check", save(model, tmp_path), "--target", "sim", "--json").json["problems"]
    assert [problem["operator"] for problem in problems] == ["lstm"]
    assert np.all([problem["remedy"] for problem in problems])
