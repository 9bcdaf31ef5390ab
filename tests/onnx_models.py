"""Small ONNX models for the tests, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate

Arrays = Mapping[str, np.ndarray]


def build(nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Sequence[int | str]], weights: Arrays | None = None, *,
          opset: int = 17, outputs: Sequence[str] = ("y",), kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A model of some nodes; output types are left to the runtime to infer."""
    graph = helper.make_graph(
        list(nodes), "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(data, name) for name, data in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def one(op: str, shape: Sequence[int], weights: Arrays | None = None, *, opset: int = 17,
        **attributes: Any) -> onnx.ModelProto:
    """A model of a single node that reads `x` of `shape` and its weights, in order."""
    node = helper.make_node(op, ["x", *(weights or {})], ["y"], name=f"/m/{op}", **attributes)
    return build([node], {"x": shape}, weights, opset=opset)


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def runtime(model: onnx.ModelProto, feeds: Arrays) -> list[np.ndarray]:
    """Outputs of ONNX Runtime, graph optimizations off."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of weights that nothing reads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def interpret(graph: Graph, feeds: Arrays) -> list[np.ndarray]:
    """Outputs of the reference interpreter on one sample of `feeds`."""
    found = evaluate(graph, {name: data[None] for name, data in feeds.items()})
    return [found[port.name][0] for port in graph.outputs]


def sample(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def read(model: onnx.ModelProto, folder: Path, **bind: int) -> Graph:
    graph = read_onnx(save(model, folder), bind=bind)
    graph.verify()
    return graph


def assert_same(model: onnx.ModelProto, feeds: Arrays, folder: Path) -> Graph:
    graph = read(model, folder)
    for ours, theirs in zip(interpret(graph, feeds), runtime(model, feeds), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    return graph


def weights(**shapes: tuple[int, ...]) -> Arrays:
    return {name: sample(shape, seed) for seed, (name, shape) in enumerate(shapes.items(), 1)}


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)
