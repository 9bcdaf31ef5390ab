"""Compensated rounding: against exhaustive search, least squares and plain rounding."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest

from irc.diagnostics import IrcError
from irc.frontend import read_onnx
from irc.graph import Graph, Node
from irc.interpreter import evaluate
from irc.ops.elementwise import Add
from irc.ops.linear import Conv, MatMul
from irc.ops.quantization import Dequantize
from irc.ops.recurrent import GRU, LSTM, RNN
from irc.ops.shape import Gather, Reshape, Transpose
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.pipeline.step import Context
from irc.samples import bind, load_samples, take
from irc.types import Array, Integer, PowerOfTwo
from passes.quantize.quantize import Quantize
from passes.reconstruction.apply import with_refits
from passes.reconstruction.compensate import aligned, compensated, damped, descended
from passes.reconstruction.products import products
from passes.reconstruction.statistics import moments
from passes.reconstruction.tables import table_gram
from passes.reconstruction.walk import Visit, reconstruct
from passes.rounding.alphabet import alphabet
from passes.rounding.fit import Letters, Rounding
from passes.rounding.groups import fit_by_magnitude
from passes.rounding.scales import Grid

DATA = Path(__file__).parents[1] / "examples" / "data"
S3 = Integer(True, 3)
FITS: list[Callable[[Rounding, Array, Array], Letters]] = [Rounding.fit, fit_by_magnitude]


def inputs(count: int, columns: int, groups: int = 1, seed: int = 0) -> Array:
    """Correlated inputs with a mean, [groups, count, columns]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(groups, count, columns)) @ rng.normal(size=(groups, columns, columns)) + 1.0


def whole(values: Array, columns: Array) -> Array:
    return np.rint(values)


def cost(change: Array, gram: Array) -> Array:
    return np.asarray(((change @ gram) * change).sum(axis=-1))


def test_moments_are_those_of_numpy() -> None:
    x0, x = inputs(300, 4, groups=2), inputs(300, 4, groups=2, seed=1)
    found = moments([(x0[:, :100], x[:, :100]), (x0[:, 100:], x[:, 100:])])
    for g in range(2):
        both = np.cov(np.hstack((x0[g], x[g])).T, bias=True)
        np.testing.assert_allclose(found.gram[g], both[4:, 4:], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found.cross[g], both[:4, 4:], rtol=1e-3, atol=1e-3)


