"""Matrix-vector products: loops that follow the folding, or a network of constants."""

from __future__ import annotations

import numpy as np

from backends.hls.datapath import expression_type, print_datapath, variables
from backends.hls.site import Code, Site
from backends.hls.statements import PIPELINE, UNROLL, Lines, counter, function, index, loop, partition
from backends.hls.storage import Rom, computed_type, converted, stored_type
from backends.hls.windows import each_position, element, gather, position
from irc import expression as ex
from irc.graph import Constant
from irc.ops.matvec import MatVec, product, weight_variable
from irc.types import Integer, PowerOfTwo


def emit_matvec(site: Site) -> Code:
    op = site.node.op
    assert isinstance(op, MatVec)
    return _wired(site, op) if op.wired else _folded(site, op)


def accumulator_type(x: Integer, weight: Constant) -> str:
    """The type that no partial sum leaves, in whatever order the products are added."""
    ends = np.stack([weight.data.astype(np.float64) * x.minimum, weight.data.astype(np.float64) * x.maximum])
    low, high = np.minimum(ends.min(axis=0), 0).sum(axis=1).min(), np.maximum(ends.max(axis=0), 0).sum(axis=1).max()
    # float64 is exact below 2^53; beyond, one part in 2^40 more is surely enough
    margin = 0 if max(-low, high) < 1 << 53 else 1 + int(max(-low, high)) // (1 << 40)
    return computed_type(int(low) - margin, int(high) + margin, x.minimum, x.maximum)


def _folded(site: Site, op: MatVec) -> Code:
    """Positions, row groups, column groups; PE rows by SIMD columns a trip."""
    rom, stream = site.roms[site.node.operands[1]], site.feed.stream
    rows, columns = rom.constant.type.shape
    groups, folds = rows // op.pe, columns // stream.lanes
    work = accumulator_type(stream.format, rom.constant)
    # the innermost loop that remains is the pipelined one
    level = "fold" if folds > 1 else "group" if groups > 1 else "position"
    row = index((counter("group", groups), op.pe), (counter("unit", op.pe), 1))
    unit = counter("unit", op.pe)
    store = site.store(index((position(site.feed), rows), (row, 1)), f"sum[{unit}]", work)
    body = [f"{work} sum[{op.pe}];", *partition("sum", op.pe)]
    body += loop("unit", op.pe, [f"sum[{unit}] = 0;"], UNROLL)
    body += loop("fold", folds, _products(site, op, work, row), *_when(level == "fold"))
    body += loop("unit", op.pe, [store], UNROLL)
    nest = each_position(site, loop("group", groups, body, *_when(level == "group")), *_when(level == "position"))
    tables = [*partition(rom.name, op.pe), *partition(rom.name, stream.lanes, 2)]
    return Code([*tables, *nest], [*_shift_product(site, rom, work), *gather(site)])


def emit_depthwise(site: Site) -> Code:
    """Windows of a block of channels: for each lane a sum over the taps, with the weights of its channel."""
    rom, stream = site.roms[site.node.operands[1]], site.feed.stream
    channels, taps = rom.constant.type.shape
    lanes, blocks = stream.lanes, channels // stream.lanes
    work, tap, lane = accumulator_type(stream.format, rom.constant), counter("tap", taps), counter("lane", lanes)
    block = "0" if blocks == 1 else "block" if site.feed.window else f"{position(site.feed)} % {blocks}"
    head = [f"const int32_t channels = ({block}) * {lanes};", f"{work} sum[{lanes}];", *partition("sum", lanes)]
    body = loop("lane", lanes, [f"sum[{lane}] = 0;"], UNROLL)
    weight = f"{rom.name}[{index(('channels', 1), (lane, 1))}][{tap}]"
    step = _term(site, rom, work, index((tap, lanes), (lane, 1)), weight)
    body += loop("tap", taps, loop("lane", lanes, [*step[0], f"sum[{lane}] += {step[1]};"], UNROLL), PIPELINE)
    place = index((position(site.feed), lanes), (lane, 1))
    body += loop("lane", lanes, [site.store(place, f"sum[{lane}]", work)], UNROLL)
    return Code([*partition(rom.name, lanes), *each_position(site, [*head, *body])],
                [*_shift_product(site, rom, work), *gather(site)])


def _term(site: Site, rom: Rom, work: str, at: str, weight: str) -> tuple[Lines, str]:
    """The declaration of element `a` of the input, and its product with a weight."""
    form = site.feed.stream.format
    shifts = isinstance(rom.constant.type.format, PowerOfTwo)
    kind = computed_type(form.minimum, form.maximum) if shifts else work
    weight = converted(weight, stored_type(rom.format), _code_type(rom) if shifts else work)
    read = f"const {kind} a = {converted(element(site.feed, at), stored_type(form), kind)};"
    return [read], f"{site.name}_product(a, {weight})" if shifts else f"a * {weight}"


def _when(here: bool) -> Lines:
    return [PIPELINE] if here else []


def _products(site: Site, op: MatVec, work: str, row: str) -> Lines:
    """One trip: every element read once, multiplied by its weight in each of the PE rows."""
    rom, stream = site.roms[site.node.operands[1]], site.feed.stream
    column = index((counter("fold", stream.blocks), stream.lanes), (counter("lane", stream.lanes), 1))
    read, term = _term(site, rom, work, column, f"{rom.name}[{row}][{column}]")
    multiply = loop("unit", op.pe, [f"sum[{counter('unit', op.pe)}] += {term};"], UNROLL)
    return loop("lane", stream.lanes, [*read, *multiply], UNROLL)


def _code_type(rom: Rom) -> str:
    return computed_type(0, rom.format.maximum)


def _shift_product(site: Site, rom: Rom, work: str) -> Lines:
    """The product with a power-of-two code: shifts and additions."""
    form, x = rom.constant.type.format, site.feed.stream.format
    if not isinstance(form, PowerOfTwo):
        return []
    a = ex.variable("a", x.minimum, x.maximum)
    root = product(a, weight_variable("weight", form), form)
    lines, (text,) = print_datapath(root)
    head = f"static {work} {site.name}_product({expression_type(a)} a, {_code_type(rom)} weight)"
    return [*function(head, [*lines, f"return {converted(text, expression_type(root), work)};"]), ""]


def _wired(site: Site, op: MatVec) -> Code:
    """Every row as shifts and additions of the same inputs."""
    stream = site.feed.stream
    weight = site.roms[site.node.operands[1]].constant
    roots = op.dots(stream, weight)
    used, work = variables(*roots), computed_type(stream.format.minimum, stream.format.maximum)
    reads = [f"const {work} x{k} = {converted(element(site.feed, str(k)), stored_type(stream.format), work)};"
             for k in range(stream.elements) if f"x{k}" in used]
    lines, results = print_datapath(*roots)
    rows = len(results)
    stores = [site.store(index((position(site.feed), rows), (str(o), 1)), text, expression_type(root))
              for o, (root, text) in enumerate(zip(roots, results, strict=True))]
    unused = [] if reads or site.feed.window else ["(void)x;"]
    return Code([*unused, *each_position(site, [*reads, *lines, *stores], PIPELINE)], gather(site))

