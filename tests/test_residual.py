"""Residual and depthwise-separable networks in every target: the interpreter's integers, the cycles of the law."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from integer_networks import Sketch, images

from backends.hls import HLS
from backends.sim import SIM
from backends.verilog import VERILOG
from backends.verilog.verilated import lint
from irc.dataflow.timing import simulate_timing
from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.ops.depthwise import Depthwise
from irc.ops.elementwise import Add, Mul
from irc.ops.linear import Conv
from irc.ops.pooling import ReduceSum
from irc.ops.shape import Transpose
from irc.pipeline.step import Context
from irc.samples import arrange
from irc.types import Integer, PowerOfTwo
from passes.hardware.parallelize import Parallelize
from passes.hardware.size_fifos import SizeFifos
from passes.lower.dataflow import LowerDataflow

S5, S16 = Integer(True, 5), Integer(True, 16)
FOLDINGS = [{"interval": 100_000}, {"multipliers": 16}, {"interval": 1}]


def separable(seed: int, form: Integer | PowerOfTwo = S5) -> Graph:
    """image -> depthwise -> pointwise, added in steps of its own to the image through another layer, summed up."""
    s = Sketch(seed, (4, 6, 5))
    deep = Conv((1, 1), (1, 1, 1, 1), (1, 1), group=4, pad_value=7)
    d = s.requantized("qd", s.value("d", deep, "image", s.weights("wd", form, (4, 1, 3, 3))))
    p = s.value("p", Conv((1, 1), (0,) * 4, (1, 1)), d, s.weights("wp", form, (6, 4, 1, 1)))
    o = s.value("o", Conv((1, 1), (0,) * 4, (1, 1)), "image", s.weights("wo", form, (6, 4, 1, 1)))
    three = s.value("three", Mul(), p, s.constant("k3", Integer(False, 3), np.array([3]).reshape(1, 1, 1, 1)))
    five = s.value("five", Mul(), o, s.constant("k5", Integer(False, 3), s.rng.integers(1, 8, (6, 1, 1))))
    joined = s.requantized("qj", s.value("joined", Add(), three, five))
    return s.graph(s.value("total", ReduceSum((2, 3), keepdims=True), joined))


def grouped(seed: int) -> Graph:
    """Two groups of two channels, which have no actor of their own."""
    s = Sketch(seed, (4, 5, 5))
    return s.graph(s.value("g", Conv((2, 1), (1, 0, 1, 0), (1, 1), group=2), "image", s.weights("w", S5, (6, 2, 3, 3))))


def design(graph: Graph, **folding: int) -> Graph:
    folded = Parallelize(**folding).run(LowerDataflow().run(graph, Context()), Context())
    folded.verify()
    return SizeFifos().run(folded, Context())


def written(target: object, graph: Graph, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in target.emit(graph).items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.mark.parametrize("folding", FOLDINGS, ids=str)
@pytest.mark.parametrize("form", [S5, PowerOfTwo(2, 3)], ids=str)
@pytest.mark.parametrize("target", [SIM, HLS, VERILOG], ids=lambda t: t.name)
def test_every_target_gives_the_interpreters_integers(target, form, folding, tmp_path):
    integers = separable(3, form)
    graph, x = design(integers, **folding), images(integers, 3)
    feeds = {"image": arrange(graph.inputs[0], x)}
    run = target.run(written(target, graph, tmp_path / "d"), graph, feeds, scratch=tmp_path / "s")
    want = evaluate(integers, {"image": x})["logits"]
    assert np.array_equal(run.outputs["logits"].reshape(3, -1), want.reshape(3, -1))


@pytest.mark.parametrize("folding", FOLDINGS, ids=str)
def test_verilog_takes_the_cycles_of_the_law(folding, tmp_path):
    integers = separable(5)
    graph = design(integers, **folding)
    feeds = {"image": arrange(graph.inputs[0], images(integers, 3))}
    run = VERILOG.run(written(VERILOG, graph, tmp_path / "d"), graph, feeds, scratch=tmp_path / "s")
    timing = simulate_timing(graph, 3)
    assert {n.op.name for n in graph.nodes} >= {"depthwise", "stream_add"}
    for channel, seen in run.handshakes.items():
        for have, want in zip((seen.arrivals, seen.departures), timing.handshakes(channel), strict=True):
            assert np.array_equal(have, want), channel


@pytest.mark.parametrize("folding", FOLDINGS, ids=str)
def test_verilator_has_nothing_to_warn_about(folding, tmp_path):
    assert lint(written(VERILOG, design(separable(1), **folding), tmp_path), "net") == ""


@pytest.mark.parametrize("seed", range(3))
def test_groups_without_an_actor_become_one_dense_layer(seed, tmp_path):
    integers = grouped(seed)
    lowered, x = LowerDataflow().run(integers, Context()), images(integers, 2)
    have = evaluate(lowered, {"image": arrange(lowered.inputs[0], x)})["logits"]
    want = evaluate(integers, {"image": x})["logits"].transpose(0, 1, 3, 4, 2)
    assert np.array_equal(have.reshape(2, -1), want.reshape(2, -1))
    assert not any(isinstance(n.op, Depthwise) for n in lowered.nodes)


def test_a_depthwise_layer_costs_its_own_multipliers_only():
    graph = design(separable(2), interval=1)
    (layer,) = (n for n in graph.nodes if isinstance(n.op, Depthwise))
    assert graph.types[layer.name].lanes == 4


def test_streams_in_different_orders_are_refused():
    s = Sketch(0, (4, 4, 4))
    a = s.value("a", Conv((1, 1), (0,) * 4, (1, 1)), "image", s.weights("w", S5, (4, 4, 1, 1)))
    turned = s.value("t", Transpose((0, 1, 3, 2)), a)
    with pytest.raises(IrcError, match="do not arrive in the same order"):
        LowerDataflow().run(s.graph(s.value("y", Add(), a, turned)), Context())