def test_aligned_weights_are_those_of_least_squares() -> None:
    x0 = inputs(400, 5)
    x, w = x0 + 0.3 * inputs(400, 5, seed=2), np.random.default_rng(3).normal(size=(1, 3, 5))
    found = aligned(w, w, moments([(x0, x)]), damping=1e-9)
    centred = [a[0] - a[0].mean(axis=0) for a in (x0, x)]
    want = np.linalg.lstsq(centred[1], centred[0] @ w[0].T, rcond=None)[0].T
    np.testing.assert_allclose(found[0], want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_compensation_and_descent_come_near_the_best_of_all_roundings(seed: int) -> None:
    x, w = inputs(200, 4, seed=seed), np.random.default_rng(seed).normal(size=(1, 1, 4)) * 2
    gram = damped(moments([(x, x)]).gram, 1e-4)
    first = compensated(w, gram, whole)
    last = descended(w, first, gram, whole, 10)
    every = np.floor(w) + np.array(list(itertools.product((-1, 0, 1, 2), repeat=4)))[None]
    best = cost(w - every, gram).min()
    near, rounded = cost(w - last, gram).item(), cost(w - np.rint(w), gram).item()
    assert best <= near + 1e-9 <= cost(w - first, gram).item() + 2e-9
    assert near - best <= 0.5 * (rounded - best) + 1e-9


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("form", [S3, Integer(True, 1), PowerOfTwo(1, 2), PowerOfTwo(1, 3, zero=False)])
@pytest.mark.parametrize("shared", [False, True])
def test_a_fit_is_in_the_alphabet_and_closer_than_rounding(fit: Callable[[Rounding, Array, Array], Letters],
                                                           form: Integer | PowerOfTwo, shared: bool) -> None:
    x, w = inputs(500, 12, groups=2), np.random.default_rng(1).normal(size=(2, 6, 12))
    gram, letters = moments([(x, x)]).gram, alphabet(form)
    rounding = Rounding(letters, Grid(8), (5, 7), shared)
    found, plain = fit(rounding, w, gram), rounding.start(w)
    assert letters.form.holds(found.letters.astype(np.int64))
    assert cost(w - found.values, gram).sum() < 0.8 * cost(w - plain.values, gram).sum()
    assert not shared or all(len(np.unique(found.scale[:, :, i])) == 1 for i in range(2))


def test_groups_do_not_mix() -> None:
    x, w = inputs(300, 6, groups=3), np.random.default_rng(2).normal(size=(3, 4, 6))
    gram, rounding = moments([(x, x)]).gram, Rounding(alphabet(S3), Grid(8), (6,))
    together = rounding.fit(w, gram).values
    for g in range(3):
        alone = rounding.fit(w[g : g + 1], gram[g : g + 1]).values
        assert cost(w[g] - alone, gram[g]).sum() == pytest.approx(cost(w[g] - together[g], gram[g]).sum(), rel=0.3)


@pytest.mark.parametrize("op", [Conv((2, 1), (1, 0, 1, 2), (1, 2), 2), Conv((1, 1), (0,) * 4, (1, 1), 4), MatMul()])
def test_a_product_is_what_the_op_computes(op: Conv | MatMul) -> None:
    net = networks.Network()
    x = net.input("x", (1, 4, 7, 9) if isinstance(op, Conv) else (1, 3, 6))
    shape = (8, 4 // op.group, 3, 2) if isinstance(op, Conv) else (6, 5)
    graph = net.graph(net.op("y", op, x, net.weight("w", *shape)))
    (product,), data = list(products(graph)), networks.data_for(graph, 3)
    matrix, out = product.matrix([graph.constants["w"].data]), evaluate(graph, data)["out_y"]
    sums = product.inputs({"x": data["x"]}) @ matrix.swapaxes(1, 2)  # [groups, products, rows]
    channels = np.moveaxis(out, 2 if isinstance(op, Conv) else -1, 0).reshape(len(matrix), matrix.shape[1], -1)
    np.testing.assert_allclose(sums.swapaxes(1, 2), channels, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(product.arrays(matrix)[0], graph.constants["w"].data)


@pytest.mark.parametrize("make", [networks.small_cnn, networks.branches, networks.residual, networks.embedding])
@pytest.mark.parametrize("options", [{}, {"granularity": "tensor"}, {"activations": None}, {"scales": "pot"}])
def test_gptq_is_closer_than_rounding_to_the_nearest(make: Callable[[], Graph], options: dict[str, Any]) -> None:
    graph = make()
    data, fresh = networks.data_for(graph, 400), networks.data_for(graph, 200, seed=9)
    want, errors = evaluate(graph, fresh)["out_y"], []
    for rounding in ("gptq", "nearest"):
        found = Quantize(weights=S3, rounding=rounding, **options).run(graph, Context(calibration=data))
        errors.append(float(np.square(evaluate(found, fresh)["out_y"] - want).mean()))
    assert errors[0] < 0.9 * errors[1]


def test_bias_correction_keeps_the_mean_of_the_outputs() -> None:
    graph = networks.small_cnn()
    data = networks.data_for(graph, 300)
    want = evaluate(graph, data)["out_y"].mean(axis=0)
    off = [np.abs(evaluate(Quantize(weights=Integer(True, 2), bias_correction=c).run(graph, Context(calibration=data)),
                           data)["out_y"].mean(axis=0) - want).max() for c in (True, False)]
    assert off[0] < 0.05 * off[1]


def recurrent(op: RNN | GRU | LSTM) -> Graph:
    """A recurrent layer whose first state is an input, and a dense layer."""
    net = networks.Network(4)
    x = net.input("x", (12, 1, 3))
    gates = op.gates * 6
    operands = (x, net.weight("w", gates, 3), net.weight("r", gates, 6), net.weight("b", 2 * gates), "",
                net.input("h", (1, 6)))
    kinds = op.result_types([net.types.get(o) for o in operands])
    names = tuple(f"h{i}" for i in range(len(kinds)))
    net.nodes.append(Node(names, op, operands, kinds))
    net.types.update(zip(names, kinds, strict=True))
    return net.graph(net.op("y", MatMul(), names[0], net.weight("d", 6, 4)))


@pytest.mark.parametrize("op", [RNN(), GRU(), LSTM()])
def test_recurrent_layers_are_rounded_on_the_states_they_see(op: RNN | GRU | LSTM) -> None:
    graph = recurrent(op)
    data, errors = networks.data_for(graph, 200), []
    want = evaluate(graph, data)["out_y"]
    for rounding in ("gptq", "nearest"):
        made = Quantize(weights=S3, activations=None, rounding=rounding).run(graph, Context(calibration=data))
        assert sum(isinstance(n.op, Dequantize) for n in made.nodes) == 3
        errors.append(float(np.square(evaluate(made, data)["out_y"] - want).mean()))
    assert errors[0] < 0.9 * errors[1]


def test_a_layer_that_ends_a_block_makes_good_for_the_shortcut() -> None:
    net = networks.Network()
    x = net.input("x", (1, 2, 4, 4))
    skip = net.op("skip", networks.conv(), x, net.weight("ws", 2, 2, 1, 1))
    net.op("sum", Add(), net.op("h", networks.conv(pads=1), x, net.weight("w", 2, 2, 3, 3)), skip)
    graph = net.graph("sum")
    wrong = graph.map_constants(lambda c: replace(c, data=c.data / 2) if c.name == "ws" else c)
    data, want = networks.data_for(graph, 200), evaluate(graph, networks.data_for(graph, 200))["out_sum"]

    def refit(visit: Visit) -> Array:
        return aligned(visit.target, visit.matrix, visit.statistics, drift=visit.drift.cross if visit.drift else 0.0)

    for shortcuts, most in ((False, np.inf), (True, 1e-3)):
        refits = reconstruct(graph, wrong, data, refit, lambda node: node.name == "h", shortcuts)
        error = np.square(evaluate(with_refits(wrong, refits), data)["out_sum"] - want).mean()
        assert error < most and (shortcuts or error > 0.01)


@pytest.mark.parametrize("turned", [False, True])
def test_errors_of_a_table_count_as_its_readers_see_them(turned: bool) -> None:
    net = networks.Network()
    ids, table = net.input("ids", (1, 6), Integer(True, 64)), net.weight("table", 20, 4)
    rows = net.op("rows", Gather(0), table, ids)
    moved = net.op("moved", Transpose((0, 2, 1)), rows) if turned else rows
    net.op("y", MatMul(), net.op("flat", Reshape((1, 24)), moved), net.weight("w", 24, 3))
    graph, error = net.graph("y"), np.random.default_rng(5).normal(size=4)
    gram = table_gram(graph, graph.producers["rows"])
    seen = 0.0
    for place in range(6):  # the same error in one row after the other
        change = np.zeros((1, 1, 6, 4))
        change[0, 0, place] = error
        flat = (change.swapaxes(2, 3) if turned else change).reshape(1, 24)
        seen += float(np.square(flat @ graph.constants["w"].data).sum())
    assert gram is not None and error @ gram @ error == pytest.approx(seen, rel=1e-6)


@pytest.mark.parametrize("word", ["prune", "prune{granularity=channel}", "prune_channels{sparsity=0.5}", "share",
                                  "share{rounding=gptq}", "binarize", "ternarize{rounding=gptq}"])
@pytest.mark.parametrize("before", ["quantize", "shift", "share{values=8}"])
def test_a_pass_that_finds_only_integers_says_so(before: str, word: str) -> None:
    graph, data = networks.small_cnn(), networks.data_for(networks.small_cnn())
    with pytest.raises(IrcError) as found:
        run_pipeline(graph, parse_pipeline(f"{before}, {word}"), calibration=data, check=False)
    assert found.value.diagnostics[0].code == "E306" and "quantized or shared" in str(found.value)


def test_layers_that_are_still_real_are_pruned() -> None:
    graph, data = networks.small_cnn(), networks.data_for(networks.small_cnn())
    made = run_pipeline(graph, parse_pipeline("quantize @ first, prune{sparsity=0.5}"), calibration=data, check=False)
    zeros = {c.name: np.mean(c.data == 0) for c in made.graph.constants.values() if c.name in {"w2", "w3"}}
    assert zeros == {"w2": 0.5, "w3": 0.5}


@pytest.mark.parametrize("passes", [
    "quantize{{weights=s2 activations=u8{}}}", "shift{{alphabet=s3{}}}, quantize{{activations=u8}}"])
def test_a_trained_network_loses_far_less_when_layers_are_rounded_together(passes: str) -> None:
    graph = read_onnx(DATA / "mnist_lenet.onnx")
    calibration, images = (load_samples(DATA / f"{name}.npz") for name in ("mnist_calibration", "mnist"))
    feeds = bind(graph, take(images, 100))
    (port,), errors = graph.outputs, []
    want = evaluate(graph, feeds)[port.name]
    for rounding in (" rounding=gptq", ""):
        steps = parse_pipeline(f"fold, clean, {passes.format(rounding)}")
        found = run_pipeline(graph, steps, calibration=calibration, check=False).graph
        errors.append(float(np.square(evaluate(found, feeds)[port.name] - want).sum()))
    assert errors[0] < 0.1 * errors[1]


@pytest.mark.parametrize("op", [RNN(), GRU(), LSTM()])
def test_inputs_of_gates_are_the_input_and_the_state_before(op: RNN | GRU | LSTM) -> None:
    graph = recurrent(op)
    data = networks.data_for(graph, 5)
    values = data | {c.name: c.data[None] for c in graph.constants.values()}
    product = next(p for p in products(graph) if p.node.op == op)
    rows = product.inputs(values).reshape(5, 12, 9)
    states = evaluate(graph, data, keep=True)["h0"][:, :, 0]
    np.testing.assert_allclose(rows[:, :, :3], data["x"][:, :, 0])
    np.testing.assert_allclose(rows[:, 0, 3:], data["h"][:, 0])
    np.testing.assert_allclose(rows[:, 1:, 3:], states[:, :-1])
