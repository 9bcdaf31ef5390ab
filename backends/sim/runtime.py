"""What every simulator does besides its own arithmetic: read tensors, run in chunks, report, draw waves.

The emitter copies this file, without its imports, to the end of each `sim.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from irc.dataflow.law import DeadlockError, Network, Schedule, solve

Array: TypeAlias = npt.NDArray[Any]


def upto(count: int) -> npt.NDArray[np.int64]:
    """1, 2, ... count: one more token with each firing."""
    return np.arange(1, count + 1, dtype=np.int64)


PORT_ROUNDING: Mapping[str, Callable[[Array], Array]] = {
    "half_even": np.rint, "half_odd": lambda x: np.rint(x + 1) - 1, "floor": np.floor, "ceil": np.ceil}


@dataclass(frozen=True)
class Port:
    """An input or output: on the chip a stream of integers, for the user a tensor with `real = scale * (q - zero)`.

    The stream carries the tensor's elements with the axes in the given `order`.
    """

    name: str
    channel: str
    least: int
    most: int
    positions: int
    elements: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    scale: tuple[float, ...] = ()  # empty: the user sees the integers
    zero: float = 0
    axis: int = 1
    rounding: str = "half_even"

    def scales(self) -> Array:
        """Scale in a shape that broadcasts against the tensor."""
        single = len(self.scale) == 1
        return np.reshape(self.scale, [-1 if a == self.axis and not single else 1 for a in range(len(self.shape))])

    def values(self, tensor: Array, raw: bool = False) -> Array:
        """The user's tensor [samples, ...] as integers [samples, positions, elements]: quantized, unless it is `raw`
        integers already."""
        if tensor.size % int(np.prod(self.shape)):
            sys.exit(f"error: input {self.name} has shape {tensor.shape}, not (samples, {str(self.shape)[1:]}")
        shaped = tensor.reshape(-1, *self.shape)
        if self.scale and not raw:
            if not np.isfinite(shaped).all():
                sys.exit(f"error: input {self.name} holds NaN or infinity")
            shaped = np.clip(PORT_ROUNDING[self.rounding](shaped / self.scales()) + self.zero, self.least, self.most)
        integers = shaped.astype(np.int64)
        if (integers != shaped).any() or integers.min() < self.least or integers.max() > self.most:
            sys.exit(f"error: input {self.name} takes integers in [{self.least}, {self.most}]")
        moved = integers.transpose(0, *(axis + 1 for axis in self.order))
        return moved.reshape(len(integers), self.positions, self.elements)

    def tensor(self, values: Array, raw: bool = False) -> Array:
        """The inverse: reals where the port has a scale, unless `raw` integers are wanted."""
        sent = values.reshape(-1, *(self.shape[axis] for axis in self.order))
        integers = sent.transpose(0, *(int(axis) + 1 for axis in np.argsort(self.order)))
        shown = (integers - self.zero) * self.scales() if self.scale and not raw else integers
        return shown.reshape(len(shown), *self.shape[1:]) if self.shape[:1] == (1,) else shown


@dataclass(frozen=True)
class Design:
    """A network: `compute` maps value arrays of the inputs to those of the outputs, `chunk` samples at a time."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    compute: Callable[..., tuple[Array, ...]]
    network: Network
    chunk: int


