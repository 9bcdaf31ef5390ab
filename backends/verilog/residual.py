"""Modules of residual and depthwise-separable networks: the joining addition, and a dot product for each channel."""

from __future__ import annotations

from typing import cast

from backends.verilog.actors import Emitted, accumulated, emits, resized, stored
from backends.verilog.datapath import Pipeline
from backends.verilog.shell import (
    Site,
    both,
    countdown,
    counter,
    delay_word,
    fire,
    held_rom,
    joined,
    lanes,
    open_module,
)
from irc.ops.depthwise import Depthwise
from irc.ops.stream_add import StreamAdd
from irc.types import Integer, PowerOfTwo


@emits(StreamAdd)
def stream_add(site: Site, op: StreamAdd) -> Emitted:
    """One adder a lane; a token of either channel a cycle."""
    a, b = site.inputs
    m = open_module(site, [f"sum of two channels, {a.lanes} lanes of {op.channels} channels"])
    fire(site, m, both("x0_valid", "x1_valid"))
    signals: dict[str, str] = {}
    for k, (x, name) in enumerate(((a, "a"), (b, "b"))):
        m.assign(f"x{k}_pop", "go")
        fields = lanes(m, f"x{k}_data", name, x.lanes, x.format.bits)
        signals |= {f"{name}{i}": s for i, s in enumerate(fields)}
    roots = op.sums(a, b)
    m.assign("y0_data", joined(resized(m, Pipeline(m, roots, signals), roots, site.outputs[0].format)))
    return m, {}


@emits(Depthwise)
def depthwise(site: Site, op: Depthwise) -> Emitted:
    """Taps inside blocks of channels; one multiplier and one accumulator a lane."""
    x, weight = site.inputs[0], site.roms[0]
    (channels, taps), form = weight.type.shape, cast(Integer | PowerOfTwo, weight.type.format)
    m = open_module(site, [f"windows of {taps} taps, {x.lanes} lanes of {channels} channels"])
    fire(site, m, "x0_valid", countdown(m, "column", taps, "go"))
    m.assign("x0_pop", "go")
    read, words = op.read_latency(x, weight), channels // x.lanes * taps
    held = delay_word(m, "x0_data", x.width, read - 1, "x_held")
    signals = {f"x{i}": s for i, s in enumerate(lanes(m, held, "x", x.lanes, x.format.bits))}
    counter(m, "address", words, "go")
    table = stored(weight.data, form).reshape(-1, x.lanes, taps).transpose(0, 2, 1).reshape(words, x.lanes)
    where = "address" if words > 1 else "1'b0"
    files = held_rom(m, "w_held", site.rom_files[0], table, [form.bits] * x.lanes, where)
    signals |= {f"w{i}": s for i, s in enumerate(lanes(m, "w_held", "w", x.lanes, form.bits))}
    roots = op.products(x, weight)
    pipe, sums = Pipeline(m, roots, signals), site.outputs[0].format
    m.assign("y0_data", joined(accumulated(m, pipe, read, sums, taps) if taps > 1 else resized(m, pipe, roots, sums)))
    return m, files
