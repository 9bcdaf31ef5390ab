"""`clean`: golden cases, all of which mean the same before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from golden import Case, golden

from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.pipeline.step import Context
from irc.text import print_graph, read_graph
from passes.simplify.clean import Clean

LENET = Path(__file__).parents[1] / "examples" / "data" / "mnist_lenet.onnx"


def clean(graph: Graph) -> Graph:
    cleaned = Clean().run(graph, Context())
    cleaned.verify()
    assert Clean().run(cleaned, Context()) is cleaned
    return cleaned


@golden("clean.case")
def test_golden(case: Case) -> None:
    assert print_graph(clean(read_graph(case.given))).strip() == case.out


@golden("clean.case")
def test_golden_cases_keep_their_meaning(case: Case) -> None:
    before, after = read_graph(case.given), read_graph(case.out)
    feeds = {p.name: np.random.default_rng(0).integers(1, 9, (4, *p.type.shape)) / 1 for p in before.inputs}
    if before.level.value == "integer":
        feeds = {name: data.astype(np.int64) for name, data in feeds.items()}
    np.testing.assert_array_equal(evaluate(before, feeds)["y"], evaluate(after, feeds)["y"])


def test_a_clean_network_is_the_same_object() -> None:
    graph = read_onnx(LENET)
    assert Clean().run(graph, Context()) is graph


def test_nodes_that_are_not_selected_stay() -> None:
    graph = read_graph("""graph g at model {
      in x: f32[1, 2]
      a: f32[1, 2] = relu(x)
      b: f32[1, 2] = relu(a)
      c: f32[1, 2] = relu(b)
      out y = c
    }""")
    assert [n.name for n in Clean().run(graph, Context(selected=lambda node: node.name == "c")).nodes] == ["a", "b"]


def test_many_nodes_take_linear_time() -> None:
    lines = [f"v{i + 1}: f32[1, 2] = {'relu' if i % 3 else 'tanh'}(v{i})" for i in range(5000)]
    graph = read_graph("\n".join(["graph g at model {", "in v0: f32[1, 2]", *lines, "out y = v5000", "}"]))
    kept = clean(graph).nodes
    assert len(kept) == 3334 and kept[-1].op.name == "relu"
