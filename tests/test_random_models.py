"""Random models against ONNX Runtime, and from integer level down against the simulator and the C program."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from model_strategies import models, networks
from onnx_models import interpret, read, runtime, sample, save

from irc.compiler import Request, compile_model
from irc.verify import verify


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
