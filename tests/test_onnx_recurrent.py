"""Recurrent layers: lengths of sequences and every activation, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import Arrays, assert_same, build, interpret, read, runtime, sample, weights

from backends.onnx import ONNX

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
TIME, BATCH, SIZE, HIDDEN = 6, 4, 3, 2
X = (TIME, BATCH, SIZE)
LENGTHS = np.array([6, 1, 4, 2], np.int32)


def layer(op: str, lengths: np.ndarray | None = None, **attributes: Any) -> onnx.ModelProto:
    """A layer with first states; its sequences are as long as the tensor without `lengths`."""
    many, rows = 2 if attributes.get("direction") == "bidirectional" else 1, GATES[op] * HIDDEN
    states = ["h", "c"] if op == "LSTM" else ["h"]
    given: Arrays = {**weights(w=(many, rows, SIZE), r=(many, rows, HIDDEN), b=(many, 2 * rows)),
                     **({} if lengths is None else {"lengths": lengths}),
                     **weights(**dict.fromkeys(states, (many, BATCH, HIDDEN)))}
    names = ["x", "w", "r", "b", "" if lengths is None else "lengths", *states]
    outputs = ["y", *(f"last_{state}" for state in states)]
    return build([helper.make_node(op, names, outputs, hidden_size=HIDDEN, **attributes)], {"x": X}, given,
                 outputs=outputs)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_sequences_shorter_than_the_tensor(op: str, direction: str, tmp_path: Path) -> None:
    assert_same(layer(op, LENGTHS, direction=direction), {"x": sample(X)}, tmp_path)


def test_lengths_that_come_with_the_data(tmp_path: Path) -> None:
    model = layer("GRU", LENGTHS, direction="bidirectional")
    del model.graph.initializer[[t.name for t in model.graph.initializer].index("lengths")]
    model.graph.input.append(helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, (BATCH,)))
    feeds = {"x": sample(X), "lengths": LENGTHS}
    for ours, theirs in zip(interpret(read(model, tmp_path), feeds), runtime(model, feeds), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "alpha", "beta"), [
    ("Affine", [0.5], [0.25]), ("LeakyRelu", [0.3], []), ("ThresholdedRelu", [0.2], []), ("ScaledTanh", [1.5], [0.5]),
    ("HardSigmoid", [0.3], [0.4]), ("Elu", [0.7], []), ("HardSigmoid", [], []), ("LeakyRelu", [], []),
    ("Elu", [], []), ("Softsign", [], []), ("Softplus", [], []), ("Relu", [], [])])
def test_activation(name: str, alpha: list[float], beta: list[float], tmp_path: Path) -> None:
    parameters = {"activation_alpha": alpha, "activation_beta": beta}
    given = {key: values for key, values in parameters.items() if values}
    assert_same(layer("RNN", activations=[name], **given), {"x": sample(X)}, tmp_path)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_parameters_go_to_the_activations_that_take_them(direction: str, tmp_path: Path) -> None:
    many = 1 + (direction == "bidirectional")
    model = layer("LSTM", direction=direction, activations=["HardSigmoid", "Tanh", "ScaledTanh"] * many,
                  activation_alpha=[0.3, 0.8, 0.15, 1.1][: 2 * many], activation_beta=[0.4, 0.9, 0.45, 0.7][: 2 * many])
    assert_same(model, {"x": sample(X)}, tmp_path)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize(("op", "attributes"), [
    ("RNN", {}), ("GRU", {"linear_before_reset": 1}), ("LSTM", {"clip": 0.5}),
    ("LSTM", {"activations": ["HardSigmoid", "Tanh", "ScaledTanh"], "activation_alpha": [0.3, 1.5],
              "activation_beta": [0.4, 0.5]})])
def test_what_is_written_back_runs_alike(op: str, attributes: dict[str, Any], lengths: np.ndarray | None,
                                         tmp_path: Path) -> None:
    graph = read(layer(op, lengths, **attributes), tmp_path)
    (content,) = ONNX.emit(graph).values()
    feeds = {"x": sample(X)}
    for ours, theirs in zip(interpret(graph, feeds), runtime(onnx.load_from_string(content), feeds), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
