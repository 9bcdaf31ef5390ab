"""The timing law: in which cycle every firing of a network of actors starts, solved exactly.

Actors pass tokens through channels; each channel is a FIFO of `depth` tokens at the input of its consumer. Every
frame an actor makes the same `count` firings. Firing i starts in the first cycle that is

  * later than the start of firing i - 1,
  * later than the arrival of every token it needs (a token arrives `latency` cycles after its firing started),
  * later than the departure of token j - depth, when it produces token j: that slot is free again (a token departs
    when the firing that releases it starts).

All of this is one kind of inequality, start[a, i] >= start[b, k] + weight, with b in this or an earlier frame, and
the starts are the only solution of these inequalities taken as equalities. So frames are solved one after the other,
from a guess (the last frame, shifted) by sweeps of cumulative maxima over the actors until nothing changes: whatever
the guess was, what does not change is the solution. Tight FIFOs let a sweep settle only a few tokens; such a frame is
solved firing by firing instead, which also finds deadlocks. Finally, the starts become periodic in the frames: as
soon as every frame that the future can depend on repeats an earlier one, shifted, the rest is known without computing
it.

This file needs NumPy alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Cycles = npt.NDArray[np.int64]
NEVER = -(1 << 60)  # earlier than every cycle
LONGEST_PERIOD = 8  # frames; longer periods are simulated frame by frame
PATIENCE = 48  # sweeps before a frame is solved firing by firing, which costs about as much as that many


class DeadlockError(Exception):
    """Actors wait for each other in a circle: `waits` lists (actor, channel, "tokens" or "room")."""

    def __init__(self, frame: int, waits: Sequence[tuple[str, str, str]]) -> None:
        chain = "; ".join(f"{actor} waits for {what} in {channel}" for actor, channel, what in waits)
        super().__init__(f"deadlock in frame {frame}: {chain}")
        self.frame, self.waits = frame, tuple(waits)


@dataclass(frozen=True)
class Channel:
    """A FIFO of `depth` tokens, tokens in flight counted; `tokens` pass in a frame."""

    name: str
    tokens: int
    depth: int


@dataclass(frozen=True)
class Input:
    """Of a frame's tokens: `needs[i]` must have arrived before firing i, `releases[i]` are given back by its start."""

    channel: str
    needs: Cycles
    releases: Cycles


@dataclass(frozen=True)
class Output:
    """`produces[i]` of a frame's tokens are made by the firings up to i, at most one by each."""

    channel: str
    produces: Cycles


@dataclass(frozen=True)
class Actor:
    """`count` firings a frame. A source has no inputs, a sink no outputs. No firing starts before its `earliest` cycle,
    as far as this list goes (it counts firings over all frames)."""

    name: str
    count: int
    latency: int
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    earliest: Cycles = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Network:
    """Actors, upstream ones first, and the channels between them; each has one producer and one consumer."""

    actors: tuple[Actor, ...]
    channels: tuple[Channel, ...]


def source(name: str, channel: Channel, earliest: Sequence[int] | Cycles = ()) -> Actor:
    """Offers a token every cycle, from the `earliest` cycles on."""
    ramp = np.arange(1, channel.tokens + 1, dtype=np.int64)
    return Actor(name, channel.tokens, 0, (), (Output(channel.name, ramp),), np.asarray(earliest, np.int64))


def sink(name: str, channel: Channel) -> Actor:
    """Takes every token as soon as it can be read."""
    ramp = np.arange(1, channel.tokens + 1, dtype=np.int64)
    return Actor(name, channel.tokens, 0, (Input(channel.name, ramp, ramp),))


@dataclass(frozen=True)
class Constraint:
    """Firing `at[n]` of an actor starts at least `weight` cycles after firing `after[n]` of actor `of`, which belongs
    to the frame `lag` frames earlier."""

    channel: str
    what: str  # the actor waits for "tokens" or for "room" in the channel
    at: Cycles | slice
    of: int
    after: Cycles | slice
    lag: int
    weight: int

    def apply(self, earliest: Cycles, starts: Cycles) -> None:
        """Raise `earliest` to what this constraint asks for, given the starts of the other actor."""
        earliest[self.at] = np.maximum(earliest[self.at], starts[self.after] + self.weight)

    def spread(self, count: int, others: int) -> list[int]:
        """`after` for each of `count` firings, -1 where nothing is said; the other actor has `others` firings."""
        dense = np.full(count, -1, np.int64)
        dense[self.at] = np.arange(others)[self.after]
        listed: list[int] = dense.tolist()
        return listed


