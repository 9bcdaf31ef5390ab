"""`fold`: golden cases, and random networks that mean the same before and after."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from golden import Case, golden
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_models import build, ints, read, runtime, sample, weights

from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.pipeline.step import Context
from irc.text import print_graph, read_graph
from passes.simplify.fold import Fold

LENET = Path(__file__).parents[1] / "examples" / "data" / "mnist_lenet.onnx"


def fold(graph: Graph) -> Graph:
    folded = Fold().run(graph, Context())
    folded.verify()
    assert Fold().run(folded, Context()) is folded
    return folded


def assert_equal(a: Graph, b: Graph, samples: int = 3) -> None:
    feeds = {p.name: sample((samples, *p.type.shape), 7) for p in a.inputs}
    for name, value in evaluate(a, feeds).items():
        scale = np.abs(value).max() + 1e-30
        np.testing.assert_allclose(evaluate(b, feeds)[name] / scale, value / scale, rtol=0, atol=1e-6)


@golden("fold.case")
def test_golden(case: Case) -> None:
    assert print_graph(fold(read_graph(case.given))).strip() == case.out


@golden("fold.case")
def test_golden_cases_keep_their_meaning(case: Case) -> None:
    if "division by zero" not in case.name:
        assert_equal(read_graph(case.given), read_graph(case.out))


def test_lenet_is_layers_only() -> None:
    graph = fold(read_onnx(LENET))
    assert Counter(node.op.name for node in graph.nodes) == {
        "conv": 2, "relu": 4, "max_pool": 2, "reshape": 1, "matmul": 3, "add": 3}


def test_nodes_that_are_not_selected_stay() -> None:
    graph = read_graph("""graph g at model {
      in x: f32[1, 2]
      const c: f32[2] = [1.0, 2.0]
      a: f32[1, 2] = sub(x, c)
      b: f32[1, 2] = sub(a, c)
      out y = b
    }""")
    folded = Fold().run(graph, Context(selected=lambda node: node.name == "b"))
    assert [node.op.name for node in folded.nodes] == ["sub", "add"]


def test_batch_norm_of_onnx_vanishes(tmp_path: Path) -> None:
    names = ["scale", "bias", "mean", "variance"]
    given = {k: np.abs(v) for k, v in weights(w=(4, 2, 3, 3), scale=(4,), bias=(4,), mean=(4,), variance=(4,)).items()}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], group=2, pads=[1, 1, 1, 1]),
             helper.make_node("BatchNormalization", ["c", *names], ["y"])]
    model, x = build(nodes, {"x": (1, 4, 5, 5)}, given), sample((1, 4, 5, 5))
    graph = fold(read(model, tmp_path))
    assert [node.op.name for node in graph.nodes] == ["conv"]
    found = evaluate(graph, {"x": x[None]})["y"][0]
    np.testing.assert_allclose(found, runtime(model, {"x": x})[0], rtol=1e-4, atol=1e-5)


def test_alpha_of_gemm_vanishes(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("Gemm", ["r", "w"], ["y"], alpha=0.5)]
    model = build(nodes, {"x": ("N", 2, 3)}, {**weights(w=(6, 4)), "s": ints(0, -1)})
    assert [node.op.name for node in fold(read(model, tmp_path)).nodes] == ["reshape", "matmul"]


IMAGE = ("mul", "add", "sub", "div", "relu", "pad", "conv", "grouped", "residual")
VECTOR = ("mul", "add", "sub", "div", "relu", "matmul", "residual")


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """A chain of layers and arithmetic on [1, 4, length], then on [1, n]; residual additions read twice."""
    text, constants, shape = ["graph g at model {", "in v0: f32[1, 4, 6]"], {}, (1, 4, 6)
    image = draw(st.lists(st.sampled_from(IMAGE), max_size=6))
    vector = draw(st.lists(st.sampled_from(VECTOR), max_size=6))
    for i, kind in enumerate([*image, "reshape", *vector]):
        shape = _step(draw, i, kind, shape, text, constants)
    return read_graph("\n".join([*text, f"out y = v{len(image) + len(vector) + 1}", "}"]), constants)


def _step(draw: st.DrawFn, i: int, kind: str, shape: tuple[int, ...], text: list[str],
          constants: dict[str, np.ndarray]) -> tuple[int, ...]:
    x, result = f"v{i}", shape

    def constant(*dims: int) -> str:
        constants[f"c{i}"] = np.random.default_rng(i).uniform(0.5, 2, dims).astype(np.float32)
        text.append(f"const c{i}: f32[{', '.join(map(str, dims))}] = \"c{i}\"")
        return f"c{i}"

    if kind in ("mul", "add", "sub", "div"):
        channel = (shape[1], 1) if len(shape) == 3 else shape[1:]
        call = f"{kind}({x}, {constant(*draw(st.sampled_from([(), channel, shape])))})"
    elif kind == "pad":
        result = (1, 4, shape[2] + 1)
        call = f"pad({x}, pads=[0, 0, 1, 0, 0, 0])"
    elif kind in ("conv", "grouped"):
        pads, group = draw(st.sampled_from([[0, 0], [1, 0]])), 2 if kind == "grouped" else 1
        result = (1, 4, shape[2] + sum(pads))
        call = f"conv({x}, {constant(4, 4 // group, 1)}, strides=[1], pads={pads}, dilations=[1], group={group})"
    elif kind == "matmul":
        result = (1, 3)
        call = f"matmul({x}, {constant(shape[1], 3)})"
    else:
        result = (1, int(np.prod(shape))) if kind == "reshape" else shape
        call = {"residual": f"add({x}, {x})", "relu": f"relu({x})"}.get(kind, f"reshape({x}, shape={list(result)})")
    text.append(f"v{i + 1}: f32[{', '.join(map(str, result))}] = {call}")
    return result


@settings(max_examples=150, deadline=None)
@given(networks())
def test_random_networks_keep_their_meaning(graph: Graph) -> None:
    assert_equal(graph, fold(graph))
