"""The window actor: affine counters walk over a line buffer; see irc.ops.window for what it reads and gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backends.verilog.actors import Emitted, emits
from backends.verilog.datapath import extended
from backends.verilog.module import Module, literal, span
from backends.verilog.shell import Site, both, count_bits, counter, delay_bit, fire, joined, open_outputs
from irc.ops.window import Window
from irc.types import StreamType, smallest_integer


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


def read_ports(op: Window, blocks: int) -> list[Tap]:
    """The taps of one group, in the order of their lanes."""
    taps = [(t // op.kernel[1] * op.dilations[0], t % op.kernel[1] * op.dilations[1]) for t in range(op.taps)]
    return [Tap((r * op.size[1] + c) * blocks, r, c) for r, c in taps]


@emits(Window)
def window(site: Site, op: Window) -> Emitted:
    """Counters and affine registers for the next firing; ready when every tap it reads has arrived."""
    x = site.inputs[0]
    blocks, ports = op.channels // x.lanes, read_ports(op, op.channels // x.lanes)
    nest = loops(op, blocks)
    bits = count_bits(max(x.depth, 2))
    m = Module(site.module, (f"windows {list(op.kernel)} of {list(op.size)} x {op.channels}, {op.taps} taps a token",))
    m.lossy = True
    m.input("x0_push")
    m.output("x0_release", x.depth.bit_length())
    m.output("x0_address", len(ports) * bits)
    m.input("x0_data", len(ports) * x.width)
    open_outputs(site, m)
    steps = _counters(m, nest)
    start = -op.pads[0] * op.size[1] - op.pads[1]
    signed = _affine(m, "token", nest, steps, [loop.token for loop in nest], start * blocks)
    inside = _inside(m, op, nest, steps, ports)
    _arrivals(m, site, x.tokens, ports, inside, steps, signed, bits)
    _give_back(m, site, op, nest, steps)
    fire(site, m, "ready")
    _outputs(m, site, op, ports, inside)
    return m, {}


def _counters(m: Module, nest: Sequence[Loop]) -> list[str]:
    """Counters of all loops; returns for each loop the condition under which it steps, and last that a frame ends."""
    conditions = ["1'b1"]
    for loop in nest:
        last = counter(m, loop.name, loop.count, both("go", conditions[-1]))
        conditions.append(both(conditions[-1], last))
    names = []
    for k, condition in enumerate(conditions):
        names.append(condition if condition == "1'b1" else m.wire(f"ends{k}", 1, condition))
    return names


def _affine(m: Module, name: str, nest: Sequence[Loop], steps: Sequence[str], weights: Sequence[int],
            start: int) -> tuple[int, bool]:
    """A register that is `start` plus the weighted loop counters; returns its width and whether it is signed."""
    low = start + sum(min(0, w * (loop.count - 1)) for w, loop in zip(weights, nest, strict=True))
    high = start + sum(max(0, w * (loop.count - 1)) for w, loop in zip(weights, nest, strict=True))
    form = smallest_integer(low, high)
    m.reg(name, form.bits, literal(start, form.bits))
    wound, lines = 0, []
    for k, (loop, weight) in enumerate(zip(nest, weights, strict=True)):
        if weight - wound:
            lines.append((steps[k], k, f"{name} <= {name} + {literal(weight - wound, form.bits)};"))
        else:
            lines.append((steps[k], k, ""))
        wound += weight * (loop.count - 1)
    m.clocked.append("if (go) begin")
    m.clocked.append(f"    if ({steps[-1]}) {name} <= {literal(start, form.bits)};")
    for condition, _, line in reversed(lines):
        m.clocked.append(f"    else if ({condition}) {line or ';'}" if condition != "1'b1" else f"    else {line or ';'}")
    m.clocked.append("end")
    return form.bits, form.signed


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
        return dict.fromkeys(offsets, "1'b1")
    bits, signed = _affine(m, name, nest, steps, weights, start)
    found = {}
    for offset in offsets:
        tests = []
        if start + offset < 0:
            wide = smallest_integer(start, max(-offset, 0)).bits
            wide = max(wide, bits if signed else bits + 1)
            tests.append(f"$signed({extended(name, bits, signed, wide)}) >= -{wide}'sd{offset}" if offset else
                         f"!{name}" + (f"[{bits - 1}]" if bits > 1 else "") if signed else "1'b1")
        if reach + offset >= size:
            limit = size - 1 - offset
            wide = max(smallest_integer(min(limit, -1), max(limit, 0)).bits, bits + (not signed))
            sign = "-" if limit < 0 else ""
            tests.append(f"$signed({extended(name, bits, signed, wide)}) <= {sign}{wide}'sd{abs(limit)}")
        joined_tests = both(*tests)
        found[offset] = joined_tests if joined_tests == "1'b1" else m.wire(
            f"{name}_in{offset}", 1, joined_tests)
    return found


def _arrivals(m: Module, site: Site, tokens: int, ports: Sequence[Tap], inside: Sequence[str], steps: Sequence[str],
              token: tuple[int, bool], bits: int) -> None:
    """Count the tokens of this frame that have arrived; compare with every tap; address the line buffer."""
    count = (tokens + site.inputs[0].depth).bit_length()
    m.reg("arrived", count, literal(0, count))
    m.reg("base", bits, literal(0, bits))
    m.wire("frame", 1, both("go", steps[-1]))
    m.clocked.append(f"arrived <= arrived + {_one_bit('x0_push', count)} - "
                     f"(frame ? {literal(tokens, count)} : {literal(0, count)});")
    m.clocked.append(f"if (frame) base <= base + {literal(tokens, bits)};")
    wide = max(token[0], count) + 1  # a sign bit for both
    here = extended("token", *token, wide)
    tests, addresses = [], []
    for j, (port, inner) in enumerate(zip(ports, inside, strict=True)):
        at = m.wire(f"at{j}", wide, f"{here} + {literal(port.token, wide)}" if port.token else here)
        arrived = f"{at} < {extended('arrived', count, False, wide)}"
        tests.append(arrived if inner == "1'b1" else f"(!({inner}) || {arrived})")
        addresses.append(m.wire(f"address{j}", bits, f"base + {at}[{bits - 1}:0]"))
    m.wire("all_in", 1, f"arrived >= {literal(tokens, count)}")
    m.wire("taps_in", 1, " && ".join(dict.fromkeys(tests)))
    m.assign("x0_address", joined(addresses))


def _one_bit(name: str, to: int) -> str:
    return f"{{{to - 1}'d0, {name}}}" if to > 1 else name


def _give_back(m: Module, site: Site, op: Window, nest: Sequence[Loop], steps: Sequence[str]) -> None:
    """Slots given back at the end of each output pixel, and when a firing is ready: its taps have arrived, at the end
    of a frame all tokens have, and where a pixel gives back tokens beyond its own window, those have too."""
    x = site.inputs[0]
    rows, columns = op.output_size
    walk = op.walk(x.lanes)
    amounts = np.diff(op.given_back(op.channels // x.lanes), prepend=0).reshape(rows, columns)
    bits = x.depth.bit_length()
    wide = max(int(amounts.max()).bit_length(), bits)
    if len(set(amounts.ravel().tolist())) == 1:
        m.wire("amount", wide, literal(int(amounts[0, 0]), wide))
    else:
        _amount_table(m, [tuple(row) for row in amounts.tolist()], wide)
    inner = sum(loop.name not in ("ox", "oy") for loop in nest)
    m.assign("x0_release", f"({both('go', steps[inner])}) ? {extended('amount', wide, False, bits)} : {literal(0, bits)}")
    beyond = bool((walk.releases > walk.token.max(axis=1) + 1)[:-1].any())
    pixel_in = _pixel_in(m, x, steps[inner], wide) if beyond else "1'b1"
    m.wire("ready", 1, f"{steps[-1]} ? all_in : {both('taps_in', pixel_in)}")


def _pixel_in(m: Module, x: StreamType, pixel_ends: str, wide: int) -> str:
    """Whether the tokens that the pixel gives back have arrived."""
    count = (x.tokens + x.depth).bit_length()
    m.reg("given", count, literal(0, count))
    total = m.wire("give", count, f"given + {extended('amount', wide, False, count)}")
    m.clocked.append(f"if (frame) given <= {literal(0, count)}; else if ({both('go', pixel_ends)}) given <= {total};")
    return f"(!({pixel_ends}) || arrived >= {total})"


def _amount_table(m: Module, table: Sequence[tuple[int, ...]], bits: int) -> None:
    usual = Counter(table).most_common(1)[0][0]
    m.body.append(f"reg {span(bits)}amount;")
    m.body.append("always @(*) begin")
    m.body += _amount_row(usual, bits, "    ")
    odd = {pattern: [y for y, row in enumerate(table) if row == pattern] for pattern in dict.fromkeys(table)}
    selector = count_bits(len(table))
    for pattern, where in odd.items():
        if pattern != usual:
            test = " || ".join(f"oy == {literal(y, selector)}" for y in where)
            m.body += [f"    if ({test}) begin", *_amount_row(pattern, bits, "        "), "    end"]
    m.body.append("end")


def _amount_row(row: tuple[int, ...], bits: int, indent: str) -> list[str]:
    usual = Counter(row).most_common(1)[0][0]
    selector = count_bits(len(row))
    lines = [f"{indent}amount = {literal(usual, bits)};"]
    return lines + [f"{indent}if (ox == {literal(x, selector)}) amount = {literal(v, bits)};"
                    for x, v in enumerate(row) if v != usual]


def _outputs(m: Module, site: Site, op: Window, ports: Sequence[Tap], inside: Sequence[str]) -> None:
    """Pick the padding value where a tap was outside, one register before the push."""
    x, y = site.inputs[0], site.outputs[0]
    lane = literal(op.pad_value, x.format.bits)
    padding = f"{{{x.lanes}{{{lane}}}}}" if x.lanes > 1 else lane
    delayed: dict[str, str] = {}
    parts = []
    for j, inner in enumerate(inside):
        word = f"x0_data[{(j + 1) * x.width - 1}:{j * x.width}]" if len(ports) * x.width > 1 else "x0_data"
        if inner != "1'b1":
            late = delayed.setdefault(inner, "")
            if not late:
                late = delayed[inner] = delay_bit(m, inner, 1, f"inside{j}_z")
            word = f"({late} ? {word} : {padding})"
        parts.append(word)
    m.body.append(f"reg {span(y.width)}tapped;")
    m.free.append(f"tapped <= {joined(parts)};")
    m.assign("y0_data", "tapped")