def compact(index: Cycles) -> Cycles | slice:
    """A slice when the indices are consecutive: NumPy is several times faster then."""
    if len(index) and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


class Wiring:
    """Which firing makes and which one releases each token of a channel."""

    def __init__(self, network: Network) -> None:
        self.channels = {c.name: c for c in network.channels}
        self.makers: dict[str, tuple[int, Cycles]] = {}
        self.takers: dict[str, tuple[int, Cycles]] = {}
        for a, actor in enumerate(network.actors):
            for out in actor.outputs:
                self.makers[out.channel] = (a, self._firings(out.channel, out.produces))
            for put in actor.inputs:
                self.takers[put.channel] = (a, self._firings(put.channel, put.releases))

    def _firings(self, channel: str, cumulative: Cycles) -> Cycles:
        """The firing in which each token of a frame is counted first."""
        tokens = self.channels[channel].tokens
        if cumulative[-1] != tokens:
            raise ValueError(f"{cumulative[-1]} of {tokens} tokens of {channel} are handled in a frame")
        return np.searchsorted(cumulative, np.arange(1, tokens + 1))


def constraints(network: Network) -> list[list[Constraint]]:
    """What each actor waits for."""
    wiring, found = Wiring(network), []
    for actor in network.actors:
        mine = [wait for put in actor.inputs for wait in waits_for_tokens(network, wiring, put)]
        mine += [wait for out in actor.outputs for wait in waits_for_room(wiring, wiring.channels[out.channel])]
        found.append(mine)
    return found


def waits_for_tokens(network: Network, wiring: Wiring, put: Input) -> Iterator[Constraint]:
    """Only firings that need more than all before them add anything."""
    needed = np.maximum.accumulate(put.needs)
    if needed[-1] != wiring.channels[put.channel].tokens or (put.releases > needed).any():
        raise ValueError(f"tokens of {put.channel} are released before they were needed")
    at = np.flatnonzero(np.diff(needed, prepend=0))
    of, made = wiring.makers[put.channel]
    after = compact(made[needed[at] - 1])
    yield Constraint(put.channel, "tokens", compact(at), of, after, 0, network.actors[of].latency + 1)


def waits_for_room(wiring: Wiring, channel: Channel) -> Iterator[Constraint]:
    """Token j takes the slot of token j - depth, which may belong to an earlier frame."""
    (_, made), (of, released) = wiring.makers[channel.name], wiring.takers[channel.name]
    lags, slots = np.divmod(np.arange(channel.tokens) - channel.depth, channel.tokens)
    for lag in np.unique(-lags):
        mine = np.flatnonzero(-lags == lag)
        yield Constraint(channel.name, "room", compact(made[mine]), of, compact(released[slots[mine]]), int(lag), 1)


