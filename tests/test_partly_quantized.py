"""A QONNX model whose input has no quantizer: refused with the remedy, and `quantize` gives it one and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import build, read, sample

from irc.compiler import Request, compile_model
from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.verify import verify

X = {"x": sample((20, 16), 3)}
PASSES = "fold, clean, quantize{activations=u8}"


def model() -> onnx.ModelProto:
    """Two dense layers with 6-bit weights, and 6-bit activations between them."""
    weights = {"w1": sample((16, 8), 1), "w2": sample((8, 4), 2), "s": np.float32(0.0625), "a": np.float32(0.25),
               "z": np.float32(0), "bits": np.float32(6)}

    def quant(x: str, scale: str, to: str, signed: int) -> onnx.NodeProto:
        return helper.make_node("Quant", [x, scale, "z", "bits"], [to], domain="qonnx.custom_op.general",
                                signed=signed, narrow=0, rounding_mode="ROUND")

    nodes = [quant("w1", "s", "q1", 1), quant("w2", "s", "q2", 1), helper.make_node("MatMul", ["x", "q1"], ["h"]),
             helper.make_node("Relu", ["h"], ["r"]), quant("r", "a", "rq", 0),
             helper.make_node("MatMul", ["rq", "q2"], ["y"])]
    found = build(nodes, {"x": [1, 16]}, weights)
    found.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 1))
    return found


def integers(graph: Graph) -> list[list[int]]:
    """The stored weights."""
    return [c.data.ravel().tolist() for c in graph.constants.values() if c.data.dtype.kind == "i" and c.data.size > 1]


def test_the_refusal_names_the_pass_that_helps(tmp_path: Path) -> None:
    with pytest.raises(IrcError, match=r"E306.*input 'x' is not quantized.*quantize\{activations=u8\}"):
        run_pipeline(read(model(), tmp_path), parse_pipeline("fold, clean, integer"))


def test_quantize_adds_only_the_quantizer_of_the_input(tmp_path: Path) -> None:
    plain = run_pipeline(read(model(), tmp_path), parse_pipeline("fold, clean")).graph
    done = run_pipeline(plain, parse_pipeline("quantize{activations=u8}"), calibration=X).graph
    assert integers(done) == integers(plain) != []
    assert [n.type.format.bits for n in done.nodes if n.op.name == "quantize"] == [8, 6]


@pytest.mark.parametrize("target", ["sim", "hls"])
def test_it_compiles_and_all_targets_agree(target: str, tmp_path: Path) -> None:
    read(model(), tmp_path)
    np.savez(tmp_path / "x.npz", **X)
    request = Request(tmp_path / "model.onnx", target, PASSES, tmp_path / "x.npz")
    build_, _ = compile_model(request, tmp_path / "build")
    verdict = verify(build_, X, frames=2)
    assert verdict.comparisons and all(c.equal for c in verdict.comparisons)
