"""Range analysis is right and tight, and narrowing keeps every number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import networks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.graph import Graph
from irc.interpreter import evaluate
from irc.ops.elementwise import Add, Clip, Mul, Relu, Sub
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import ArgMax, MaxPool, ReduceMax, ReduceSum
from irc.ops.shape import Concat, Gather, Pad, Slice, Transpose
from irc.pipeline.step import Context
from irc.types import Integer, Level
from passes.lower.integer import LowerInteger
from passes.lower.narrow import Narrow, bits
from passes.lower.ranges import ranges
from passes.lower.requantize import SelectRequantizers
from passes.quantize.quantize import Quantize
from passes.shift.shift import Shift

S4, S6, U3, S64 = Integer(True, 4), Integer(True, 6), Integer(False, 3), Integer(True, 64)
GRAPHS = [networks.small_cnn, networks.branches, networks.residual, networks.embedding]


def integer(graph: Graph) -> Graph:
    real = Quantize().run(graph, Context(calibration=networks.data_for(graph)))
    return SelectRequantizers().run(LowerInteger().run(real, Context()), Context())


def random_inputs(graph: Graph, count: int = 200) -> dict[str, Any]:
    """Uniform values and both extremes of every port."""
    rng, made = np.random.default_rng(0), {}
    for port in graph.inputs:
        form, shape = cast(Integer, port.type.format), graph.tensor(port.name).shape
        top = min(form.maximum, 19) if port.name == "ids" else form.maximum
        made[port.name] = np.concatenate([rng.integers(form.minimum, top + 1, (count, *shape)),
                                          rng.choice([form.minimum, top], (count, *shape))])
    return made


def one_op(op: Any, *operands: tuple[str, Any]) -> Graph:
    """A graph of one op on inputs (a shape) and constants (an array)."""
    net = networks.Network()
    names = [net.constant(n, v, S64) if isinstance(v, np.ndarray) else net.input(n, v, S4) for n, v in operands]
    return net.graph(net.op("y", op, *names), level=Level.INTEGER)


WEIGHT = np.random.default_rng(1).integers(-9, 10, (4, 2, 3, 3))
CASES = [
    one_op(Add(), ("x", (1, 3)), ("c", np.array([[5, -2, 0]]))),
    one_op(Sub(), ("x", (1, 3)), ("z", (1, 3))),
    one_op(Mul(), ("x", (1, 3)), ("c", np.array([[5, -2, 0]]))),
    one_op(Conv((1, 1), (1,) * 4, (1, 1), 1, 3), ("x", (1, 2, 4, 4)), ("w", WEIGHT)),
    one_op(Conv((1, 1), (0,) * 4, (1, 1), 2), ("x", (1, 4, 4, 4)), ("w", WEIGHT)),
    one_op(MatMul(), ("x", (1, 4)), ("w", WEIGHT[0, :, :, :2].reshape(4, 3))),
    one_op(Relu(), ("x", (1, 3))),
    one_op(Clip(-3, 2), ("x", (1, 3))),
    one_op(MaxPool((2, 2), (2, 2), (1, 1, 1, 1), (1, 1)), ("x", (1, 2, 4, 4))),
    one_op(ReduceMax((2,)), ("x", (1, 2, 4))),
    one_op(ReduceSum((2,)), ("x", (1, 2, 4))),
    one_op(Slice((0, 2), (1, 2), (1, -1)), ("x", (1, 3))),
    one_op(Pad((0, 1, 0, 0), 5), ("x", (1, 3))),
    one_op(Transpose((0, 2, 1)), ("x", (1, 2, 3))),
    one_op(ArgMax(1), ("x", (1, 5))),
    one_op(Gather(0), ("t", WEIGHT.reshape(9, 8)), ("x", (1, 3))),
]


@pytest.mark.parametrize("graph", CASES, ids=lambda g: g.nodes[0].op.name)
def test_the_range_of_an_op_holds_and_is_reached(graph: Graph) -> None:
    found = ranges(graph)["y"]
    rng = np.random.default_rng(2)
    feeds = {p.name: rng.integers(-8, 8, (20_000, *graph.tensor(p.name).shape)) for p in graph.inputs}
    values = evaluate(graph, feeds, chunk=1 << 16)["out_y"]
    assert (values >= found.low).all()
    assert (values <= found.high).all()
    if graph.nodes[0].op.name not in ("conv", "matmul", "gather", "reduce_sum"):
        assert (values.min(), values.max()) == (found.low.min(), found.high.max())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_the_extremes_of_a_product_are_the_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-20, 21, (6, 3))
    found = ranges(one_op(MatMul(), ("x", (1, 6)), ("w", weight)))["y"]
    for channel in range(3):
        column = weight[:, channel]
        worst = np.where(column > 0, 7, -8) @ column, np.where(column > 0, -8, 7) @ column
        assert (found.high[0, channel], found.low[0, channel]) == worst


@pytest.mark.parametrize("build", GRAPHS)
def test_narrowed_networks_compute_the_same(build: Callable[[], Graph]) -> None:
    wide = integer(build())
    narrow = Narrow().run(wide, Context())
    narrow.verify()
    data, name = random_inputs(wide), wide.outputs[0].name
    np.testing.assert_array_equal(evaluate(narrow, data)[name], evaluate(wide, data)[name])
    assert bits(narrow) < bits(wide)


def test_narrowing_twice_changes_nothing() -> None:
    once = Narrow().run(integer(networks.small_cnn()), Context())
    assert Narrow().run(once, Context()) is once


def test_ports_keep_their_formats() -> None:
    narrow = Narrow().run(integer(networks.small_cnn()), Context())
    assert str(narrow.inputs[0].type) == "u8[1, 2, 8, 8]"


def test_operands_of_a_concat_share_a_format() -> None:
    net = networks.Network()
    x, y = net.input("x", (1, 2), S6), net.input("y", (1, 2), S6)
    parts = [net.op("a", Clip(0, 3), x), net.op("b", Clip(-2, 1), y)]
    graph = Narrow().run(net.graph(net.op("y2", Concat(1), *parts), level=Level.INTEGER), Context())
    graph.verify()
    assert [str(n.types[0].format) for n in graph.nodes] == ["s3", "s3", "s3"]


def test_power_of_two_weights_keep_their_format() -> None:
    graph = Shift(terms=1, exponent=3).run(networks.small_cnn(), Context())
    narrow = Narrow().run(integer(graph), Context())
    assert str(narrow.tensor(narrow.producers["h"].operands[1]).format) == "p1e3"


def test_bits_saved_are_noted() -> None:
    notes: dict[str, int] = {}
    wide = integer(networks.small_cnn())
    narrow = Narrow().run(wide, Context(note=lambda key, value, node="": notes.update({key: value})))
    assert notes["bits_saved"] == bits(wide) - bits(narrow) > 0
