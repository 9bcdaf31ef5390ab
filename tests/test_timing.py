"""Timing of dataflow graphs."""

from __future__ import annotations

import pytest
from streams import U8, Builder, grow, lenet, with_depths

from irc.dataflow.timing import interval_limit, law_network, simulate_timing
from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.ops.routing import Fork, StreamConcat
from irc.ops.stream_map import MapClip
from irc.ops.window import Window
from irc.types import StreamType


def clip_chain(depth: int) -> Graph:
    net = Builder()
    x = net.input("x", StreamType(U8, 16, 1, depth=depth))
    return net.graph(net.actor("y", MapClip(1, 0, 100), x))


def residual(depth: int) -> Graph:
    """A branch through a 3 x 3 line buffer joins the branch around it."""
    net = Builder()
    x = net.input("x", StreamType(U8, 64, 1, depth=4))
    net.actor("fork", Fork(2), x, depth=depth)
    grow(net, "fork", 40)
    window = net.actor("window", Window((8, 8), 1, (3, 3), pads=(1, 1, 1, 1)), "fork", depth=16)
    weighted = net.layer("layer", window, 1, 1)
    clipped = net.actor("clipped", MapClip(1, 0, 255), weighted)
    return net.graph(net.actor("joined", StreamConcat((1, 1)), clipped, "fork_1"))


def test_single_frame_counts_every_register_once() -> None:
    # pushed in cycle 0, read in 1, two comparisons and the FIFO read later on in the output FIFO, out one cycle later
    timing = simulate_timing(clip_chain(8), 1)
    arrivals, departures = timing.handshakes("y")
    assert timing.handshakes("x")[0].tolist() == list(range(16))
    assert (departures == arrivals + 1).all() and timing.latency == timing.cycles == departures[-1] + 1


def test_interval_is_the_firings_of_the_busiest_actor() -> None:
    graph = lenet()
    timing = simulate_timing(graph, 1000)
    assert timing.interval == interval_limit(graph) == 784 * 6 * 25
    assert max(timing.utilisation, key=timing.utilisation.__getitem__) in ("conv1", "conv1_window")


def test_ports_are_actors_too() -> None:
    names = [actor.name for actor in law_network(clip_chain(8)).actors]
    assert names == ["in:x", "y", "out:out0"]


def test_residual_branch_without_room_for_the_line_buffer_deadlocks() -> None:
    assert simulate_timing(residual(20), 2).cycles > 0
    with pytest.raises(IrcError, match=r"E603.*fork waits for room in fork_1 \(depth 7\)") as found:
        simulate_timing(residual(7), 2)
    assert "size_fifos" in found.value.diagnostics[0].remedy


def test_a_line_buffer_shorter_than_its_kernel_deadlocks() -> None:
    least = 2 * 28 + 3  # rows above the middle one are padding at first: two rows and three pixels are enough to start
    deep = with_depths(lenet(), {"image": 5 * 28 + 5})
    assert simulate_timing(deep, 1).cycles > 0
    with pytest.raises(IrcError, match="E603"):
        simulate_timing(with_depths(deep, {"image": least}), 1)
