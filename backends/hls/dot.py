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


def _when(here: bool) -> Lines:
    return [PIPELINE] if here else []


def _products(site: Site, op: MatVec, work: str, row: str) -> Lines:
    """One trip: every element read once, multiplied by its weight in each of the PE rows."""
    rom, stream = site.roms[site.node.operands[1]], site.feed.stream
    shifts = isinstance(rom.constant.type.format, PowerOfTwo)
    column = index((counter("fold", stream.blocks), stream.lanes), (counter("lane", stream.lanes), 1))
    weight = f"{rom.name}[{row}][{column}]"
    kind = computed_type(stream.format.minimum, stream.format.maximum) if shifts else work
    weight = converted(weight, stored_type(rom.format), _code_type(rom) if shifts else work)
    term = f"{site.name}_product(a, {weight})" if shifts else f"a * {weight}"
    multiply = loop("unit", op.pe, [f"sum[{counter('unit', op.pe)}] += {term};"], UNROLL)
    read = f"const {kind} a = {converted(element(site.feed, column), stored_type(stream.format), kind)};"
    return loop("lane", stream.lanes, [read, *multiply], UNROLL)


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