class Solver:
    """Solves one frame after the other; `frames[f][a]` are the starts of actor a in frame f."""

    def __init__(self, network: Network) -> None:
        self.actors = network.actors
        waits = constraints(network)
        self.within = [[w for w in mine if w.lag == 0] for mine in waits]  # between firings of the same frame
        self.across = [[w for w in mine if w.lag > 0] for mine in waits]
        self.readers: list[list[int]] = [[] for _ in self.actors]  # actors that wait for each actor
        for a, mine in enumerate(self.within):
            for wait in mine:
                self.readers[wait.of].append(a)
        self.reach = max((w.lag for mine in self.across for w in mine), default=1)
        self.ramps = [np.arange(actor.count, dtype=np.int64) for actor in self.actors]
        self.frames: list[list[Cycles]] = []
        self._spread: dict[int, list[tuple[Constraint, list[int]]]] = {}

    def solve_frame(self) -> None:
        """Append the next frame."""
        earliest = [self._known(a) for a in range(len(self.actors))]
        starts = self._guess()
        if not self._sweep(earliest, starts):
            starts = self._step(earliest)
        self.frames.append(starts)

    def _known(self, a: int) -> Cycles:
        """What the frames before and the `earliest` list of the actor say about its starts in the next frame."""
        frame, count = len(self.frames), self.actors[a].count
        known = np.full(count, NEVER, np.int64)
        given = self.actors[a].earliest[frame * count :][:count]
        known[: len(given)] = given
        known[0] = max(known[0], self.frames[-1][a][-1] + 1 if frame else 0)
        for wait in self.across[a]:
            if wait.lag <= frame:
                wait.apply(known, self.frames[-wait.lag][wait.of])
        return known

    def _guess(self) -> list[Cycles]:
        """The last frame again, as much later as it was after the one before; at first, only each actor's own pace."""
        if len(self.frames) < 2:
            return [np.full(actor.count, NEVER, np.int64) for actor in self.actors]
        return [last + (last[-1] - before[-1]) for before, last in zip(*self.frames[-2:], strict=True)]

    def _sweep(self, earliest: list[Cycles], starts: list[Cycles]) -> bool:
        """Downstream and upstream again until no start changes; False when that takes too long."""
        stale = [True] * len(self.actors)
        order = range(len(self.actors))
        for sweep in range(PATIENCE):
            for a in order if sweep % 2 == 0 else reversed(order):
                if stale[a]:
                    stale[a] = False
                    self._update(a, earliest, starts, stale)
            if not any(stale):
                return True
        return False

    def _update(self, a: int, earliest: list[Cycles], starts: list[Cycles], stale: list[bool]) -> None:
        """The starts of one actor, those of the others taken as they are."""
        found = earliest[a].copy()
        for wait in self.within[a]:
            wait.apply(found, starts[wait.of])
        found -= self.ramps[a]
        np.maximum.accumulate(found, out=found)
        found += self.ramps[a]
        if not np.array_equal(found, starts[a]):
            starts[a] = found
            for reader in self.readers[a]:
                stale[reader] = True

    def _step(self, earliest: list[Cycles]) -> list[Cycles]:
        """Firing by firing: every actor goes on as far as the others have come, until all are done or none can."""
        starts: list[list[int]] = [[] for _ in self.actors]
        todo, queued = deque(range(len(self.actors))), [True] * len(self.actors)
        limits = [known.tolist() for known in earliest]
        while todo:
            a = todo.popleft()
            queued[a] = False
            if self._advance(a, limits[a], starts):
                wake = [r for r in self.readers[a] if not queued[r]]
                todo.extend(dict.fromkeys(wake))
                for r in wake:
                    queued[r] = True
        if any(len(mine) < actor.count for mine, actor in zip(starts, self.actors, strict=True)):
            raise DeadlockError(len(self.frames), self._circle(starts))
        return [np.array(mine, np.int64) for mine in starts]

    def _advance(self, a: int, limits: list[int], starts: list[list[int]]) -> bool:
        """Fire as often as possible; whether it was possible at all."""
        mine, waits = starts[a], [(per_firing, starts[w.of], w.weight) for w, per_firing in self._per_firing(a)]
        begun = i = len(mine)
        now = mine[-1] if mine else NEVER
        for i in range(begun, len(limits)):
            now = max(now + 1, limits[i])
            for after, others, weight in waits:
                if after[i] >= 0:
                    if after[i] >= len(others):
                        return len(mine) > begun
                    now = max(now, others[after[i]] + weight)
            mine.append(now)
        return len(mine) > begun

    def _per_firing(self, a: int) -> list[tuple[Constraint, list[int]]]:
        """The constraints of an actor, each with the firing of the other actor that each of its firings waits for."""
        if a not in self._spread:
            counts = [actor.count for actor in self.actors]
            self._spread[a] = [(wait, wait.spread(counts[a], counts[wait.of])) for wait in self.within[a]]
        return self._spread[a]

    def _circle(self, starts: list[list[int]]) -> list[tuple[str, str, str]]:
        """Who waits for whom: follow the first unmet constraint of each actor until one appears again."""
        a = next(a for a, actor in enumerate(self.actors) if len(starts[a]) < actor.count)
        path: dict[int, tuple[str, str, str]] = {}
        while a not in path:
            wait = next(w for w, after in self._per_firing(a) if after[len(starts[a])] >= len(starts[w.of]))
            path[a] = (self.actors[a].name, wait.channel, wait.what)
            a = wait.of
        return list(path.values())[list(path).index(a) :]

    def shift(self, back: int) -> int | None:
        """By how many cycles all starts of the last frame are later than those `back` frames before."""
        now, before = self.frames[-1], self.frames[-1 - back]
        shift = int(now[0][0] - before[0][0])
        same = all(n[-1] - b[-1] == shift for n, b in zip(now, before, strict=True))
        return shift if same and all((n - b == shift).all() for n, b in zip(now, before, strict=True)) else None

    def free(self, frame: int) -> bool:
        """Whether no `earliest` list says anything about this frame and later ones."""
        return all(frame * actor.count >= len(actor.earliest) for actor in self.actors)


