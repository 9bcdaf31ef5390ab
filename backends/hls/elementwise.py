"""Maps: the datapath of one element as a function of its own, called for every lane."""

from __future__ import annotations

from typing import cast

from backends.hls.datapath import expression_type, print_datapath, variables
from backends.hls.site import Code, Site
from backends.hls.statements import PIPELINE, UNROLL, Lines, counter, function, index, loop, partition
from backends.hls.storage import INT32, Rom, computed_type, converted, literal, stored_type, widest
from irc import expression as ex
from irc.graph import Constant
from irc.ops.matvec import weight_variable
from irc.ops.stream_map import Map, MapThreshold
from irc.types import Integer, PowerOfTwo


def emit_map(site: Site) -> Code:
    """One call of the datapath for each element; constants that differ between channels come from their ROM."""
    op = site.node.op
    assert isinstance(op, Map)
    roms = [site.roms[name] for name in site.node.operands[1:]]
    tables = [rom for rom in roms if in_table(rom.constant)]
    form = site.feed.stream.format
    element = ex.variable("a", form.minimum, form.maximum)
    parameters = [_parameter(rom.constant, f"p_{k}") for k, rom in enumerate(roms)]
    formats = [cast(Integer | PowerOfTwo, rom.constant.type.format) for rom in roms]
    root = op.datapath(element, [[p] for p in parameters], formats)
    read = [p for p in parameters if not ex.is_constant(p)]
    sources = [(f"x[{_at(site, op)}]", site.feed.buffer.format),
               *((f"{rom.name}[{_channel(site, op)}]", rom.format) for rom in tables)]
    loads = [f"const {expression_type(e)} {e.name} = {converted(text, stored_type(stored), expression_type(e))};"
             for e, (text, stored) in zip([element, *read], sources, strict=True)]
    call = f"{site.name}_lane({', '.join(e.name for e in [element, *read])})"
    store = site.store(_at(site, op), call, site.outputs[0].type)
    return Code(_each_element(site, op, [*loads, store], tables), _datapath(site, root, [element, *read]))


def in_table(constant: Constant) -> bool:
    """Whether a constant of a map differs between channels; one that does not is part of the datapath."""
    return len(constant.data) > 1


def _parameter(constant: Constant, name: str) -> ex.Expression:
    """A constant operand in the datapath: its value, or a variable of the range that its channels span."""
    if not in_table(constant):
        return ex.constant(int(constant.data.reshape(-1)[0]))
    form = constant.type.format
    if isinstance(form, PowerOfTwo):
        return weight_variable(name, form)
    return ex.variable(name, int(constant.data.min()), int(constant.data.max()))


def _datapath(site: Site, root: ex.Expression, inputs: list[ex.Expression]) -> Lines:
    """The function of one element."""
    result, used = site.outputs[0].type, variables(root)
    lines, (text,) = print_datapath(root)
    parameters = ", ".join(f"{expression_type(e)} {e.name}" for e in inputs)
    unread = [f"(void){e.name};" for e in inputs if e.name not in used]
    body = [*unread, *lines, f"return {converted(text, expression_type(root), result)};"]
    return [*function(f"static {result} {site.name}_lane({parameters})", body), ""]


def _channel(site: Site, op: Map) -> str:
    lanes = site.feed.stream.lanes
    return index((counter("channel", op.channels // lanes), lanes), (counter("lane", lanes), 1))


def _at(site: Site, op: Map) -> str:
    return index((counter("position", site.stream.positions), op.channels), (_channel(site, op), 1))


def _each_element(site: Site, op: Map, body: Lines, tables: list[Rom]) -> Lines:
    """Positions, blocks of channels, lanes. A map without channels to loop over is pipelined over its positions."""
    lanes = site.feed.stream.lanes
    blocks = op.channels // lanes
    inner = loop("channel", blocks, loop("lane", lanes, body, UNROLL), PIPELINE)
    spread = [line for rom in tables for line in partition(rom.name, lanes)]
    return [*spread, *loop("position", site.stream.positions, inner, *([PIPELINE] if blocks == 1 else []))]


def emit_threshold(site: Site) -> Code:
    """Counts the thresholds of the channel that an element reaches."""
    op, rom = site.node.op, site.roms[site.node.operands[1]]
    assert isinstance(op, MapThreshold)
    steps, form = rom.constant.type.size // len(rom.constant.data), site.feed.stream.format
    work = widest(computed_type(form.minimum, form.maximum), computed_type(rom.format.minimum, rom.format.maximum))
    channel = _channel(site, op) if in_table(rom.constant) else "0"
    count = f"level += a >= ({work}){rom.name}[{channel}][{counter('step', steps)}] ? 1 : 0;"
    body = [f"const {work} a = ({work})x[{_at(site, op)}];", f"int32_t level = {literal(op.low)};",
            *loop("step", steps, [count], UNROLL), site.store(_at(site, op), "level", INT32)]
    tables = [f"IRC_PARTITION_ALL({rom.name}, 2)"]
    return Code([*tables, *_each_element(site, op, body, [rom] if in_table(rom.constant) else [])])
