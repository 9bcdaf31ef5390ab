"""`irc check` tries: it finds what a compilation refuses, and works out nothing that takes long and decides nothing."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from onnx_models import one, save, weights

from irc.check import check_model
from irc.compiler import Request, compile_design
from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.ops.elementwise import Add
from irc.ops.quantization import MultiplyShift, Requantize
from irc.pipeline.step import Context
from irc.types import Integer, Level
from passes.lower.requantize import SelectRequantizers

S64, U8 = Integer(True, 64), Integer(False, 8)
ROOT = Path(__file__).parents[1]


def requantized(top: list[int], bottom: list[int]) -> Graph:
    """(x + 5) * top / bottom, a ratio for each channel."""
    net = networks.Network()
    x, five = net.input("x", (1, len(top)), Integer(True, 20)), net.constant("five", np.array([[5]]), S64)
    x = net.op("sum", Add(), x, five)
    ratio = [net.constant(name, np.array(values), S64) for name, values in (("top", top), ("bottom", bottom))]
    return net.graph(net.op("y", Requantize(U8, 3), x, *ratio), level=Level.INTEGER)


def test_a_trial_takes_a_likely_multiplier_without_looking_for_the_shortest() -> None:
    graph = requantized([1, 3, 1], [3, 1000, 1 << 40])
    (node,) = (tried := SelectRequantizers().run(graph, Context(trial=True))).nodes
    tried.verify()
    assert isinstance(node.op, MultiplyShift)
    multiplier, offset = (np.ldexp(tried.constants[name].data, -node.op.shift) for name in node.operands[1:])
    np.testing.assert_allclose(multiplier, np.array([1 / 3, 3 / 1000, 0]), atol=2.0**-16)
    np.testing.assert_allclose(offset, np.array([3.5 + 5 / 3, 3.5 + 0.015, 3.5]), atol=2.0**-16)


def test_a_ratio_beyond_every_shift_is_tried_too() -> None:
    SelectRequantizers().run(requantized([1 << 62, 1], [1, 1]), Context(trial=True)).verify()


@pytest.mark.parametrize("target", ["sim", "hls", "verilog"])
def test_what_can_be_compiled_passes_for_every_target(target: str) -> None:
    assert check_model(ROOT / "examples" / "data" / "mnist_lenet.onnx", target).refusals == ()


def test_what_is_refused_is_what_a_compilation_refuses(tmp_path: Path) -> None:
    model = save(one("Div", (1, 4), weights(w=(1, 4))), tmp_path)
    (found,) = {refusal.problem for refusal in check_model(model, "sim", "").refusals}
    with pytest.raises(IrcError) as refused:
        compile_design(Request(model=model, target="sim", passes=""))
    assert refused.value.diagnostics == (found,)


def test_ways_down_that_begin_alike_share_what_they_refuse(tmp_path: Path) -> None:
    refusals = check_model(save(one("Softmax", (1, 4), {}), tmp_path)).refusals
    assert [(r.problem.code, r.targets) for r in refusals] == [("E306", ("hls", "sim", "verilog"))]
