"""Metrics, labels, and what a user may get wrong about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import CALIBRATION, IMAGES, LENET, irc
from networks import Network, small_cnn

from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.metric import METRICS, bits_per_symbol, find_metric, top1
from irc.ops.linear import MatMul
from irc.ops.pooling import ArgMax
from irc.ops.shape import Gather
from irc.pipeline.judge import Criterion, judge
from irc.text import read_graph
from irc.types import Array, Integer

RNG = np.random.default_rng(5)
DATA = {"x": RNG.standard_normal((7, 2, 8, 8))}


def language_model(steps: int = 4, symbols: int = 5) -> Graph:
    """The scores of the next symbol at every position: [samples, steps] tokens to [samples, steps, symbols]."""
    net = Network(1)
    tokens = net.input("tokens", (1, steps), Integer(True, 64))
    return net.graph(net.op("y", MatMul(), net.op("e", Gather(0), net.weight("table", symbols, 3), tokens),
                            net.weight("w", 3, symbols)))


def two_headed() -> Graph:
    """Two outputs: the first is the input, the second nothing like it."""
    return read_graph("""graph g at model {
      in x: f32[1, 3]
      const z: f32[] = 0.0
      a: f32[1, 3] = relu(x)
      b: f32[1, 3] = mul(x, z)
      out first = a
      out second = b
    }""")


def complaint(labels: Array | None, metric: str = "accuracy", graph: Graph | None = None) -> str:
    with pytest.raises(IrcError) as problem:
        judge(find_metric(metric), graph or small_cnn(), DATA, labels)
    return str(problem.value)


def test_accuracy_is_the_percentage_of_right_labels() -> None:
    outputs = np.array([[1.0, 3.0, 2.0], [5.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    assert top1(outputs, np.array([1, 0, 0, 0])) == 75.0


def test_bits_per_symbol_are_the_mean_code_length() -> None:
    probabilities = np.array([[[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]])
    assert np.isclose(bits_per_symbol(np.log(probabilities) + 7.0, np.array([[1, 2]])), (2 + 3) / 2)


def test_bits_of_scores_too_large_for_exp_are_finite() -> None:
    assert bits_per_symbol(np.array([[2000.0, 0.0]]), np.array([0])) == 0.0


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_knows_better_from_worse(name: str) -> None:
    graph = small_cnn()
    judged = judge(find_metric(name), graph, DATA, judge(METRICS["cosine"], graph, DATA).expected.argmax(1))
    worse = graph.map_constants(lambda c: c if c.name != "w3" else type(c)(c.name, c.type, -c.data))
    assert judged.loss(graph) == 0
    assert judged.loss(worse) > 0


def test_a_language_model_has_a_label_at_every_position() -> None:
    graph, data = language_model(), {"tokens": RNG.integers(0, 5, (6, 4))}
    expected = judge(METRICS["cosine"], graph, data).expected
    assert judge(METRICS["accuracy"], graph, data, expected.argmax(-1)).reference == 100.0
    with pytest.raises(IrcError, match=r"E401.*have shape \[6\], expected is \[6, 4\]"):
        judge(METRICS["bits"], graph, data, np.zeros(6, int))


def test_a_network_that_ends_in_argmax_gives_the_classes() -> None:
    net = Network(2)
    graph = net.graph(net.op("k", ArgMax(1, False), net.input("x", (1, 4))))
    data = {"x": np.eye(4)[[2, 0, 3]]}
    assert judge(METRICS["accuracy"], graph, data, np.array([2, 0, 1])).reference == pytest.approx(200 / 3)
    with pytest.raises(IrcError, match=r"E401.*classes themselves.*Judge by accuracy"):
        judge(METRICS["bits"], graph, data, np.array([2, 0, 1]))


def test_a_metric_looks_at_the_first_output() -> None:
    graph, data = two_headed(), {"x": RNG.random((5, 3))}
    judged = judge(METRICS["accuracy"], graph, data, data["x"].argmax(1))
    assert judged.reference == 100.0


def test_labels_in_a_column_are_taken() -> None:
    assert judge(METRICS["accuracy"], small_cnn(), DATA, np.zeros((7, 1), int)).samples == 7


@pytest.mark.parametrize(("labels", "said"), [
    (np.zeros(6, int), "have shape [6], expected is [7]"),
    (np.zeros((7, 2), int), "have shape [7, 2], expected is [7]"),
    (np.zeros(7), "are of type float64"),
    (np.array(["a"] * 7), "are of type <U1"),
    (np.array([0, 1, 2, 3, 4, 5, 0]), "hold 5, but the classes are 0 to 4"),
    (np.array([0, 1, 2, 3, 4, -1, 0]), "hold -1, but the classes are 0 to 4"),
])
def test_labels_that_do_not_fit_are_refused_with_a_remedy(labels: Array, said: str) -> None:
    found = complaint(labels)
    assert "error[E401]: the labels" in found and said in found and "Hint:" in found


def test_a_labelled_metric_needs_labels() -> None:
    assert "E402" in complaint(None, "bits")


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(IrcError, match=r"E304.*there is no metric 'cosin'.*Did you mean 'cosine'"):
        find_metric("cosin")


def saved(path: Path, **arrays: Array) -> Path:
    np.savez(path, **arrays)
    return path


def test_what_is_judged_by_follows_from_the_data(tmp_path: Path) -> None:
    graph, labels = small_cnn(), np.zeros(7, int)
    plain, labelled = saved(tmp_path / "a.npz", **DATA), saved(tmp_path / "b.npz", **DATA, labels=labels)

    def metric(criterion: Criterion, calibration: dict[str, Array] | None = None) -> str:
        found = criterion.judge(graph, calibration)
        return found.metric.name if found else ""

    assert metric(Criterion()) == ""
    assert metric(Criterion(plain)) == "cosine"
    assert metric(Criterion(labelled)) == "accuracy"
    assert metric(Criterion(), DATA) == "cosine"
    assert metric(Criterion(), {**DATA, "labels": labels}) == "accuracy"
    assert metric(Criterion(plain), {**DATA, "labels": labels}) == "cosine"
    assert metric(Criterion(labelled, metric="mse")) == "mse"


@pytest.mark.parametrize("name", ["y.npy", "y.npz", "named"])
def test_labels_come_from_a_file_or_from_an_array_of_another_name(name: str, tmp_path: Path) -> None:
    labels = RNG.integers(0, 5, 7)
    np.save(tmp_path / "y.npy", labels)
    saved(tmp_path / "y.npz", anything=labels)
    given = str(tmp_path / name) if name.startswith("y.") else name
    found = Criterion(saved(tmp_path / "x.npz", **DATA, named=labels), given).judge(small_cnn(), None)
    assert found is not None and found.labels is not None
    assert (found.metric.name, found.labels.tolist()) == ("accuracy", labels.tolist())


@pytest.mark.parametrize(("options", "code", "said"), [
    (("--data", IMAGES, "--labels", "label"), "E401", "Did you mean 'labels'?"),
    (("--data", IMAGES, "--labels", "none.npy"), "E101", "none.npy"),
    (("--data", IMAGES, "--metric", "acuracy"), "E304", "Did you mean 'accuracy'?"),
    (("--data", CALIBRATION, "--metric", "accuracy"), "E402", "needs labels"),
    (("--data", CALIBRATION, "--labels", "image"), "E401", "are of type float32"),
    (("--metric", "mse"), "E402", "Give them with --data data.npz."),
    (("--labels", "labels"), "E402", "Give them with --data data.npz."),
    (("--data", "none.npz"), "E101", "none.npz"),
])
def test_bad_data_options_are_one_coded_line(options: tuple[object, ...], code: str, said: str) -> None:
    answer = irc("opt", LENET, "--passes", "fold", *options)
    assert (answer.code, answer.out) == (2, "")
    assert f"error[{code}]" in answer.err and said in answer.err
    assert len(answer.err.splitlines()) == 1
