"""Guards on small networks: what is spared, what runs where, and what is said when nothing helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
from command_line import CALIBRATION, IMAGES, LENET, irc
from networks import Network

from irc.diagnostics import IrcError, error
from irc.graph import Constant, Graph
from irc.interpreter import evaluate
from irc.metric import Bound, find_metric, mean_squared_error
from irc.ops.elementwise import Relu
from irc.ops.linear import MatMul
from irc.pipeline.driver import Outcome, run_pipeline
from irc.pipeline.judge import Judge, judge
from irc.pipeline.language import parse_pipeline
from irc.pipeline.plan import Guarded, Item, Step
from irc.pipeline.selector import Name
from irc.pipeline.step import Context, Contract, Exact, Lossy, Pass
from irc.samples import bind, load_samples, present
from irc.types import Array, Level

DEPTH = 6
DATA = {"x": np.random.default_rng(3).standard_normal((40, 8))}


def deep(seed: int = 0) -> Graph:
    """Dense layers m0, m1, ..., each with a relu behind it but the last."""
    net, value = Network(seed), ""
    value = net.input("x", (1, 8))
    for i in range(DEPTH):
        value = net.op(f"m{i}", MatMul(), value, net.weight(f"w{i}", 8, 8))
        value = net.op(f"r{i}", Relu(), value) if i < DEPTH - 1 else value
    graph = net.graph(value)
    return replace(graph, nodes=tuple(replace(n, origin=f"onnx:/{n.name}") for n in graph.nodes))


@dataclass(frozen=True)
class Coarse(Pass):
    """Round the weights of the selected layers to multiples of a step, a different one for each layer."""

    keeps: ClassVar[Contract] = Lossy()
    steps: tuple[float, ...] = (0.1, 0.9, 0.3, 0.2, 1.5, 0.4)
    seen: list[list[str]] = field(default_factory=list)

    def run(self, graph: Graph, context: Context) -> Graph:
        layers = {n.operands[1]: n.name for n in graph.nodes if n.op.name == "matmul" and context.selected(n)}
        self.seen.append(list(layers.values()))
        return graph.map_constants(lambda c: self.rounded(c) if c.name in layers else c)

    def rounded(self, weight: Constant) -> Constant:
        step = self.steps[int(weight.name[1])]
        return replace(weight, data=np.rint(weight.data / step) * step)


def step(made: Pass) -> Step:
    return Step(made, word="coarse", text="coarse{}")


def guarded(bound: str, *steps: Item, otherwise: tuple[Item, ...] = ()) -> Guarded:
    """A guard whose bound is written in the pipeline language."""
    (read,) = parse_pipeline(f"try(fold) until {bound}")
    assert isinstance(read, Guarded)
    return Guarded(steps, read.bound, otherwise, f"try(...) until {bound}")


def run(graph: Graph, *items: Item) -> Outcome:
    return run_pipeline(graph, items, judge=judge(find_metric("mse"), graph, DATA))


def error_of(graph: Graph, other: Graph) -> float:
    a, b = (evaluate(g, bind(g, DATA))[g.outputs[0].name] for g in (graph, other))
    return mean_squared_error(b, a)


def spared(outcome: Outcome) -> list[str]:
    return [note.node for note in outcome.records[-1].notes if note.node]


def without(graph: Graph, names: list[str]) -> Graph:
    """The network with all layers coarse but some, without any guard."""
    kept = {n.operands[1] for n in graph.nodes if n.name in names}
    made = Coarse()
    return graph.map_constants(lambda c: c if c.name in kept else made.rounded(c))


def test_a_guard_that_holds_at_once_spares_nothing() -> None:
    graph = deep()
    outcome = run(graph, guarded("mse<=1000", step(Coarse())))
    assert [record.word for record in outcome.records] == ["coarse", "try"]
    assert outcome.graph == without(graph, [])
    assert spared(outcome) == []
    assert outcome.records[-1].contract == "mse<=1000"


@pytest.mark.parametrize("seed", range(4))
def test_the_layer_spared_first_is_the_one_whose_sparing_helps_most(seed: int) -> None:
    graph = deep(seed)
    helped = {n.name: error_of(graph, without(graph, [n.name])) for n in graph.nodes if n.op.name == "matmul"}
    best = min(helped, key=helped.__getitem__)
    outcome = run(graph, guarded(f"mse<={helped[best]:.9f}1", step(Coarse())))
    assert spared(outcome) == [best]


@pytest.mark.parametrize("limit", [0.3, 0.1, 0.03, 0.003, 0.0001])
def test_no_more_layers_are_spared_than_the_bound_asks_for(limit: float) -> None:
    graph = deep()
    outcome = run(graph, guarded(f"mse<={limit}", step(Coarse())))
    names = spared(outcome)
    assert outcome.graph == without(graph, names)
    assert error_of(graph, outcome.graph) <= limit
    assert not names or error_of(graph, without(graph, names[:-1])) > limit


def test_costs_are_measured_once_however_often_the_steps_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from irc.pipeline import guard

    made: list[object] = []
    original = guard.Blame
    monkeypatch.setattr(guard, "Blame", lambda *arguments: made.append(arguments) or original(*arguments))
    coarse = Coarse()
    assert len(spared(run(deep(), guarded("mse<=0.0001", step(coarse))))) == DEPTH
    assert len(made) == 1
    assert [DEPTH - len(names) for names in coarse.seen] == [0, 1, 2, 4, 6, 5]  # doubled, then bisected


def test_the_other_steps_run_on_exactly_the_spared_layers() -> None:
    coarse, finer = Coarse(), Coarse(steps=(0.01,) * DEPTH)
    outcome = run(deep(), guarded("mse<=0.03", step(coarse), otherwise=(step(finer),)))
    others = {n.operands[1] for n in deep().nodes if n.name in spared(outcome)}
    assert 0 < len(others) < DEPTH
    assert outcome.graph == deep().map_constants(lambda c: (finer if c.name in others else coarse).rounded(c))
    assert error_of(deep(), outcome.graph) <= 0.03


def test_a_guard_that_never_holds_names_the_figures_it_reached() -> None:
    rough = Coarse(steps=(0.5,) * DEPTH)
    with pytest.raises(IrcError) as problem:
        run(deep(), guarded("mse<=0.00001", step(Coarse()), otherwise=(step(rough),)))
    found = problem.value.diagnostics[0]
    assert found.code == "E308"
    best = error_of(deep(), run_pipeline(deep(), (step(rough),)).graph)
    assert f"{best:.6g} with all 6 layers spared" in found.message


def test_signed_limits_are_relative_to_the_network_as_it_came_in() -> None:
    accuracy = find_metric("accuracy")
    assert Bound(accuracy, -0.5, True).holds(97.5, 98.0)
    assert not Bound(accuracy, -0.5, True).holds(97.4, 98.0)
    assert Bound(accuracy, 97.0, False).holds(97.0, 98.0)
    assert Bound(find_metric("bits"), 0.03, True).holds(2.43, 2.41)
    assert not Bound(find_metric("bits"), 0.03, True).holds(2.45, 2.41)


def test_the_network_as_it_came_in_is_the_one_in_front_of_the_pipeline() -> None:
    """The first step already takes more than the guard allows, so sparing all layers does not help."""
    with pytest.raises(IrcError, match="E308"):
        run(deep(), step(Coarse()), guarded("mse<=+0.0001", step(Coarse(steps=(2.0,) * DEPTH))))


@dataclass(frozen=True)
class Look(Pass):
    """Change nothing, and remember which layers could have been changed."""

    keeps: ClassVar[Contract] = Exact()
    seen: list[int] = field(default_factory=list)

    def run(self, graph: Graph, context: Context) -> Graph:
        self.seen.append(sum(context.selected(node) for node in graph.nodes))
        return graph


def test_exact_steps_of_a_guard_run_on_all_layers() -> None:
    look = Look()
    run(deep(), guarded("mse<=0.03", step(look), step(Coarse())))
    assert len(look.seen) > 1
    assert set(look.seen) == {2 * DEPTH - 1}


def test_guards_nest_and_the_outer_one_spares_inside_the_inner_one() -> None:
    inner = guarded("mse<=0.3", step(Coarse()))
    outcome = run(deep(), guarded("mse<=0.03", inner))
    assert [record.word for record in outcome.records] == ["coarse", "try", "try"]
    assert error_of(deep(), outcome.graph) <= 0.03
    assert set(spared(outcome))


def test_selectors_and_guards_narrow_together() -> None:
    coarse = Coarse()
    chosen = replace(step(coarse), selector=Name("m[14]"))
    outcome = run(deep(), guarded("mse<=0.03", chosen))
    assert set().union(*coarse.seen) == {"m1", "m4"}
    assert set(spared(outcome)) <= {"m1", "m4"}


def renamed(graph: Graph) -> Graph:
    """The same network with other names, so that only the places in the user's model tell layers apart."""
    names = {n.name: f"{n.name}_new" for n in graph.nodes}
    nodes = tuple(replace(n, results=(names[n.name],), operands=tuple(names.get(o, o) for o in n.operands))
                  for n in graph.nodes)
    return replace(graph, nodes=nodes, outputs=tuple(replace(p, value=names[p.value]) for p in graph.outputs))