@dataclass(frozen=True)
class Schedule:
    """The starts of all firings in `frames` frames. Frames after the `solved` ones repeat the last `period` of them,
    `shift` cycles later each time."""

    network: Network
    frames: int
    solved: list[list[Cycles]]
    period: int = 0
    shift: int = 0

    def starts(self, actor: int, frame: int) -> Cycles:
        """Start cycle of each firing of an actor in one frame."""
        if frame < len(self.solved):
            return self.solved[frame][actor]
        rounds, place = divmod(frame - len(self.solved), self.period)
        return self.solved[len(self.solved) - self.period + place][actor] + (rounds + 1) * self.shift

    def handshakes(self, channel: str, frames: int | None = None) -> tuple[Cycles, Cycles]:
        """Arrival and departure cycle of every token of a channel, of the first `frames` frames or of all."""
        wiring, count = Wiring(self.network), self.frames if frames is None else min(frames, self.frames)
        (maker, made), (taker, released) = wiring.makers[channel], wiring.takers[channel]
        latency = self.network.actors[maker].latency
        arrivals = [self.starts(maker, f)[made] + latency for f in range(count)]
        return np.concatenate(arrivals), np.concatenate([self.starts(taker, f)[released] for f in range(count)])

    def end(self, frame: int) -> int:
        """The cycle after the one in which the last token of a frame leaves the network."""
        sinks = [a for a, actor in enumerate(self.network.actors) if not actor.outputs]
        return max(int(self.starts(a, frame)[-1]) for a in sinks) + 1

    @property
    def cycles(self) -> int:
        """Cycles until the last token has left."""
        return self.end(self.frames - 1)

    @property
    def latency(self) -> int:
        """Cycles until the last token of the first frame has left."""
        return self.end(0)

    @property
    def interval(self) -> Fraction:
        """Initiation interval, cycles a frame: of the periodic part, or on average when none was reached."""
        if self.period:
            return Fraction(self.shift, self.period)
        return Fraction(self.cycles - self.latency, self.frames - 1) if self.frames > 1 else Fraction(self.cycles)

    @property
    def utilisation(self) -> dict[str, float]:
        """Fraction of all cycles in which each actor starts a firing."""
        return {actor.name: actor.count * self.frames / self.cycles for actor in self.network.actors}


def solve(network: Network, frames: int) -> Schedule:
    """The schedule of `frames` frames (at least one). Raises DeadlockError."""
    solver = Solver(network)
    streaks = [(-1, 0)] * (LONGEST_PERIOD + 1)  # of each period: the shift, and for how many frames it has been that
    for frame in range(frames):
        solver.solve_frame()
        for period in range(1, min(LONGEST_PERIOD, frame) + 1):
            shift, (usual, length) = solver.shift(period), streaks[period]
            streaks[period] = (-1, 0) if shift is None else (shift, length + 1 if shift == usual else 1)
            if streaks[period][1] >= solver.reach and solver.free(frame + 1 - period):
                return Schedule(network, frames, solver.frames, period, streaks[period][0])
    return Schedule(network, frames, solver.frames)
