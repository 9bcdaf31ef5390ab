"""The timing law, solved by cumulative maxima, against a model that steps through every cycle."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.dataflow.law import Actor, Channel, DeadlockError, Input, Network, Output, sink, solve, source


def step_cycles(network: Network, frames: int) -> dict[str, tuple[list[int], list[int]]] | None:
    """Arrivals and departures of all tokens of each channel, one cycle after the other; None when it deadlocks."""
    depth = {c.name: c.depth for c in network.channels}
    total = {c.name: c.tokens for c in network.channels}
    arrived: dict[str, list[int]] = {name: [] for name in depth}
    left: dict[str, list[int]] = {name: [] for name in depth}
    fired = [0] * len(network.actors)
    cycle = quiet = 0
    while any(n < a.count * frames for n, a in zip(fired, network.actors, strict=True)):
        now = []
        for k, actor in enumerate(network.actors):
            frame, i = divmod(fired[k], actor.count)
            held = fired[k] < len(actor.earliest) and cycle < actor.earliest[fired[k]]
            if frame == frames or held:
                continue
            readable = {p.channel: sum(t < cycle for t in arrived[p.channel]) for p in actor.inputs}
            fed = all(readable[p.channel] >= frame * total[p.channel] + p.needs[i] for p in actor.inputs)
            makes = [o.channel for o in actor.outputs if o.produces[i] > (o.produces[i - 1] if i else 0)]
            if fed and all(len(arrived[c]) - len(left[c]) < depth[c] for c in makes):
                now.append((k, actor, i, makes))
        for k, actor, i, makes in now:
            fired[k] += 1
            for c in makes:
                arrived[c].append(cycle + actor.latency)
            for p in actor.inputs:
                left[p.channel] += [cycle] * int(p.releases[i] - (p.releases[i - 1] if i else 0))
        quiet = 0 if now else quiet + 1
        if quiet > 50:
            return None
        cycle += 1
    return {name: (arrived[name], left[name]) for name in depth}


def random_input(rng: np.random.Generator, channel: Channel, count: int) -> Input:
    releases = np.sort(rng.integers(0, channel.tokens + 1, count))
    releases[-1] = channel.tokens
    needs = np.minimum(releases + rng.integers(0, 3, count), channel.tokens)
    return Input(channel.name, needs, releases)


def random_output(rng: np.random.Generator, channel: Channel, count: int) -> Output:
    made = np.zeros(count, np.int64)
    made[rng.choice(count, channel.tokens, replace=False)] = 1
    return Output(channel.name, np.cumsum(made))


def random_network(seed: int) -> Network:
    """A chain of random multi-rate actors whose channels sometimes fork and later join again."""
    rng = np.random.default_rng(seed)
    channels: list[Channel] = []

    def channel() -> Channel:
        channels.append(Channel(f"c{len(channels)}", int(rng.integers(1, 9)), int(rng.choice((1, 2, 3, 5, 9, 30)))))
        return channels[-1]

    ends = [channel()]
    gaps = np.cumsum(rng.integers(0, 4, rng.integers(0, 12))) if rng.random() < 0.3 else ()
    actors = [source("source", ends[0], gaps)]
    for k in range(int(rng.integers(1, 6))):
        ways = 1 if len(ends) > 1 else int(rng.integers(1, 3))
        taken, ends = (ends, []) if rng.random() < 0.6 else (ends[:1], ends[1:])
        made = [channel() for _ in range(ways)]
        count = max(c.tokens for c in made) + int(rng.integers(0, 8))
        puts = tuple(random_input(rng, c, count) for c in taken)
        outs = tuple(random_output(rng, c, count) for c in made)
        actors.append(Actor(f"a{k}", count, int(rng.integers(0, 7)), puts, outs))
        ends += made
    actors += [sink(f"sink{k}", c) for k, c in enumerate(ends)]
    return Network(tuple(actors), tuple(channels))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.integers(0, 10**9), st.integers(1, 14))
def test_every_handshake_is_where_stepping_through_the_cycles_puts_it(seed: int, frames: int) -> None:
    network = random_network(seed)
    expected = step_cycles(network, frames)
    if expected is None:
        with pytest.raises(DeadlockError):
            solve(network, frames)
        return
    schedule = solve(network, frames)
    for name, (arrivals, departures) in expected.items():
        found = schedule.handshakes(name)
        assert (found[0].tolist(), found[1].tolist()) == (arrivals, departures), name
    sinks = [a.inputs[0].channel for a in network.actors if a.name.startswith("sink")]
    assert schedule.cycles == max(expected[name][1][-1] for name in sinks) + 1


def test_random_networks_cover_periods_and_deadlocks() -> None:
    periodic = deadlocks = 0
    for seed in range(100):
        try:
            periodic += solve(random_network(seed), 30).period > 0
        except DeadlockError:
            deadlocks += 1
    assert periodic > 20 and deadlocks > 5


def chain(depth: int, latency: int, tokens: int = 64, slow: int = 1) -> Network:
    """source -> a -> sink; `a` takes `slow` firings for each token."""
    x, y = Channel("x", tokens, depth), Channel("y", tokens, depth)
    ramp = np.arange(1, tokens * slow + 1)
    a = Actor("a", tokens * slow, latency, (Input("x", -(-ramp // slow), ramp // slow),), (Output("y", ramp // slow),))
    return Network((source("s", x), a, sink("t", y)), (x, y))


def test_fifo_shorter_than_the_round_trip_limits_the_rate() -> None:
    # a slot is used for latency + 2 cycles, so 3 slots give 3 tokens in 7 cycles
    assert solve(chain(3, 5), 200).interval == Fraction(64 * 7, 3)
    assert solve(chain(7, 5), 200).interval == 64


def test_more_frames_cost_nothing_once_periodic() -> None:
    schedule = solve(chain(4, 2, slow=3), 10**9)
    assert schedule.interval == 64 * 3 and len(schedule.solved) < 10
    assert schedule.cycles == schedule.latency + (10**9 - 1) * 64 * 3


def test_utilisation_counts_firings_a_cycle() -> None:
    used = solve(chain(4, 2, slow=4), 10**6).utilisation
    assert used["a"] == pytest.approx(1, abs=1e-4) and used["t"] == pytest.approx(0.25, abs=1e-4)


def test_deadlock_names_the_circle_of_waits() -> None:
    x, y, z = Channel("x", 4, 2), Channel("y", 4, 2), Channel("z", 4, 8)
    ramp, late = np.arange(1, 5), np.array([4, 4, 4, 4])
    fork = Actor("fork", 4, 1, (Input("x", ramp, ramp),), (Output("y", ramp), Output("z", ramp)))
    join = Actor("join", 4, 1, (Input("y", ramp, ramp), Input("z", late, ramp)), ())
    network = Network((source("s", x), fork, join), (x, y, z))
    with pytest.raises(DeadlockError) as found:
        solve(network, 3)
    assert set(found.value.waits) == {("fork", "y", "room"), ("join", "z", "tokens")}


def test_late_pushes_delay_the_frame_they_belong_to() -> None:
    x = Channel("x", 2, 4)
    network = Network((source("s", x, [0, 1, 100]), sink("t", x)), (x,))
    assert solve(network, 3).handshakes("x")[0].tolist() == [0, 1, 100, 101, 102, 103]


def test_tokens_released_before_they_arrive_are_refused() -> None:
    x = Channel("x", 2, 4)
    early = Actor("a", 2, 1, (Input("x", np.array([1, 2]), np.array([2, 2])),))
    with pytest.raises(ValueError, match="released before"):
        solve(Network((source("s", x), early), (x,)), 1)
