"""Requantizers are proven equal to exact rational arithmetic on every reachable accumulator."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import networks
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from irc.graph import Graph
from irc.interpreter import evaluate
from irc.ops.elementwise import Add, Mul
from irc.ops.quantization import MultiplyShift, Requantize, Threshold
from irc.pipeline.step import Context
from irc.types import Integer, Level
from passes.lower.integer import LowerInteger
from passes.lower.requantize import SelectRequantizers
from passes.lower.steps import Line, exact_steps, nonzero_digits, roundest
from passes.quantize.quantize import Quantize
from passes.shift.shift import Shift

S64 = Integer(True, 64)
FORMATS = st.builds(Integer, st.booleans(), st.integers(2, 9))


@st.composite
def requantizations(draw: st.DrawFn) -> tuple[Graph, list[list[Fraction]]]:
    """add and requantize of random biases, ratios, formats; the exact results for every accumulator and channel."""
    to, acc = draw(FORMATS), Integer(True, draw(st.integers(3, 11)))
    count, gain = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, 5]))
    tops = draw(st.lists(st.one_of(st.integers(1, 9), st.integers(1, 1 << 40)), min_size=count, max_size=count))
    shifts = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    divisors = [draw(st.sampled_from([1, 3, 7])) for _ in tops]
    bottoms = [max(1, (t << s) // d) for t, s, d in zip(tops, shifts, divisors, strict=True)]
    biases = draw(st.lists(st.integers(-1500, 1500), min_size=count, max_size=count))
    zero = draw(st.integers(to.minimum, to.maximum))
    graph = chain(acc, to, gain, biases, tops, bottoms, zero)
    x = range(acc.minimum, acc.maximum + 1)
    reals = [[Fraction((gain * a + c) * t, b) for a in x] for c, t, b in zip(biases, tops, bottoms, strict=True)]
    return graph, [[Fraction(min(max(round(r) + zero, to.minimum), to.maximum)) for r in row] for row in reals]


def chain(
    acc: Integer, to: Integer, gain: int, biases: list[int], tops: list[int], bottoms: list[int], zero: int
) -> Graph:
    """requantize(gain * x + bias), a bias and a ratio for each channel."""
    net, count = networks.Network(), len(biases)
    x = net.input("x", (1, count), acc)
    x = net.op("twice", Mul(), x, net.constant("gain", np.array([[gain]]), S64)) if gain != 1 else x
    x = net.op("sum", Add(), x, net.constant("bias", np.array([biases]), S64))
    parameters = [net.constant(n, np.array(v), S64) for n, v in (("top", tops), ("bottom", bottoms))]
    return net.graph(net.op("y", Requantize(to, zero), x, *parameters), level=Level.INTEGER)


@pytest.mark.parametrize("options", [{}, {"method": "multiply"}, {"method": "threshold"}, {"terms": 2}])
@settings(max_examples=150, deadline=None)
@given(case=requantizations())
def test_every_reachable_accumulator_gives_the_exact_result(case: tuple[Graph, list[list[Fraction]]],
                                                            options: dict[str, Any]) -> None:
    graph, exact = case
    selected = SelectRequantizers(**options).run(graph, Context())
    selected.verify()
    assert [n.op.name for n in selected.nodes] in (["multiply_shift"], ["threshold"])
    form = cast(Integer, graph.inputs[0].type.format)
    values = np.arange(form.minimum, form.maximum + 1)[:, None, None].repeat(len(exact), axis=2)
    found = evaluate(selected, {"x": values}, chunk=1 << 20)["out_y"]
    np.testing.assert_array_equal(found[:, 0].T, np.array([[int(v) for v in row] for row in exact]))


@given(st.integers(-200, 200), st.integers(0, 300), st.integers(1, 50), st.integers(1, 50), st.integers(-9, 9), FORMATS)
def test_thresholds_are_the_first_accumulators_of_each_level(low: int, span: int, top: int, bottom: int, zero: int,
                                                             to: Integer) -> None:
    steps = exact_steps((low, low + span), Line(1, 0, top, bottom), zero, to)
    x = range(low, low + span + 1)
    exact = [min(max(round(Fraction(a * top, bottom)) + zero, to.minimum), to.maximum) for a in x]
    counted = steps.first + (np.array(x)[:, None] >= steps.thresholds).sum(axis=1)
    assert counted.tolist() == exact


def selected(graph: Graph, **options: Any) -> list[object]:
    found = SelectRequantizers(**options).run(graph, Context())
    return [node.op for node in found.nodes]


def test_power_of_two_ratios_with_reachable_ties_need_thresholds() -> None:
    graph = chain(Integer(True, 10), Integer(False, 6), 1, [0], [1], [8], 0)
    assert isinstance(selected(graph, method="multiply")[0], Threshold)


def test_half_a_unit_makes_them_a_plain_shift() -> None:
    graph = chain(Integer(True, 10), Integer(False, 6), 2, [1], [1], [16], 0)
    found = SelectRequantizers().run(graph, Context())
    assert found.nodes[0].op == MultiplyShift(Integer(False, 6), 3, 1)
    assert int(found.constants["y_multiplier"].data) == 1
    assert int(found.constants["y_bias"].data) == 4


def test_few_levels_become_thresholds_and_many_do_not() -> None:
    few = chain(Integer(True, 12), Integer(False, 2), 1, [5], [41], [10007], 0)
    many = chain(Integer(True, 12), Integer(False, 8), 1, [5], [410], [10007], 0)
    assert isinstance(selected(few)[0], Threshold)
    assert isinstance(selected(many)[0], MultiplyShift)


def test_a_sum_that_others_read_stays() -> None:
    net = networks.Network()
    total = net.op("sum", Add(), net.input("x", (1, 2), Integer(True, 8)), net.constant("b", np.array([[1, 2]]), S64))
    ratio = [net.constant("top", np.array(3), S64), net.constant("bottom", np.array(40), S64)]
    graph = net.graph(net.op("y", Requantize(Integer(True, 4)), total, *ratio), total, level=Level.INTEGER)
    found = SelectRequantizers().run(graph, Context())
    assert [n.name for n in found.nodes] == ["sum", "y"]
    data = {"x": np.arange(-128, 128).reshape(-1, 1, 1).repeat(2, axis=2)}
    np.testing.assert_array_equal(evaluate(found, data)["out_y"], evaluate(graph, data)["out_y"])


@pytest.mark.parametrize("shifting", [False, True])
def test_networks_give_the_same_integers(shifting: bool) -> None:
    graph = networks.small_cnn()
    graph = Shift().run(graph, Context()) if shifting else graph
    integer = LowerInteger().run(Quantize().run(graph, Context(calibration=networks.data_for(graph))), Context())
    found = SelectRequantizers().run(integer, Context())
    assert not any(isinstance(n.op, Requantize) for n in found.nodes)
    data = {"x": np.random.default_rng(3).integers(0, 256, (50, 1, 2, 8, 8))}
    np.testing.assert_array_equal(evaluate(found, data)["out_y"], evaluate(integer, data)["out_y"])


def test_shift_networks_need_no_multiplication() -> None:
    graph = Shift().run(networks.small_cnn(), Context())
    integer = LowerInteger().run(Quantize().run(graph, Context(calibration=networks.data_for(graph))), Context())
    found = SelectRequantizers().run(integer, Context())
    digits = [nonzero_digits(c.data).max() for n, c in found.constants.items() if n.endswith("_multiplier")]
    assert digits and max(digits) <= 1


@example(low=4, span=2)
@given(st.integers(-1000, 1000), st.integers(0, 1000))
def test_the_roundest_number_lies_within_and_has_most_trailing_zeros(low: int, span: int) -> None:
    found = roundest(low, low + span)
    zeros = [10**9 if v == 0 else (v & -v).bit_length() for v in range(low, low + span + 1)]
    assert low <= found <= low + span
    assert (10**9 if found == 0 else (found & -found).bit_length()) == max(zeros)


def test_digits_of_the_canonical_signed_digit_form() -> None:
    assert nonzero_digits(np.array([0, 1, 2, 3, 7, 11, 15, 21])).tolist() == [0, 1, 1, 2, 2, 3, 2, 3]
