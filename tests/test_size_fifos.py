"""FIFO sizing: the throughput limit is kept, and with `exact` one slot less costs throughput."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import U8, Builder, conv_pool, grow, lenet, with_depths
from test_law import random_network

from irc.actor import node_firings, stream
from irc.dataflow.law import solve
from irc.dataflow.periodic import PeriodicSchedule
from irc.dataflow.timing import channel_names, firing_limit, interval_limit, simulate_timing
from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.ops.routing import Fork, StreamConcat
from irc.ops.stream_map import MapClip
from irc.ops.window import Window
from irc.pipeline.step import Context
from irc.types import StreamType
from passes.hardware.size_fifos import SizeFifos, sufficient_depths


def sized(graph: Graph, exact: bool = False) -> Graph:
    return SizeFifos(exact=exact).run(graph, Context())


def depth(graph: Graph, channel: str) -> int:
    return stream(graph, channel).depth


def small_layer() -> Graph:
    """A convolution of 8 x 8 pixels with pooling and requantization."""
    net = Builder()
    x = net.input("x", StreamType(U8, 64, 1))
    return net.graph(conv_pool(net, "layer", x, (8, 1, 4, 1), 2, 2))


def residual() -> Graph:
    """A branch through a 3 x 3 line buffer joins the branch around it."""
    net = Builder()
    net.actor("fork", Fork(2), net.input("x", StreamType(U8, 64, 1)), depth=1)
    weighted = net.layer("layer", net.actor("window", Window((8, 8), 1, (3, 3), pads=(1, 1, 1, 1)), "fork"), 1, 1)
    clipped = net.actor("clipped", MapClip(1, 0, 255), weighted)
    grow(net, "fork_1", 1)
    return net.graph(net.actor("joined", StreamConcat((1, 1)), clipped, "fork_1"))


FOLDINGS = (((1, 2, 16, 12, 12), (6, 16, 24, 12, 10)), ((1, 2, 16, 4, 1), (2, 8, 4, 1, 1)),
            ((1, 2, 16, 4, 1), (1, 2, 4, 1, 1)))


@pytest.mark.parametrize("simd, pe", FOLDINGS)
def test_lenet_runs_at_the_limit_of_its_busiest_actor(simd: Any, pe: Any) -> None:
    graph = lenet(simd, pe, depth=1)
    found = sized(graph)
    found.verify()
    assert simulate_timing(found, 200).interval == interval_limit(graph)


@pytest.mark.parametrize("make", [small_layer, residual])
def test_exact_depths_cannot_be_lowered(make: Any) -> None:
    graph = sized(make(), exact=True)
    limit = interval_limit(graph)
    assert simulate_timing(graph, 200).interval == limit
    for name in channel_names(graph):
        try:
            slower = simulate_timing(with_depths(graph, {name: depth(graph, name) - 1}), 200).interval
        except IrcError:
            continue  # deadlock
        assert slower > limit, name


def test_default_depths_are_near_the_exact_ones() -> None:
    quick, exact = sized(small_layer()), sized(small_layer(), exact=True)
    spare = {name: depth(quick, name) - depth(exact, name) for name in channel_names(quick)}
    assert min(spare.values()) >= 0 and sum(spare.values()) <= 8


def test_residual_branch_gets_room_for_the_line_buffer() -> None:
    graph = sized(residual())
    assert depth(graph, "fork_1") > 8 and simulate_timing(graph, 100).interval == interval_limit(graph)
    with pytest.raises(IrcError, match="E603"):
        simulate_timing(with_depths(graph, {"fork_1": 8}), 1)


def test_line_buffer_holds_what_its_consumer_needs() -> None:
    graph = sized(lenet())
    window = next(n for n in graph.nodes if n.name == "conv1_window")
    assert depth(graph, "image") >= node_firings(graph, window).least_depth(0)
    assert graph.inputs[0].type == stream(graph, "image")


def test_dense_layer_waits_before_the_narrow_activations() -> None:
    # a dense layer that re-reads its frame blocks its input; bytes wait more cheaply than 24-bit sums
    graph = sized(lenet((1, 2, 1, 1, 1), (1, 1, 1, 1, 1)))
    assert depth(graph, "conv2_act") > 500 and depth(graph, "conv2") < 200


def test_notes_tell_depths_interval_and_memory() -> None:
    notes: list[tuple[Any, ...]] = []
    context = replace(Context(), note=lambda key, value, node="": notes.append((key, value, node)))
    graph = SizeFifos().run(small_layer(), context)
    assert ("fifo depth", depth(graph, "x"), "x") in notes and ("interval", interval_limit(graph), "") in notes
    bits = sum(stream(graph, name).width * depth(graph, name) for name in channel_names(graph))
    assert ("fifo bits", bits, "") in notes


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 10**9))
def test_random_networks_reach_their_limit(seed: int) -> None:
    network = random_network(seed)
    network = replace(network, actors=tuple(replace(a, earliest=a.earliest[:0]) for a in network.actors))
    limit = firing_limit(network)
    depths = sufficient_depths(network, limit, [c.name for c in network.channels])
    channels = tuple(replace(c, depth=depths[c.name]) for c in network.channels)
    assert solve(replace(network, channels=channels), 200).interval <= limit


def test_periodic_schedule_refuses_a_fifo_shorter_than_the_round_trip() -> None:
    from test_law import chain

    schedule = PeriodicSchedule(chain(99, 5), 64)
    assert not schedule.limit("y", 6, 100) and schedule.limit("y", 7, 100) and schedule.needed_depth("y") == 7
