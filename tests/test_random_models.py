"""Random models against ONNX Runtime, and from integer level down against the simulator and the C program."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from integer_networks import images, varied
from model_strategies import models, networks
from onnx_models import interpret, read, runtime, sample, save

from backends.hls import HLS
from backends.sim import SIM
from backends.verilog import VERILOG
from irc.backend import Backend
from irc.compiler import Request, compile_model
from irc.interpreter import evaluate
from irc.pipeline.step import Context
from irc.samples import arrange
from irc.verify import verify
from passes.hardware.parallelize import Parallelize
from passes.hardware.size_fifos import SizeFifos
from passes.lower.dataflow import LowerDataflow


def disagreement(model: onnx.ModelProto, folder: pytest.TempPathFactory) -> float:
    """How far irc is from ONNX Runtime, relative to the largest output."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    feeds = {"x": sample([dim.dim_value for dim in dims], 7)}
    (ours,), (theirs,) = interpret(read(model, folder.getbasetemp()), feeds), runtime(model, feeds)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(models())
def test_random_model_equals_onnx_runtime(tmp_path_factory: pytest.TempPathFactory, model: onnx.ModelProto) -> None:
    assert disagreement(model, tmp_path_factory) < 1e-4


def compiled(model: onnx.ModelProto, folder: Path, *targets: str) -> None:
    """Compiled for a target and verified on it and the others, all of which start from the same integers."""
    path = save(model, folder)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    data = {"x": sample((8, *shape[1:]), 3)}
    np.savez(folder / "data.npz", **data)
    build, _ = compile_model(Request(path, targets[0], calibration=folder / "data.npz"), folder / "build")
    verdict = verify(build, data, only=targets)
    wrong = [str(c) for c in verdict.comparisons if c.mismatch is not None]
    assert len(verdict.comparisons) >= len(targets) and not wrong


def test_operators_and_operator_sets_of_random_models() -> None:
    """Each way to grow takes part: a strategy that never fits would go unnoticed."""
    operators = Counter[str]()

    @seed(0)
    @settings(max_examples=250, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(models())
    def look(model: onnx.ModelProto) -> None:
        operators.update(node.op_type for node in model.graph.node)

    look()
    assert len(operators) > 75 and {"LSTM", "GRU", "RNN"} & operators.keys()


@settings(max_examples=8, deadline=None, derandomize=True)
@given(networks())
def test_random_network_is_equal_in_simulator_and_c(tmp_path_factory: pytest.TempPathFactory,
                                                    model: onnx.ModelProto) -> None:
    compiled(model, tmp_path_factory.mktemp("network"), "sim", "hls")


@pytest.mark.slow
@settings(max_examples=4, deadline=None, derandomize=True)
@given(networks())
def test_random_network_is_equal_in_verilog(tmp_path_factory: pytest.TempPathFactory, model: onnx.ModelProto) -> None:
    compiled(model, tmp_path_factory.mktemp("network"), "verilog")


def assert_target_equal(target: Backend, number: int, folder: Path) -> None:
    """A random integer network, folded at random, gives the interpreter's integers."""
    integers, folding = varied(number), Parallelize(multipliers=(4, 16, 200)[number % 3])
    graph = SizeFifos().run(folding.run(LowerDataflow().run(integers, Context()), Context()), Context())
    data = images(integers, 3, number)
    (folder / "design").mkdir()
    for name, content in target.emit(graph).items():
        (folder / "design" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    run = target.run(folder / "design", graph, {"image": arrange(graph.inputs[0], data)}, scratch=folder / "scratch")
    want = evaluate(integers, {"image": data})["logits"]
    assert np.array_equal(run.outputs["logits"].reshape(3, -1), want.reshape(3, -1))


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("target", [SIM, HLS], ids=lambda target: target.name)
def test_random_integer_network(target: Backend, number: int, tmp_path: Path) -> None:
    assert_target_equal(target, number, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(100, 106))
def test_random_integer_network_in_verilog(number: int, tmp_path: Path) -> None:
    assert_target_equal(VERILOG, number, tmp_path)