@dataclass(frozen=True)
class Renaming(Coarse):
    """Coarse weights, and every value under another name."""

    def run(self, graph: Graph, context: Context) -> Graph:
        return renamed(Coarse.run(self, graph, context))


@dataclass(frozen=True)
class Equalising(Coarse):
    """Coarse weights; the first layer's results are a hundred times as large, which the second layer undoes."""

    def run(self, graph: Graph, context: Context) -> Graph:
        factor = {"w0": 128.0, "w1": 1 / 128.0}
        coarse = Coarse.run(self, graph, context)
        return coarse.map_constants(lambda c: replace(c, data=c.data * factor.get(c.name, 1.0)))


@pytest.mark.parametrize("made", [Renaming, Equalising])
def test_layers_that_names_do_not_tell_apart_are_tried_alone(made: Callable[[], Coarse]) -> None:
    plain, other = (spared(run(deep(), guarded("mse<=0.03", step(p)))) for p in (Coarse(), made()))
    assert other == plain


def test_steps_behind_a_pass_that_renames_still_spare_the_layer() -> None:
    coarse = Coarse()
    run(deep(), guarded("mse<=0.03", step(Renaming(steps=(1e-6,) * DEPTH)), step(coarse)))
    assert all(name.endswith("_new") for names in coarse.seen for name in names)
    assert len(coarse.seen[-1]) < DEPTH


