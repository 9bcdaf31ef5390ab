"""The window actor: affine counters walk over a line buffer; see irc.ops.window for what it reads and gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backends.verilog.actors import Emitted, emits
from backends.verilog.datapath import extended
from backends.verilog.module import Module, literal, span
from backends.verilog.shell import (
    ALWAYS,
    Site,
    both,
    count_bits,
    countdown,
    delay_bit,
    fire,
    joined,
    open_outputs,
    state,
)
from irc.ops.window import Window
from irc.types import IntArray, StreamType, smallest_integer


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop of the walk, innermost first: its trip count and what a step adds to token, row and column."""

    name: str
    count: int
    token: int = 0
    row: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Tap:
    """One read port: its distance from the first tap of the group in tokens, rows and columns."""

    token: int
    row: int
    column: int


def loops(op: Window, blocks: int) -> list[Loop]:
    """The loop nest of a frame, innermost first; loops of one trip are left out."""
    rows, columns = op.output_size
    across = max(1, op.kernel[1] // op.taps)
    down = op.kernel[0] if op.taps <= op.kernel[1] else op.kernel[0] * op.kernel[1] // op.taps
    wide, high = min(op.taps, op.kernel[1]), max(1, op.taps // op.kernel[1])
    line = op.size[1] * blocks
    kx = Loop("kx", across, wide * op.dilations[1] * blocks, 0, wide * op.dilations[1])
    ky = Loop("ky", down, high * op.dilations[0] * line, high * op.dilations[0])
    block, again = Loop("block", blocks, 1), Loop("again", op.repeat)
    inner = [kx, ky, block] if op.block else [block, kx, ky, again]
    outer = [Loop("ox", columns, op.strides[1] * blocks, 0, op.strides[1]),
             Loop("oy", rows, op.strides[0] * line, op.strides[0])]
    return [loop for loop in inner + outer if loop.count > 1]


def buffer_bits(x: StreamType) -> int:
    """Address bits of the line buffer: one word more than its depth, because a slot may be written while the token
    that just gave it back is still being read."""
    return count_bits(x.depth + 1)


def read_ports(op: Window, blocks: int) -> list[Tap]:
    """The taps of one group, in the order of their lanes."""
    taps = [(t // op.kernel[1] * op.dilations[0], t % op.kernel[1] * op.dilations[1]) for t in range(op.taps)]
    return [Tap((r * op.size[1] + c) * blocks, r, c) for r, c in taps]


@emits(Window)
def window(site: Site, op: Window) -> Emitted:
    """Counters, the read address and the lead over the input: all registers of the firing to come."""
    x = site.inputs[0]
    blocks, ports = op.channels // x.lanes, read_ports(op, op.channels // x.lanes)
    nest = loops(op, blocks)
    bits = buffer_bits(x)
    m = Module(site.module, (f"windows {list(op.kernel)} of {list(op.size)} x {op.channels}, {op.taps} taps a token",))
    m.input("x0_push")
    m.output("x0_release", x.depth.bit_length())
    m.output("x0_address", len(ports) * bits)
    m.input("x0_data", len(ports) * x.width)
    open_outputs(site, m)
    steps = _counters(m, nest)
    inside = _inside(m, op, nest, steps, ports)
    start = -(op.pads[0] * op.size[1] + op.pads[1]) * blocks
    m.body.append("// where the first tap of the next firing stands in the line buffer")
    _affine(m, "head", nest, steps, [loop.token for loop in nest], (start, start + x.tokens), bits)
    for j, port in enumerate(ports):
        m.body.append(f"reg {span(bits)}address{j};")
        m.free.append(f"address{j} <= head + {literal(port.token, bits)};" if port.token % (1 << bits) else
                      f"address{j} <= head;")
    m.assign("x0_address", joined([f"address{j}" for j in range(len(ports))]))
    pace = _token_pace(m, x, nest, steps) if op.is_buffer else _pixel_pace(m, x, op, blocks, nest, steps)
    _lead(m, x, *pace)
    fire(site, m, f"!lead[{x.depth.bit_length() + 1}]")
    _outputs(m, site, op, ports, inside)
    return m, {}


def _counters(m: Module, nest: Sequence[Loop]) -> list[str]:
    """Counters of all loops, running down so that the sign bit tells the last turn. Returns for each loop the condition
    under which it steps, and last that a frame ends (`go` apart)."""
    conditions = ["1'b1"]
    for loop in nest:
        last = countdown(m, loop.name, loop.count, both("go", conditions[-1]))
        conditions.append(both(conditions[-1], last))
    return [c if c == "1'b1" or "&&" not in c else m.wire(f"ends{k}", 1, c) for k, c in enumerate(conditions)]


def _affine(m: Module, name: str, nest: Sequence[Loop], steps: Sequence[str], weights: Sequence[int],
            starts: tuple[int, int], bits: int) -> None:
    """A register: start plus weighted loop counters, modulo 2^bits; `starts` are those of this frame and the next."""
    wound, lines = 0, []
    for step, loop, weight in zip(steps, nest, weights, strict=False):
        lines.append((step, weight - wound))
        wound += weight * (loop.count - 1)
    lines.append((steps[-1], starts[1] - starts[0] - wound))
    m.reg(name, bits, literal(starts[0], bits))
    m.clocked.append("if (go) begin")
    for turn, (condition, by) in enumerate(reversed(lines)):
        act = f"{name} <= {name} + {literal(by, bits)};" if by % (1 << bits) else ";"
        m.clocked.append(f"    {'else ' if turn else ''}{'' if condition == ALWAYS else f'if ({condition}) '}{act}")
        if condition == ALWAYS:
            break
    m.clocked.append("end")


def _inside(m: Module, op: Window, nest: Sequence[Loop], steps: Sequence[str], ports: Sequence[Tap]) -> list[str]:
    """For each port, the signal that says it reads the map and not the padding."""
    rows = _bounded(m, "row", op, 0, nest, steps, sorted({p.row for p in ports}))
    columns = _bounded(m, "column", op, 1, nest, steps, sorted({p.column for p in ports}))
    return [both(rows[p.row], columns[p.column]) for p in ports]


def _bounded(m: Module, name: str, op: Window, axis: int, nest: Sequence[Loop], steps: Sequence[str],
             offsets: Sequence[int]) -> dict[int, str]:
    """For each tap offset along an axis, whether the coordinate is on the map; always, without padding."""
    size, start = op.size[axis], -op.pads[axis]
    weights = [loop.column if axis else loop.row for loop in nest]
    reach = start + sum(w * (loop.count - 1) for w, loop in zip(weights, nest, strict=True))
    if start >= 0 and reach + max(offsets) < size:
        return dict.fromkeys(offsets, ALWAYS)
    bits = smallest_integer(min(start, -1), max(reach, size) + max(offsets)).bits
    _affine(m, name, nest, steps, weights, (start, start), bits)
    found = {}
    for offset in offsets:
        tests = [f"$signed({name}) >= {_signed(-offset, bits)}"] if start + offset < 0 else []
        tests += [f"$signed({name}) <= {_signed(size - 1 - offset, bits)}"] if reach + offset >= size else []
        found[offset] = m.wire(f"{name}_in{offset}", 1, both(*tests)) if tests else ALWAYS
    return found


def _signed(value: int, bits: int) -> str:
    return f"-{bits}'sd{-value}" if value < 0 else f"{bits}'sd{value}"


def _token_pace(m: Module, x: StreamType, nest: Sequence[Loop], steps: Sequence[str]) -> tuple[str, str, int]:
    """A re-reading buffer: the first pass needs one token more a firing, the last pass gives one back a firing. Returns
    what is given back, what the next firing needs more, and the first need."""
    again = next((loop for loop in nest if loop.name == "again"), None)
    if again is None:
        return "go", "go", 1
    inner = steps[nest.index(again)]
    first = f"again == {state(again.count, 0)}"
    # within the first pass every step but its last reads a new token; so does the step to the next position
    ends = both("again_last", inner)
    more = f"go && (({first} && !({inner})) || ({ends}))"
    return "go && again_last", more, 1


def _pixel_pace(m: Module, x: StreamType, op: Window, blocks: int, nest: Sequence[Loop],
                steps: Sequence[str]) -> tuple[str, str, int]:
    """Windows with extent: needs and slots given back change when a pixel ends."""
    needs, releases = op.pixel_needs(blocks), op.pixel_releases(blocks)
    inner = sum(loop.name not in ("ox", "oy") for loop in nest)
    ends = m.wire("pixel_ends", 1, both("go", steps[inner]))
    bits = x.depth.bit_length()
    m.body.append("// slots given back, and tokens needed more, when a pixel ends")
    back = _table(m, "amount", op, np.diff(releases, prepend=0), bits)
    more = _table(m, "more", op, np.diff(needs, append=needs[-1] + needs[0]), bits)
    zero = literal(0, bits)
    return f"{ends} ? {back} : {zero}", f"{ends} ? {more} : {zero}", int(needs[0])


def _lead(m: Module, x: StreamType, back: str, more: str, first: int) -> None:
    """How many tokens beyond the need of the next firing have arrived; negative: it has to wait."""
    bits, wide = x.depth.bit_length(), x.depth.bit_length() + 2
    step = 1 if more.startswith("go") else bits
    m.wire("more_now", step, more)
    m.body.append("// tokens that have arrived beyond the need of the next firing; negative: it waits")
    m.reg("lead", wide, literal(-first, wide))
    arrived, taken = extended("x0_push", 1, False, wide), extended("more_now", step, False, wide)
    m.clocked.append(f"lead <= lead + {arrived} - {taken};")
    m.wire("back_now", step, back)
    m.assign("x0_release", extended("back_now", step, False, bits))


def _table(m: Module, name: str, op: Window, values: IntArray, bits: int) -> str:
    """A value for each output pixel: a default, and the few rows and columns that differ from it."""
    if len(np.unique(values)) == 1:
        return literal(int(values[0]), bits)
    rows, columns = op.output_size
    table = [tuple(row) for row in values.reshape(rows, columns).tolist()]
    usual = Counter(table).most_common(1)[0][0]
    m.body += [f"reg {span(bits)}{name};", "always @(*) begin", *_table_row(name, usual, bits, "    ")]
    for pattern in dict.fromkeys(table):
        if pattern != usual:
            test = " || ".join(f"oy == {state(rows, y)}" for y, row in enumerate(table) if row == pattern)
            m.body += [f"    if ({test}) begin", *_table_row(name, pattern, bits, "        "), "    end"]
    m.body.append("end")
    return name


def _table_row(name: str, row: tuple[int, ...], bits: int, indent: str) -> list[str]:
    usual = Counter(row).most_common(1)[0][0]
    return [f"{indent}{name} = {literal(usual, bits)};",
            *(f"{indent}if (ox == {state(len(row), x)}) {name} = {literal(v, bits)};"
              for x, v in enumerate(row) if v != usual)]


def _outputs(m: Module, site: Site, op: Window, ports: Sequence[Tap], inside: Sequence[str]) -> None:
    """Pick the padding value where a tap was outside, one register before the push."""
    x, y = site.inputs[0], site.outputs[0]
    lane = literal(op.pad_value, x.format.bits)
    padding = f"{{{x.lanes}{{{lane}}}}}" if x.lanes > 1 else lane
    delayed: dict[str, str] = {}
    parts = []
    for j, inner in enumerate(inside):
        word = f"x0_data[{(j + 1) * x.width - 1}:{j * x.width}]" if len(ports) * x.width > 1 else "x0_data"
        if inner != ALWAYS:
            late = delayed.setdefault(inner, "")
            if not late:
                late = delayed[inner] = delay_bit(m, inner, 3, f"inside{j}_z")
            word = f"({late} ? {word} : {padding})"
        parts.append(word)
    m.body.append(f"reg {span(y.width)}tapped;")
    m.free.append(f"tapped <= {joined(parts)};")
    m.assign("y0_data", "tapped")
