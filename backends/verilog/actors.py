"""One emitter an actor. Each returns its module's text and the memory files it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from backends.verilog.datapath import Pipeline, extended
from backends.verilog.module import Module, literal, span
from backends.verilog.shell import (
    ALWAYS,
    Site,
    both,
    count_bits,
    countdown,
    counter,
    delay_bit,
    delay_word,
    fire,
    held_rom,
    joined,
    lanes,
    open_module,
    rom,
    state,
)
from irc.actor import Actor
from irc.expression import Expression, encode_powers, variable
from irc.ops.matvec import MatVec
from irc.ops.routing import Fork, StreamConcat, Width
from irc.ops.stream_map import Map, MapAdd, MapClip, MapScale, MapThreshold
from irc.ops.stream_reduce import Embed, Reduce, StreamArgMax
from irc.rom import is_banked
from irc.types import Array, IntArray, Integer, PowerOfTwo

A = TypeVar("A", bound=Actor)
Emitted = tuple[Module, dict[str, str]]
EMITTERS: dict[type[Actor], Callable[[Site, Any], Emitted]] = {}


def emits(*kinds: type[A]) -> Callable[[Callable[[Site, A], Emitted]], Callable[[Site, A], Emitted]]:
    """Enter the emitter of one actor."""

    def enter(emitter: Callable[[Site, A], Emitted]) -> Callable[[Site, A], Emitted]:
        EMITTERS.update(dict.fromkeys(kinds, emitter))
        return emitter

    return enter


def stored(values: Array, form: Integer | PowerOfTwo) -> IntArray:
    """What the ROM holds: integers, or the codes of a power-of-two format."""
    return np.asarray(encode_powers(values, form) if isinstance(form, PowerOfTwo) else values, np.int64)


@emits(MatVec)
def matvec(site: Site, op: MatVec) -> Emitted:
    """Column groups inside row groups; partial sums in one accumulator a row."""
    x, y, weight = site.inputs[0], site.outputs[0], site.roms[0]
    (rows, columns), form = weight.type.shape, cast(Integer | PowerOfTwo, weight.type.format)
    folds, groups = columns // x.lanes, rows // op.pe
    m = open_module(site, [f"matrix [{rows}, {columns}] times vector, pe={op.pe} simd={x.lanes}"])
    last = countdown(m, "column", folds, "go")
    fire(site, m, "x0_valid", last)
    m.assign("x0_pop", "go")
    dots = op.dots(x, weight)
    signals, files = _matvec_operands(site, m, op, folds, groups, form)
    pipe = Pipeline(m, dots, signals)
    if folds > 1:
        sums = accumulated(m, pipe, op.read_latency(x, weight), y.format, folds)
    else:
        sums = resized(m, pipe, dots, y.format)
    m.assign("y0_data", joined(sums))
    return m, files


def _matvec_operands(site: Site, m: Module, op: MatVec, folds: int, groups: int,
                     form: Integer | PowerOfTwo) -> tuple[dict[str, str], dict[str, str]]:
    """Registers behind the FIFO and the ROM: the lanes of the token and the weights of the firing."""
    x, weight = site.inputs[0], site.roms[0]
    read = op.read_latency(x, weight)
    held = delay_word(m, "x0_data", x.width, read - 1, "x_held")
    signals = {f"x{i}": s for i, s in enumerate(lanes(m, held, "x", x.lanes, x.format.bits))}
    if op.wired:
        return signals, {}
    counter(m, "address", folds * groups, "go")
    table = stored(weight.data, form).reshape(groups, op.pe, folds, x.lanes).transpose(0, 2, 1, 3)
    fields = table.reshape(groups * folds, -1)
    where = "address" if folds * groups > 1 else "1'b0"
    files = held_rom(m, "w_held", site.rom_files[0], fields, [form.bits] * fields.shape[1], where)
    cut = lanes(m, "w_held", "w", fields.shape[1], form.bits)
    signals |= {f"w{p}_{i}": cut[p * x.lanes + i] for p in range(op.pe) for i in range(x.lanes)}
    return signals, files


def accumulated(m: Module, pipe: Pipeline, read: int, form: Integer, folds: int) -> list[str]:
    """One accumulator a row; the first column group of a vector overwrites it."""
    m.wire("first", 1, f"column == {state(folds, 0)}")
    started = delay_bit(m, "go", read + pipe.depth, "started")
    first = delay_bit(m, "first", read + pipe.depth, "first_z")
    sums = []
    for p, (dot, signal) in enumerate(zip(pipe.roots, pipe.results(), strict=True)):
        m.wire(f"dot{p}", dot.bits, signal)
        m.body.append(f"reg {span(form.bits)}sum{p};")
        new = extended(f"dot{p}", dot.bits, dot.signed, form.bits)
        m.free.append(f"if ({started}) sum{p} <= ({first} ? {literal(0, form.bits)} : sum{p}) + {new};")
        m.lossy = m.lossy or dot.bits > form.bits
        sums.append(f"sum{p}")
    return sums


def resized(m: Module, pipe: Pipeline, roots: list[Expression], form: Integer) -> list[str]:
    """Results at the width of the channel, which range analysis may have made narrower than intervals tell."""
    out = []
    for i, (root, signal) in enumerate(zip(roots, pipe.results(), strict=True)):
        m.wire(f"result{i}", root.bits, signal)
        out.append(extended(f"result{i}", root.bits, root.signed, form.bits))
        m.lossy = m.lossy or root.bits > form.bits
    return out


@emits(MapAdd, MapClip, MapScale, MapThreshold)
def element_wise(site: Site, op: Map) -> Emitted:
    """One datapath a lane, its constants from a ROM that walks over the channels."""
    x, y = site.inputs[0], site.outputs[0]
    m = open_module(site, [f"{op.name}, {x.lanes} lanes of {op.channels} channels"])
    m.lossy = True
    fire(site, m, "x0_valid")
    m.assign("x0_pop", "go")
    roots = op.lanes(x, site.roms)
    signals = {f"x{i}": s for i, s in enumerate(lanes(m, "x0_data", "x", x.lanes, x.format.bits))}
    files: dict[str, str] = {}
    if any(not op.wired(r, x.lanes) for r in site.roms):
        counter(m, "block", op.channels // x.lanes, "go")
    for k, constant in enumerate(site.roms):
        if not op.wired(constant, x.lanes):
            names, fields, bits = _parameters(site, op, k)
            files |= rom(m, f"p{k}_word", site.rom_files[k], fields, bits, "block")
            signals |= _fields(m, f"p{k}_word", names, bits)
    pipe = Pipeline(m, roots, signals)
    m.assign("y0_data", joined(resized(m, pipe, roots, y.format)))
    return m, files


def _parameters(site: Site, op: Map, k: int) -> tuple[list[str], IntArray, list[int]]:
    """Names, ROM contents [blocks, fields] and widths of the constants of operand k, lane by lane."""
    lanes_, constant = site.inputs[0].lanes, site.roms[k]
    form = cast(Integer | PowerOfTwo, constant.type.format)
    table = stored(constant.data, form).reshape(op.channels // lanes_, lanes_, -1)
    names = [f"p{k}_{lane}_{n}" for lane in range(lanes_) for n in range(table.shape[2])]
    if isinstance(form, PowerOfTwo):
        bits = [form.bits] * len(names)
    else:
        flat = table.reshape(len(table), -1)
        bits = [variable("", int(c.min()), int(c.max())).bits for c in flat.T]
    return names, table.reshape(len(table), -1), bits


def _fields(m: Module, word: str, names: list[str], bits: list[int]) -> dict[str, str]:
    at = np.concatenate(([0], np.cumsum(bits))).tolist()
    whole = at[-1] == 1
    return {name: m.wire(name, width, word if whole else f"{word}[{start + width - 1}:{start}]")
            for name, width, start in zip(names, bits, at, strict=False)}


@emits(Reduce)
def reduction(site: Site, op: Reduce) -> Emitted:
    """One running value a channel, kept between the vectors of a group."""
    x, y = site.inputs[0], site.outputs[0]
    blocks = op.channels // x.lanes
    m = open_module(site, [f"{op.function} over {op.taps} vectors of {op.channels} channels"])
    block_last = counter(m, "block", blocks, "go")
    tap_last = countdown(m, "tap", op.taps, both("go", block_last))
    fire(site, m, "x0_valid", tap_last)
    m.assign("x0_pop", "go")
    m.wire("first", 1, ALWAYS if op.taps == 1 else f"tap == {state(op.taps, 0)}")
    first, started = delay_bit(m, "first", 1, "first_z"), delay_bit(m, "go", 1, "started")
    where = ""
    if blocks > 1:
        bits = count_bits(blocks)
        m.body.append(f"reg [{bits - 1}:0] block_z;")
        m.free.append("block_z <= block;")
        where = "[block_z]"
    parts = [_running(m, op, i, name, x.format, y.format, where, blocks, first, started)
             for i, name in enumerate(lanes(m, "x0_data", "x", x.lanes, x.format.bits))]
    m.assign("y0_data", joined(parts))
    return m, {}


def _running(m: Module, op: Reduce, i: int, name: str, have: Integer, form: Integer, where: str, blocks: int,
             first: str, started: str) -> str:
    """Declare the running value of lane i; returns the register that holds the newest result."""
    size = f" [0:{blocks - 1}]" if blocks > 1 else ""
    m.body.append(f"reg {span(form.bits)}best{i}{size};")
    m.wire(f"old{i}", form.bits, f"best{i}{where}")
    new = m.wire(f"new{i}", form.bits, extended(name, have.bits, have.signed, form.bits))
    keep = f"$signed(old{i}) > $signed({new})" if form.signed else f"old{i} > {new}"
    join = f"(!{first} && {keep}) ? old{i} : {new}" if op.function == "max" else (
        f"{first} ? {new} : old{i} + {new}")
    m.wire(f"next{i}", form.bits, join)
    m.free.append(f"if ({started}) best{i}{where} <= next{i};")
    if blocks == 1:
        return f"best{i}"
    m.body.append(f"reg {span(form.bits)}result{i};")
    m.free.append(f"result{i} <= next{i};")
    return f"result{i}"


@emits(StreamArgMax)
def argmax(site: Site, op: StreamArgMax) -> Emitted:
    """Running maximum and the index where it was first seen."""
    x, y = site.inputs[0], site.outputs[0]
    m = open_module(site, [f"index of the first largest of {op.classes}"])
    last = counter(m, "index", op.classes, "go")
    fire(site, m, "x0_valid", last)
    m.assign("x0_pop", "go")
    bits = y.format.bits
    position = "index" if op.classes > 1 else "1'd0"
    m.body += [f"reg {span(bits)}index_z;", f"reg {span(x.width)}best;", f"reg {span(bits)}winner;"]
    started = delay_bit(m, "go", 1, "started")
    larger = "$signed(x0_data) > $signed(best)" if x.format.signed else "x0_data > best"
    m.wire("take", 1, f"index_z == {literal(0, bits)} || {larger}")
    m.free += [f"index_z <= {position};", f"if ({started} && take) best <= x0_data;",
               f"if ({started} && take) winner <= index_z;"]
    m.assign("y0_data", "winner")
    return m, {}


@emits(Embed)
def embed(site: Site, op: Embed) -> Emitted:
    """Row address from the token id by shift-and-add, then the table."""
    x, y, table = site.inputs[0], site.outputs[0], site.roms[0]
    rows, columns = table.type.shape
    blocks, form = columns // op.lanes, cast(Integer, table.type.format)
    m = open_module(site, [f"rows of a table [{rows}, {columns}]"])
    last = counter(m, "block", blocks, "go")
    fire(site, m, "x0_valid")
    m.assign("x0_pop", both("go", last))
    bits = count_bits(rows * blocks)
    address = " + ".join(f"({extended('x0_data', x.width, False, bits)} << {k})"
                         for k in range(blocks.bit_length()) if blocks >> k & 1)
    if blocks > 1:
        m.body.append(f"reg {span(count_bits(blocks))}block_z;")
        m.free.append("block_z <= block;")
        address += f" + {extended('block_z', count_bits(blocks), False, bits)}"
    m.body.append(f"reg {span(bits)}address;")
    m.lossy = True
    m.free.append(f"address <= {address};")
    fields = table.data.reshape(rows * blocks, op.lanes)
    read = held_rom if is_banked(len(fields), y.width) else rom
    m.assign("y0_data", "row")
    return m, read(m, "row", site.rom_files[0], fields, [form.bits] * op.lanes, "address")


@emits(Fork)
def fork(site: Site, op: Fork) -> Emitted:
    """One token to every output in the same cycle."""
    m = open_module(site, [f"one channel to {op.ways}"])
    fire(site, m, "x0_valid")
    m.assign("x0_pop", "go")
    for k in range(op.ways):
        m.assign(f"y{k}_data", "x0_data")
    return m, {}


@emits(StreamConcat)
def concat(site: Site, op: StreamConcat) -> Emitted:
    """Walks over the inputs position by position."""
    lanes_ = site.inputs[0].lanes
    m = open_module(site, [f"channels {list(op.channels)} joined"])
    counts = [c // lanes_ for c in op.channels]
    total = sum(counts)
    counter(m, "turn", total, "go")
    ends = np.cumsum(counts).tolist()
    bits = count_bits(total)
    for k, end in enumerate(ends):
        limits = [f"turn >= {literal(end - counts[k], bits)}"] if k else []
        limits += [f"turn < {literal(end, bits)}"] if k < len(ends) - 1 else []
        m.wire(f"turn{k}", 1, both(*limits))
    ready = " || ".join(f"(turn{k} && x{k}_valid)" for k in range(len(ends)))
    fire(site, m, f"({ready})")
    width = site.inputs[0].width
    m.body.append(f"reg {span(width)}taken;")
    chosen = f"x{len(ends) - 1}_data"
    for k in range(len(ends)):
        m.assign(f"x{k}_pop", f"go && turn{k}")
    for k in reversed(range(len(ends) - 1)):
        chosen = f"{delay_bit(m, f'turn{k}', 1, f'turn{k}_z')} ? x{k}_data : {chosen}"
    m.free.append(f"taken <= {chosen};")
    m.assign("y0_data", "taken")
    return m, {}


@emits(Width)
def width(site: Site, op: Width) -> Emitted:
    """Cuts each token into parts, lowest lanes first, or joins tokens."""
    x, y = site.inputs[0], site.outputs[0]
    m = open_module(site, [f"{x.lanes} lanes a token to {op.lanes}"])
    if x.lanes >= op.lanes:
        parts = x.lanes // op.lanes
        last = counter(m, "part", parts, "go")
        fire(site, m, "x0_valid")
        m.assign("x0_pop", both("go", last))
        m.body.append(f"reg {span(y.width)}piece;")
        m.assign("y0_data", "piece")
        _select_part(m, parts, y.width)
        return m, {}
    parts = op.lanes // x.lanes
    last = counter(m, "part", parts, "go")
    fire(site, m, "x0_valid", last)
    m.assign("x0_pop", "go")
    started = delay_bit(m, "go", 1, "started")
    m.body.append(f"reg {span(y.width)}whole;")
    m.free.append(f"if ({started}) whole <= {{x0_data, whole[{y.width - 1}:{x.width}]}};")
    m.assign("y0_data", "whole")
    m.lossy = True
    return m, {}


def _select_part(m: Module, parts: int, bits: int) -> None:
    """A case statement: an indexed part select would be a product with the part number."""
    if parts == 1:
        m.free.append("piece <= x0_data;")
        return
    selector = count_bits(parts)
    m.body.append(f"reg {span(selector)}part_z;")
    m.free += ["part_z <= part;", "case (part_z)"]
    m.free += [f"    {literal(i, selector)}: piece <= x0_data[{(i + 1) * bits - 1}:{i * bits}];"
               for i in range(parts - 1)]
    m.free += [f"    default: piece <= x0_data[{parts * bits - 1}:{(parts - 1) * bits}];", "endcase"]
