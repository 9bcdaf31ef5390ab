"""The driver holds passes to their contracts, at every level and across levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from irc.diagnostics import IrcError
from irc.graph import Constant, Graph
from irc.interpreter import evaluate
from irc.pipeline.contract import Checker, distance
from irc.pipeline.driver import Outcome, run_pipeline, steps_to
from irc.pipeline.language import Step, parse_pipeline
from irc.pipeline.selector import Name, Operation
from irc.pipeline.step import Context, Contract, Exact, Lossy, Pass, Within
from irc.samples import bind, load_samples, present
from irc.text import load_graph, read_graph
from irc.types import Array, Level

MODEL = """graph g at model {
  in x: f32[1, 2]
  const w: f32[2, 2] = [[1.0, 2.0], [3.0, 4.0]]
  a: f32[1, 2] = matmul(x, w)
  b: f32[1, 2] = relu(a)
  c: f32[1, 2] = add(b, x)
  out y = c
}"""
QUANTIZED = """graph g at model {
  in x: f32[1, 2]
  const s: f32[] = 0.5
  const w: s4[2, 2] = [[1, 2], [-3, 4]]
  q: s8[1, 2] = quantize(x, s, to=s8)
  d: f32[1, 2] = dequantize(q, s)
  v: f32[2, 2] = dequantize(w, s)
  a: f32[1, 2] = matmul(d, v)
  out y = a
}"""
INTEGER = """graph g at integer {
  in x: s8[1, 2] scale=[0.5]
  const w: s4[2, 2] = [[1, 2], [-3, 4]]
  a: s12[1, 2] = matmul(x, w)
  out y = a scale=[0.25]
}"""
MAP = """graph g at integer {
  in x: s8[1, 2, 2, 3] scale=[0.5]
  a: s8[1, 2, 2, 3] = clip(x, low=-5, high=5)
  out y = a scale=[0.5]
}"""
STREAM = """graph g at dataflow {
  in x: stream s8[6, 2] lanes=1 depth=2 scale=[0.5] tensor=s8[1, 2, 2, 3] order=[0, 2, 3, 1]
  a: stream s4[6, 2] lanes=1 depth=2 = map_clip(x, channels=2, low=-5, high=5)
  out y = a scale=[0.5] tensor=s8[1, 2, 2, 3] order=[0, 2, 3, 1]
}"""
DATA = {"x": np.random.default_rng(1).standard_normal((20, 2))}


@dataclass(frozen=True)
class Rewrite(Pass):
    """Replace the graph by what `change` makes of it."""

    change: Callable[[Graph], Graph]
    requires: ClassVar[Level | None] = None

    def run(self, graph: Graph, context: Context) -> Graph:
        return self.change(graph)


@dataclass(frozen=True)
class AtModel(Pass):
    """Run at model level only, record what the context gives, change nothing."""

    seen: list[object]

    def run(self, graph: Graph, context: Context) -> Graph:
        self.seen.extend(node.name for node in graph.nodes if context.selected(node))
        context.note("calibrated", context.calibration is not None, node="a")
        return graph


def step(keeps: Contract, change: Callable[[Graph], Graph]) -> Step:
    promising = type("Promising", (Rewrite,), {"keeps": keeps})
    return Step(promising(change), word="rewrite", text="rewrite{now}")


def edited(old: str, new: str) -> Callable[[Graph], Graph]:
    """A pass that changes the text of the graph."""
    from irc.text import print_graph

    return lambda graph: read_graph(print_graph(graph).replace(old, new, 1))


def text(given: str) -> Callable[[Graph], Graph]:
    return lambda graph: read_graph(given)


def run(source: str, *steps: Step, calibration: dict[str, Array] | None = None) -> Outcome:
    return run_pipeline(read_graph(source), steps, calibration=calibration)


def complaint(source: str, *steps: Step) -> str:
    with pytest.raises(IrcError) as problem:
        run(source, *steps)
    return str(problem.value)


def test_exact_pass_that_keeps_its_word() -> None:
    (record,) = run(MODEL, step(Exact(), edited("add(b, x)", "add(x, b)"))).records
    assert record.deviation is not None
    assert (record.contract, record.deviation.largest, record.deviation.cosine) == ("exact", 0, 1)


def test_broken_exact_pass_names_pass_contract_and_first_differing_node() -> None:
    found = complaint(MODEL, step(Exact(), edited("4.0", "4.001")))
    assert "error[E305]: pass 'rewrite{now}' promises to be exact, but output 'y' moves by" in found
    assert "the first value that differs is 'a'" in found
    assert "[node 'a', operator matmul]" in found


def test_first_difference_skips_values_that_agree() -> None:
    found = complaint(MODEL, step(Exact(), edited("relu(a)", "clip(a, low=0.0, high=0.25)")))
    assert "the first value that differs is 'b'" in found


def test_real_outputs_may_differ_by_rounding_only() -> None:
    double = MODEL.replace("f32", "f64")
    assert run(double, step(Exact(), edited("4.0", "4.0000000000001"))).records
    assert "E305" in complaint(double, step(Exact(), edited("4.0", "4.00001")))


@pytest.mark.parametrize(("lsb", "moved", "fine"), [(1, 1, True), (1, 2, False), (2, 2, True), (0, 1, False)])
def test_within_counts_integer_steps(lsb: int, moved: int, fine: bool) -> None:
    source = """graph g at integer {
  in x: s8[1, 2]
  const k: s4[] = 0
  a: s9[1, 2] = add(x, k)
  out y = a
}"""
    change = step(Within(lsb), edited("= 0", f"= {moved}"))
    assert bool(run(source, change).records) if fine else f"moves by {moved} lsb" in complaint(source, change)


def test_lossy_pass_reports_the_error_on_calibration_samples() -> None:
    outcome = run(MODEL, step(Lossy(), edited("4.0", "5.0")), calibration=DATA)
    old, new = (evaluate(g, bind(g, DATA))["y"][:8] for g in (read_graph(MODEL), outcome.graph))
    deviation = outcome.records[0].deviation
    assert deviation is not None
    assert deviation.mse == pytest.approx(np.mean((old - new) ** 2))
    assert deviation.cosine == pytest.approx(np.sum(old * new) / np.linalg.norm(old) / np.linalg.norm(new))
    assert deviation.samples == 8


def test_lowering_to_integers_is_compared_through_the_encodings() -> None:
    (record,) = run(QUANTIZED, step(Exact(), text(INTEGER)), calibration=DATA).records
    assert record.deviation is not None
    assert (record.deviation.unit, record.deviation.samples) == ("lsb", 16)
    assert record.deviation.largest < 1e-6


@pytest.mark.parametrize(("old", "new"), [
    ("scale=[0.25]", "scale=[0.26]"),
    ("x: s8[1, 2] scale=[0.5]", "x: s8[1, 2] scale=[0.5] zero=1"),
    ("[1, 2], [-3, 4]", "[1, 2], [-3, 3]"),
])
def test_wrong_lowering_to_integers_is_caught(old: str, new: str) -> None:
    assert "E305" in complaint(QUANTIZED, step(Exact(), text(INTEGER.replace(old, new))))


def test_lowering_to_streams_is_compared_in_the_users_layout() -> None:
    assert run(MAP, step(Exact(), text(STREAM))).graph.level is Level.DATAFLOW


def test_wrong_stream_order_is_caught() -> None:
    wrong = STREAM.replace("out y = a scale=[0.5] tensor=s8[1, 2, 2, 3] order=[0, 2, 3, 1]",
                           "out y = a scale=[0.5] tensor=s8[1, 2, 2, 3] order=[0, 3, 2, 1]")
    assert "E305" in complaint(MAP, step(Exact(), text(wrong)))


def test_value_that_leaves_its_format_blames_the_pass() -> None:
    found = complaint(INTEGER, step(Exact(), edited("s12", "s9")))
    assert "made a graph that cannot be run: a value in" in found
    assert "node 'a'" in found


def test_graph_that_is_not_well_formed_blames_the_pass() -> None:
    found = complaint(MODEL, step(Lossy(), lambda graph: replace(graph, nodes=graph.nodes[1:])))
    assert "pass 'rewrite{now}' made a graph that is not well formed: 'a' is used before it is defined" in found


def test_renamed_output_blames_the_pass() -> None:
    assert "changed the outputs y to z" in complaint(MODEL, step(Lossy(), edited("out y", "out z")))


def test_nan_that_appears_is_a_difference() -> None:
    before, after = np.array([1.0, np.nan, np.inf, 2.0, 1.0]), np.array([1.0, np.nan, np.inf, np.nan, 3.0])
    np.testing.assert_array_equal(distance(before, after), [0, 0, 0, np.inf, 2])


def test_token_ids_are_drawn_from_the_rows_of_the_table() -> None:
    graph = read_graph("""graph g at model {
  in ids: s64[1, 50]
  const table: f32[3, 1] = [[1.0], [2.0], [3.0]]
  flat: s64[50] = reshape(ids, shape=[50])
  e: f32[50, 1] = gather(table, flat)
  out y = e
}""")
    tensors, _ = Checker(None, seed=0).tensors(graph, graph)
    assert set(np.unique(tensors["ids"])) == {0, 1, 2}


def test_integer_inputs_are_drawn_from_their_whole_format() -> None:
    graph = read_graph("graph g at integer {\n  in x: s4[1, 100]\n  out y = x\n}")
    tensors, _ = Checker(None, seed=0).tensors(graph, graph)
    assert (tensors["x"].min(), tensors["x"].max()) == (-8, 7)


def test_real_inputs_are_drawn_from_the_range_of_calibration() -> None:
    graph = read_graph("graph g at model {\n  in x: f32[1, 100]\n  out y = x\n}")
    data = {"x": np.linspace(3, 4, 300).reshape(3, 100)}
    tensors, calibrated = Checker(data, seed=0).tensors(graph, graph)
    drawn = tensors["x"][calibrated:]
    assert (calibrated, len(drawn)) == (3, 8)
    assert 3 <= drawn.min() < 3.01 and 3.99 < drawn.max() <= 4


def test_context_carries_selection_calibration_and_notes() -> None:
    seen: list[object] = []
    outcome = run(MODEL, Step(AtModel(seen), Operation("matmul"), "at", "at"), calibration=DATA)
    assert seen == ["a"]
    (note,) = outcome.records[0].notes
    assert (note.key, note.value, note.node) == ("calibrated", True, "a")


def test_selector_that_takes_nothing_is_refused() -> None:
    found = complaint(MODEL, Step(AtModel([]), Name("head*"), "at", "at @ name(\"head*\")"))
    assert "E306" in found and "takes no node" in found


def test_pass_of_a_higher_level_is_refused() -> None:
    found = complaint(INTEGER, Step(AtModel([]), word="at", text="at"))
    assert "error[E306]: pass 'at' works at model level, but the graph is at integer level already" in found


def test_lower_level_is_reached_by_the_named_pipelines() -> None:
    @dataclass(frozen=True)
    class AtDataflow(AtModel):
        requires: ClassVar[Level | None] = Level.DATAFLOW

    outcome = run(QUANTIZED, Step(AtDataflow([]), word="at", text="at"), calibration=DATA)
    words = [record.word for record in outcome.records]
    assert words[-2:] == ["dataflow", "at"]
    assert words.index("integer") < words.index("dataflow")
    assert outcome.graph.level is Level.DATAFLOW


def test_no_step_leads_nowhere() -> None:
    assert steps_to(Level.INTEGER, Level.INTEGER) == ()
    with pytest.raises(IrcError, match="E306"):
        steps_to(Level.DATAFLOW, Level.MODEL)


def test_dump_holds_the_graph_after_each_step(tmp_path: Path) -> None:
    steps = (step(Lossy(), edited("4.0", "5.0")), step(Lossy(), edited("5.0", "6.0")))
    outcome = run_pipeline(read_graph(MODEL), steps, dump=tmp_path / "stages")
    written = sorted(path.name for path in (tmp_path / "stages").iterdir())
    assert written == ["00-input.irc", "01-rewrite.irc", "02-rewrite.irc"]
    assert load_graph(tmp_path / "stages" / "02-rewrite.irc") == outcome.graph


def test_progress_is_told_before_each_step() -> None:
    told: list[tuple[str, int, int]] = []
    steps = (step(Lossy(), lambda graph: graph),) * 2
    run_pipeline(read_graph(MODEL), steps, progress=lambda *news: told.append(news))
    assert told == [("rewrite{now}", 0, 2), ("rewrite{now}", 1, 2)]


def test_without_checks_a_broken_pass_goes_through() -> None:
    outcome = run_pipeline(read_graph(MODEL), (step(Exact(), edited("4.0", "5.0")),), check=False)
    assert outcome.records[0].deviation is None
    assert outcome.graph.constants["w"] == Constant("w", outcome.graph.tensor("w"), np.array([1, 2, 3, 5]))


def test_each_graph_is_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import irc.pipeline.contract as contract

    graphs: list[Graph] = []
    monkeypatch.setattr(contract, "evaluate", lambda graph, feeds, **_: graphs.append(graph) or evaluate(graph, feeds))
    run(MODEL, *(step(Lossy(), edited(f"{k}.0]]", f"{k + 1}.0]]")) for k in (4, 5, 6)))
    assert len(graphs) == 4


def test_lenet_comes_down_to_dataflow_and_answers_as_onnxruntime() -> None:
    import onnxruntime

    from irc.frontend.reader import read_onnx

    examples = Path(__file__).parent.parent / "examples" / "data"
    data = {"image": load_samples(examples / "mnist.npz")["image"][:100]}
    steps = parse_pipeline("quantize{weights=s8 activations=u8}, to-integer, to-dataflow")
    outcome = run_pipeline(read_onnx(examples / "mnist_lenet.onnx"), steps, calibration=data)
    found = present(outcome.graph, evaluate(outcome.graph, bind(outcome.graph, data)))["logits"]
    session = onnxruntime.InferenceSession(examples / "mnist_lenet.onnx")
    expected = np.concatenate([session.run(None, {"image": image[None]})[0] for image in data["image"]])
    assert outcome.graph.level is Level.DATAFLOW
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= 0.99
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