def test_a_guard_without_data_is_refused_before_anything_runs() -> None:
    coarse = Coarse()
    with pytest.raises(IrcError, match=r"E402.*the guard mse<=1 needs data"):
        run_pipeline(deep(), (step(coarse), guarded("mse<=1", step(coarse))))
    assert coarse.seen == []


def test_a_labelled_guard_without_labels_is_refused() -> None:
    with pytest.raises(IrcError, match=r"E402.*the metric 'accuracy' needs labels.*--labels"):
        run(deep(), guarded("accuracy>=-1", step(Coarse())))


def test_what_a_guard_tried_in_vain_is_neither_recorded_nor_dumped() -> None:
    seen: list[str] = []
    graph = deep()
    run_pipeline(graph, (guarded("mse<=0.03", step(Coarse())),), judge=judge(find_metric("mse"), graph, DATA),
                 observe=lambda record, _: seen.append(record.word))
    assert seen == ["coarse", "try"]


def lenet_judge(graph: Graph) -> Judge:
    data = load_samples(IMAGES)
    return judge(find_metric("accuracy"), graph, data, data["labels"])


MIXED = """fold, clean
try(quantize{weights=s2 activations=u4}) until accuracy>=-0.4
    else quantize{weights=s8 activations=u8}
to-integer, to-dataflow"""


def test_a_mixed_lenet_keeps_its_accuracy_down_to_hardware() -> None:
    from irc.frontend import read_onnx

    graph, data = read_onnx(LENET), load_samples(IMAGES)
    judged = lenet_judge(graph)
    outcome = run_pipeline(graph, parse_pipeline(MIXED), calibration=load_samples(CALIBRATION), judge=judged)
    assert outcome.graph.level is Level.DATAFLOW
    found: Array = present(outcome.graph, evaluate(outcome.graph, bind(outcome.graph, data)))["logits"]
    assert 100 * np.mean(found.argmax(1) == data["labels"]) >= judged.reference - 0.4
    formats = {str(c.type.format) for c in outcome.graph.constants.values()}
    assert "s2" in formats and "s8" in formats


@dataclass(frozen=True)
class Whole(Pass):
    """A pass that every layer must take part in."""

    def run(self, graph: Graph, context: Context) -> Graph:
        if not all(context.selected(node) for node in graph.nodes):
            raise error("E306", "a layer is missing")
        return graph


def test_steps_that_cannot_spare_layers_belong_behind_the_guard() -> None:
    with pytest.raises(IrcError, match=r"E308.*with 1 layers spared, a layer is missing.*behind the guard"):
        run(deep(), guarded("mse<=0.03", step(Coarse()), step(Whole())))


def test_progress_tells_how_many_layers_are_spared() -> None:
    told: list[str] = []
    graph = deep()
    run_pipeline(graph, (guarded("mse<=0.03", step(Coarse())),), judge=judge(find_metric("mse"), graph, DATA),
                 progress=lambda text, done, total: told.append(text))
    assert told[:3] == ["try(...) until mse<=0.03", "mse<=0.03: 0 layers spared", "mse<=0.03: 1 layers spared"]


def test_check_takes_guards_to_hold() -> None:
    pipeline = "try(quantize{weights=s2 activations=u8}) until accuracy>=99 else quantize"
    assert irc("check", LENET, "--passes", pipeline, "--target", "sim").out.endswith("can be compiled\n")
