"""Schedules that repeat every `period` cycles, and the FIFO depths they need.

A network runs at one frame every `period` cycles with given depths if and only if some schedule start[a, i] + frame *
period obeys the timing law's inequalities: firing as early as possible is never slower than any schedule that obeys
them. One frame is enough to look for it, because a lag of n frames is n * period cycles. That is much cheaper than
simulating the run-in, and each further limit on a depth only moves starts to later cycles from where they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from irc.dataflow.law import Channel, Constraint, Cycles, Network, Wiring, waits_for_room, waits_for_tokens


class PeriodicSchedule:
    """The earliest periodic schedule of a network whose FIFOs are unlimited at first."""

    def __init__(self, network: Network, period: int) -> None:
        self.actors, self.period, self.wiring = network.actors, period, Wiring(network)
        self.ramps = [np.arange(actor.count, dtype=np.int64) for actor in self.actors]
        self.starts = list(self.ramps)
        self.tokens = [[w for put in actor.inputs for w in waits_for_tokens(network, self.wiring, put)]
                       for actor in self.actors]
        self.room: dict[str, list[Constraint]] = {name: [] for name in self.wiring.channels}
        self._settle(set(range(len(self.actors))), patience=4)  # nothing waits for room yet: once downstream is enough

    def limit(self, channel: str, depth: int, patience: int) -> bool:
        """Let the FIFO have `depth` slots, if a schedule still exists. False, and nothing changed, when there is none
        or `patience` sweeps did not find it."""
        before, room = list(self.starts), self.room[channel]
        limited = Channel(channel, self.wiring.channels[channel].tokens, depth)
        self.room[channel] = [replace(w, weight=w.weight - w.lag * self.period, lag=0)
                              for w in waits_for_room(self.wiring, limited)]
        maker, _ = self.wiring.makers[channel]
        if self._settle({maker}, patience):
            return True
        self.starts, self.room[channel] = before, room
        return False

    def needed_depth(self, channel: str) -> int:
        """The most tokens that this schedule ever has in the FIFO, those in flight counted."""
        (maker, made), (taker, released) = self.wiring.makers[channel], self.wiring.takers[channel]
        pushed, left = self.starts[maker][made], self.starts[taker][released]
        frames = max(0, int(left[-1] - pushed[0]) // self.period + 1)
        gone = sum(np.searchsorted(left - k * self.period, pushed) for k in range(frames + 1)) - frames * len(left)
        return int(np.max(np.arange(1, len(pushed) + 1) - gone))

    def _settle(self, stale: set[int], patience: int) -> bool:
        """Move starts later, upstream and downstream in turn, until all inequalities hold."""
        for sweep in range(patience):
            order = range(len(self.actors)) if sweep % 2 else range(len(self.actors) - 1, -1, -1)
            for a in order:
                if a in stale:
                    stale.remove(a)
                    stale |= self._update(a)
            if not stale:
                return True
        return False

    def _update(self, a: int) -> set[int]:
        """Move the starts of one actor as far as the others ask for; the actors that this may concern."""
        found = self.starts[a].copy()
        waits = self.tokens[a] + [w for out in self.actors[a].outputs for w in self.room[out.channel]]
        for wait in waits:
            wait.apply(found, self.starts[wait.of])
        found = self._apart(found, self.ramps[a])
        if np.array_equal(found, self.starts[a]):
            return set()
        self.starts[a] = found
        down = {self.wiring.takers[out.channel][0] for out in self.actors[a].outputs}
        return down | {self.wiring.makers[put.channel][0] for put in self.actors[a].inputs}

    def _apart(self, starts: Cycles, ramp: Cycles) -> Cycles:
        """One firing a cycle, the first one of the next frame after the last one of this."""
        while True:
            starts = np.maximum.accumulate(starts - ramp) + ramp
            if starts[-1] - starts[0] < self.period:
                return starts
            starts[0] = starts[-1] + 1 - self.period