def evaluate(design: Design, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Integers [samples, positions, elements] of every output port, from those of the input ports."""
    count = min(len(values) for values in feeds.values())
    parts = [design.compute(*(feeds[port.name][at : at + design.chunk] for port in design.inputs))
             for at in range(0, count, design.chunk)]
    names = [port.name for port in design.outputs]
    return {name: np.concatenate(part) for name, part in zip(names, zip(*parts, strict=True), strict=True)}


def read_inputs(design: Design, path: Path, raw: bool) -> dict[str, Array]:
    """Value arrays of all inputs, from an .npy file (one input) or an .npz file with arrays named like the inputs."""
    try:
        found = np.load(path)
    except (OSError, ValueError) as problem:
        sys.exit(f"error: {path}: {problem}")
    tensors = {design.inputs[0].name: found} if isinstance(found, np.ndarray) else dict(found)
    missing = [port.name for port in design.inputs if port.name not in tensors]
    if missing:
        sys.exit(f"error: {path} has no array for input {', '.join(missing)}; it has {', '.join(tensors)}")
    return {port.name: port.values(tensors[port.name], raw) for port in design.inputs}


def write_outputs(design: Design, results: Mapping[str, Array], path: Path, raw: bool) -> None:
    """Tensors of all outputs: .npz, or .npy when there is one."""
    tensors = {port.name: port.tensor(results[port.name], raw) for port in design.outputs}
    if path.suffix == ".npy" and len(tensors) == 1:
        np.save(path, next(iter(tensors.values())))
    else:
        np.savez(path, allow_pickle=False, **tensors)


def summary(design: Design, schedule: Schedule) -> dict[str, Any]:
    """Timing in numbers, ready for JSON."""
    interval = schedule.interval
    exact = interval.numerator if interval.denominator == 1 else float(interval)
    return {"design": design.name, "frames": schedule.frames, "cycles": schedule.cycles, "latency": schedule.latency,
            "interval": exact, "utilisation": {a: round(u, 6) for a, u in schedule.utilisation.items()}}


def report(facts: Mapping[str, Any]) -> str:
    """The summary for people: busiest actors first."""
    busiest = sorted(facts["utilisation"].items(), key=lambda item: -float(item[1]))
    return "\n".join((
        f"{facts['design']}: {facts['frames']} frames in {facts['cycles']} cycles",
        f"  latency of the first frame  {facts['latency']} cycles",
        f"  initiation interval         {facts['interval']} cycles a frame",
        *(f"  {used:7.2%}  {actor}" for actor, used in busiest)))


def square_wave(active: Array, mark: str) -> tuple[Array, Array]:
    """Times and lines of a one-bit signal that is high in the `active` cycles."""
    cycles = np.unique(active)
    rises, falls = np.setdiff1d(cycles, cycles + 1), np.setdiff1d(cycles + 1, cycles)
    lines = np.repeat([f"1{mark}", f"0{mark}"], [len(rises), len(falls)])
    return np.concatenate((rises, falls)), lines


def count_wave(arrivals: Array, departures: Array, mark: str) -> tuple[Array, Array]:
    """Times and lines of the number of tokens in a FIFO, seen one cycle after each push and pop."""
    times = np.unique(np.concatenate((arrivals, departures))) + 1
    held = np.searchsorted(arrivals, times) - np.searchsorted(departures, times)
    return times, np.array([f"b{n:b} {mark}" for n in held.tolist()])


def write_vcd(design: Design, schedule: Schedule, path: Path, frames: int) -> None:
    """Waves of the first frames: for each channel a push, a pop and how many tokens it holds. One cycle is 1 ns."""
    header = ["$timescale 1ns $end", f"$scope module {''.join(design.name.split())} $end"]
    initial, times, lines = [], [], []
    for k, channel in enumerate(design.network.channels):
        push, pop, held = (vcd_mark(3 * k + n) for n in range(3))
        header += [f"$scope module {''.join(channel.name.split())} $end", f"$var wire 1 {push} push $end",
                   f"$var wire 1 {pop} pop $end", f"$var wire {channel.depth.bit_length()} {held} count $end",
                   "$upscope $end"]
        initial += [f"0{push}", f"0{pop}", f"b0 {held}"]
        arrivals, departures = schedule.handshakes(channel.name, frames)
        waves = square_wave(arrivals, push), square_wave(departures, pop), count_wave(arrivals, departures, held)
        times += [when for when, _ in waves]
        lines += [what for _, what in waves]
    header += ["$upscope $end", "$enddefinitions $end", "$dumpvars", *initial, "$end"]
    path.write_text("\n".join([*header, *in_time(np.concatenate(times), np.concatenate(lines))]) + "\n")


def in_time(times: Array, lines: Array) -> list[str]:
    """Value changes in order, with a `#time` line before each new time."""
    order = np.argsort(times, kind="stable")
    moments, first = np.unique(times[order], return_index=True)
    stamped: list[str] = np.insert(lines[order].astype(object), first, [f"#{t}" for t in moments.tolist()]).tolist()
    return stamped


def vcd_mark(number: int) -> str:
    """The short name of a signal in a VCD file: digits of base 94, all printable."""
    digits = chr(33 + number % 94)
    return digits if number < 94 else vcd_mark(number // 94 - 1) + digits


def parse_arguments(design: Design, arguments: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join(port.name for port in design.inputs).replace("%", "%%")
    parser = argparse.ArgumentParser(description="Cycle-exact simulator of a neural network on chip.")
    parser.add_argument("--input", type=Path, metavar="FILE", help="samples, .npy or .npz with arrays named like the "
                        f"inputs ({names}), values as the original network takes them")
    parser.add_argument("--raw", action="store_true", help="input and output are the integers of the hardware")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results to this .npy or .npz file")
    parser.add_argument("--frames", type=int, metavar="N", help="frames to time; default: the samples, or 100")
    parser.add_argument("--vcd", type=Path, metavar="FILE", help="write waves of the handshakes on all channels")
    parser.add_argument("--vcd-frames", type=int, default=2, metavar="N", help="frames in the waves (default 2)")
    parser.add_argument("--report", action="store_true", help="print latency, interval and utilisation")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parsed = parser.parse_args(arguments)
    if parsed.output and not parsed.input:
        parser.error("--output needs --input")
    if any(n is not None and n < 1 for n in (parsed.frames, parsed.vcd_frames)):
        parser.error("numbers of frames are at least 1")
    return parsed


def main(design: Design, arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    wanted = parse_arguments(design, arguments)
    samples = 100
    if wanted.input:
        feeds = read_inputs(design, wanted.input, wanted.raw)
        samples = min(len(values) for values in feeds.values())
        results = evaluate(design, feeds)
        if wanted.output:
            write_outputs(design, results, wanted.output, wanted.raw)
    try:
        schedule = solve(design.network, wanted.frames or samples)
    except DeadlockError as stuck:
        sys.exit(f"error: {stuck}")
    if wanted.vcd:
        write_vcd(design, schedule, wanted.vcd, wanted.vcd_frames)
    facts = summary(design, schedule)
    if wanted.json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    elif wanted.report or not (wanted.output or wanted.vcd):
        sys.stdout.write(report(facts) + "\n")
