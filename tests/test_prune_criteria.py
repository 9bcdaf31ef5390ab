"""Criteria and scopes of pruning: what they keep, against brute force, magnitude and exact least squares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import networks
import numpy as np
import pytest

from backends.onnx import ONNX
from irc.diagnostics import IrcError
from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.metric import find_metric
from irc.ops.linear import MatMul
from irc.ops.recurrent import LSTM
from irc.ops.shape import Gather, Reshape
from irc.pipeline.driver import run_pipeline
from irc.pipeline.judge import judge
from irc.pipeline.language import parse_pipeline
from irc.pipeline.step import Context
from irc.samples import load_samples
from irc.types import Array, Integer
from passes.prune.prune import Prune
from passes.prune.search import Search
from passes.reconstruction.sparse import solved_on, sparse

DATA = Path(__file__).parent.parent / "examples" / "data"


def outputs(graph: Graph, data: Mapping[str, Array]) -> Array:
    return np.concatenate([v.reshape(len(v), -1) for v in evaluate(graph, data).values()], axis=1)


def loss(graph: Graph, pruned: Graph, data: Mapping[str, Array]) -> float:
    return float(np.square(outputs(graph, data) - outputs(pruned, data)).mean())


def correlated(seed: int, rows: int = 5, columns: int = 12) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(200, columns)) @ rng.normal(size=(columns, columns))
    return rng.normal(size=(1, rows, columns)), (inputs.T @ inputs / 200)[None]


def error_of(change: Array, gram: Array) -> float:
    return float(((change @ gram) * change).sum())


def test_what_is_left_is_solved_exactly() -> None:
    wanted, gram = correlated(0)
    mask = np.random.default_rng(1).random(wanted.shape) < 0.5
    found = solved_on(mask, wanted, gram)
    for row, kept, have in zip(wanted[0], mask[0], found[0], strict=True):
        inner, right = gram[0][np.ix_(kept, kept)], gram[0][kept] @ row
        np.testing.assert_allclose(have[kept], np.linalg.solve(inner, right), rtol=1e-5, atol=1e-8)
        assert (have[~kept] == 0).all()


def four(worth: Array) -> Array:
    """The largest four of each row stay."""
    marked = np.zeros(worth.shape, bool)
    np.put_along_axis(marked, np.argsort(-worth, axis=2)[:, :, :4], True, axis=2)
    return marked


def test_the_zeros_are_nearly_those_of_an_exhaustive_search() -> None:
    masks = [m for m in (np.array(list(f"{i:08b}")) == "1" for i in range(256)) if m.sum() == 4]
    ratios = []
    for seed in range(30):
        wanted, gram = correlated(seed, rows=1, columns=8)
        least = min(error_of(solved_on(m[None, None], wanted, gram) - wanted, gram) for m in masks)
        found = sparse(wanted, gram, four, damping=1e-6)
        assert np.count_nonzero(found) == 4
        ratios.append(error_of(found - wanted, gram) / least)
    assert min(ratios) >= 1 - 1e-6
    assert np.median(ratios) < 1.05
    assert np.exp(np.mean(np.log(ratios))) < 1.5


@pytest.mark.parametrize("seed", range(6))
def test_the_error_is_never_above_that_of_the_largest_weights(seed: int) -> None:
    wanted, gram = correlated(seed, rows=3, columns=8)
    kept = four(np.square(wanted))
    error = error_of(sparse(wanted, gram, four, damping=1e-9) - wanted, gram)
    assert error <= error_of(solved_on(kept, wanted, gram) - wanted, gram) * (1 + 1e-6)
    assert error < error_of(np.where(kept, 0, wanted), gram)


@pytest.mark.parametrize("make", [networks.small_cnn, networks.branches, networks.residual])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_second_order_loses_less_than_magnitude(make: Callable[[], Graph], sparsity: float, scope: str) -> None:
    graph = make()
    data = networks.data_for(graph, 200)
    pruned = [Prune(sparsity=sparsity, criterion=c, scope=scope).run(graph, Context(calibration=data))
              for c in ("second_order", "magnitude")]
    assert loss(graph, pruned[0], data) < loss(graph, pruned[1], data)


def test_activation_keeps_what_its_inputs_make_large() -> None:
    net = networks.Network()
    graph = net.graph(net.op("y", MatMul(), net.input("x", (1, 6)), net.weight("w", 6, 4)))
    data = {"x": np.random.default_rng(3).normal(size=(50, 1, 6)) * np.array([9, 0.1, 1, 3, 0.3, 1])}
    pruned = Prune(criterion="activation").run(graph, Context(calibration=data))
    worth = np.abs(graph.constants["w"].data) * np.linalg.norm(data["x"][:, 0], axis=0)[:, None]
    kept = pruned.constants["w"].data != 0
    assert kept.sum() == 12
    assert worth[kept].min() > worth[~kept].max()
    np.testing.assert_array_equal(pruned.constants["w"].data[kept], graph.constants["w"].data[kept])


@pytest.mark.parametrize("criterion", ["magnitude", "l2", "activation", "second_order"])
def test_a_global_sparsity_holds_over_all_layers(criterion: str) -> None:
    graph = networks.small_cnn()
    context = Context(calibration=networks.data_for(graph))
    pruned = Prune(sparsity=0.6, criterion=criterion, scope="global").run(graph, context)
    used = [pruned.constants[n].data != 0 for n in ("w1", "w2", "w3")]
    assert sum(int((~u).sum()) for u in used) == round(0.6 * sum(u.size for u in used))


def tabled() -> tuple[Graph, dict[str, Array]]:
    """Ten entries, read the oftener the earlier they stand; the last two never."""
    net = networks.Network()
    ids = net.input("ids", (1, 6), Integer(True, 64))
    rows = net.op("rows", Gather(0), net.weight("table", 10, 4), ids)
    graph = net.graph(net.op("y", MatMul(), net.op("flat", Reshape((1, 24)), rows), net.weight("w", 24, 3)))
    odds = np.array([20, 10, 5, 4, 3, 2, 1, 1, 0, 0])
    return graph, {"ids": np.random.default_rng(0).choice(10, (300, 1, 6), p=odds / odds.sum())}


def test_tables_are_pruned_on_request_by_how_often_they_are_read() -> None:
    graph, data = tabled()
    assert (Prune(criterion="activation").run(graph, Context(calibration=data)).constants["table"].data != 0).all()
    pruned = Prune(criterion="activation", tables=True).run(graph, Context(calibration=data))
    counts = np.bincount(data["ids"].ravel(), minlength=10)
    worth = np.square(graph.constants["table"].data) * (1 + counts[:, None])
    kept = pruned.constants["table"].data != 0
    assert kept.sum() == 20
    assert worth[kept].min() > worth[~kept].max()


def test_a_table_by_second_order_loses_less() -> None:
    graph, data = tabled()
    losses = {c: loss(graph, Prune(criterion=c, tables=True).run(graph, Context(calibration=data)), data)
              for c in ("magnitude", "activation", "second_order")}
    assert losses["second_order"] < losses["activation"] < losses["magnitude"]


def test_recurrent_layers_are_pruned_constant_by_constant() -> None:
    net = networks.Network()
    x = net.input("x", (5, 1, 4))
    weights = [net.weight("w", 12, 4), net.weight("r", 12, 3), net.weight("b", 24)]
    net.op("h", LSTM(), x, *weights)
    types = LSTM().result_types([net.types[o] for o in (x, *weights)])
    net.nodes[-1] = replace(net.nodes[-1], results=("h", "last", "cell"), types=types)
    graph = net.graph("h")
    data = networks.data_for(graph, 100)
    pruned = {c: Prune(criterion=c).run(graph, Context(calibration=data)) for c in ("magnitude", "second_order")}
    for found in pruned.values():
        assert [int((found.constants[n].data == 0).sum()) for n in ("w", "r")] == [24, 18]
    assert loss(graph, pruned["second_order"], data) < loss(graph, pruned["magnitude"], data)


def context_of(graph: Graph, metric: str = "mse") -> Context:
    data = networks.data_for(graph, 60)
    return Context(calibration=data, judge=judge(find_metric(metric), graph, data))


@pytest.mark.parametrize("search", ["rmhc", "sa"])
@pytest.mark.parametrize("criterion", ["magnitude", "second_order"])
def test_a_search_stays_within_the_floor_and_removes_more(search: str, criterion: str) -> None:
    graph = networks.small_cnn()
    context, floor = context_of(graph), 0.05
    options = {"criterion": criterion, "scope": "search", "search": search, "floor": floor, "sparsity": 0.1}
    few, many, again = (Prune(evaluations=n, **options).run(graph, context)  # type: ignore[arg-type]  # as above
                        for n in (1, 60, 60))
    assert context.judge is not None
    assert context.judge.loss(many) <= floor
    zeros = [sum(int((g.constants[n].data == 0).sum()) for n in ("w1", "w2", "w3")) for g in (few, many)]
    assert zeros[0] < zeros[1]
    assert many == again


def test_a_floor_that_cannot_hold_is_an_error() -> None:
    search = Search(lambda state: 1.0, 0.5, np.ones(3) / 3, 0.1, 20, annealed=False)
    with pytest.raises(IrcError, match="E306"):
        search.best(np.full(3, 0.5))


def test_annealing_leaves_the_edge_where_a_climber_is_stuck() -> None:
    def rule(state: Array) -> float:  # where more than 0.15 of the first part is gone, little of the second can go
        return 0.0 if state[0] <= 0.35 and (state[0] < 0.15 or state[1] <= 0.2) else 1.0

    def best(annealed: bool) -> float:
        search = Search(rule, 0.0, np.array([0.5, 0.5]), 0.1, 2000, annealed, seed=3)
        return float(search.best(np.array([0.2, 0.0])).sum())

    assert best(annealed=True) > best(annealed=False)


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
@pytest.mark.parametrize("criterion", ["magnitude", "second_order"])
def test_zeros_survive_quantize_and_the_trained_network_still_works(criterion: str, rounding: str) -> None:
    calibration, samples = (load_samples(DATA / f"{n}.npz") for n in ("mnist_calibration", "mnist"))
    steps = parse_pipeline(f"prune{{sparsity=0.7 criterion={criterion}}}, quantize{{weights=s5 rounding={rounding}}}")
    graph = run_pipeline(read_onnx(DATA / "mnist_lenet.onnx"), steps, calibration=calibration).graph
    weights = [c.data for c in graph.constants.values() if str(c.type.format) == "s5"]
    assert len(weights) == 5
    assert all((w == 0).mean() >= 0.7 - 0.5 / w.size for w in weights)
    scores = outputs(graph, {graph.inputs[0].name: samples["image"][:, None]})
    assert (scores.argmax(axis=1) == samples["labels"]).mean() > (0.95 if criterion == "second_order" else 0.5)


def test_the_zeros_are_in_the_onnx_file(tmp_path: Path) -> None:
    calibration = load_samples(DATA / "mnist_calibration.npz")
    steps = parse_pipeline("prune{granularity=darb sparsity=0.75 criterion=second_order}, quantize")
    graph = run_pipeline(read_onnx(DATA / "mnist_lenet.onnx"), steps, calibration=calibration).graph
    for name, content in ONNX.emit(graph).items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    again = read_onnx(tmp_path / "model.onnx")
    weights = [[c.data for c in g.constants.values() if c.data.dtype.kind == "i" and c.data.size > 99]
               for g in (graph, again)]
    zeros = [sorted(int((w == 0).sum()) for w in found) for found in weights]
    assert zeros[0] == zeros[1]
    assert sum(zeros[0]) >= 0.75 * 61_000


def test_a_trial_looks_at_no_data() -> None:
    graph = networks.small_cnn()
    context = replace(context_of(graph), trial=True)
    quick = Prune(criterion="second_order", scope="search", sparsity=0.3).run(graph, context)
    assert quick == Prune(sparsity=0.3).run(graph, Context())
