"""The texts of the files: header, weights, design, test program, Makefile."""

from __future__ import annotations

from collections.abc import Sequence

from backends.hls.actors import EMITTERS
from backends.hls.identifiers import comment
from backends.hls.program import Channel, Program
from backends.hls.site import Site
from backends.hls.statements import DATAFLOW, Lines, function, partition
from backends.hls.storage import Buffer
from backends.hls.testbench import emit_makefile, emit_testbench

LAYER = """\
/* What the emitted code needs besides stdint.h: pragmas and shifts. */
#ifndef IRC_HLS_H
#define IRC_HLS_H

#include <stdint.h>

/* Pragmas guide synthesis and never change a result. Only synthesis sees them; for another tool, change them here. */
#if defined(__VITIS_HLS__) || defined(__SYNTHESIS__)
#define IRC_PRAGMA(text) _Pragma(#text)
#define IRC_BUFFER
#else
#define IRC_PRAGMA(text)
#define IRC_BUFFER static
#endif
#define IRC_DATAFLOW IRC_PRAGMA(HLS dataflow)
#define IRC_PIPELINE IRC_PRAGMA(HLS pipeline II=1)
#define IRC_UNROLL IRC_PRAGMA(HLS unroll)
#define IRC_PARTITION(array, dimension, lanes) \\
    IRC_PRAGMA(HLS array_partition variable=array type=cyclic dim=dimension factor=lanes)
#define IRC_PARTITION_ALL(array, dimension) IRC_PRAGMA(HLS array_partition variable=array type=complete dim=dimension)
#define IRC_STREAM(array, tokens) IRC_PRAGMA(HLS stream variable=array depth=tokens)

/* C leaves to the compiler how negative numbers shift right and how unsigned ones convert back. The design needs an
   arithmetic shift and two's complement, as every known compiler does it; these lines do not compile otherwise. */
typedef char irc_shifts_are_arithmetic[(-1 >> 1) == -1 && (INT64_C(-1) >> 1) == -1 ? 1 : -1];
typedef char irc_conversion_wraps[(int32_t)UINT32_MAX == -1 && (int64_t)UINT64_MAX == -1 ? 1 : -1];

/* Left shifts of numbers that may be negative. */
static inline int32_t irc_shift_left_32(int32_t value, int32_t by) { return (int32_t)((uint32_t)value << by); }
static inline int64_t irc_shift_left_64(int64_t value, int64_t by) { return (int64_t)((uint64_t)value << by); }

#endif
"""


def emit_files(program: Program) -> dict[str, str]:
    """Every file of a program by its name."""
    stem = program.stem
    return {
        f"{stem}.h": _text(_header(program)),
        f"{stem}.c": _text(_design(program)),
        f"{stem}_weights.h": _text(_weights(program)),
        f"{stem}_test.c": _text(emit_testbench(program)),
        "irc_hls.h": LAYER,
        "Makefile": _text(emit_makefile(program)),
    }


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


def prototype(program: Program) -> str:
    """The head of the top function."""
    parameters = [*(b.parameter(b.name, readonly=True) for b in program.inputs),
                  *(b.parameter(b.name) for b in program.outputs)]
    return f"void {program.top}({', '.join(parameters)})"


def size_macro(program: Program, buffer: Buffer) -> str:
    return f"{program.stem}_{buffer.name}_size".upper()


def _header(program: Program) -> Lines:
    guard = f"{program.stem}_H".upper()
    sizes = [f"#define {size_macro(program, b)} {b.size}" for b in (*program.inputs, *program.outputs)]
    ports = [f"   {word} {b.name}: {comment(str(p.type))}" for word, side, given in
             (("in ", program.inputs, program.graph.inputs), ("out", program.outputs, program.graph.outputs))
             for b, p in zip(side, given, strict=True)]
    return [
        f"/* {comment(program.graph.name)}: one call computes one frame. Arrays hold the elements in token order.", "",
        *ports, "",
        "   The top function keeps its feature maps in static memory: do not call it from two threads at once. */",
        f"#ifndef {guard}", f"#define {guard}", "", "#include <stdint.h>", "", *sizes, "",
        "#ifdef __cplusplus", 'extern "C" {', "#endif", "", f"{prototype(program)};", "",
        "#ifdef __cplusplus", "}", "#endif", "", "#endif",
    ]


def _weights(program: Program) -> Lines:
    guard = f"{program.stem}_WEIGHTS_H".upper()
    lines = [f"/* Constants of {comment(program.graph.name)}. */", f"#ifndef {guard}", f"#define {guard}", "",
             "#include <stdint.h>", ""]
    for rom in program.roms:
        lines += [f"/* {comment(rom.constant.name)}: {comment(str(rom.constant.type))} */", *rom.definition(), ""]
    return [*lines, "#endif"]


def _design(program: Program) -> Lines:
    stem = program.stem
    lines = [f"/* {comment(program.graph.name)}: one function an actor; {program.top} calls them in order.",
             f"   Build: cc -std=c99 -O2 -c {stem}.c (C99, also C++14). Check: make check INPUTS=... EXPECTED=... */",
             f'#include "{stem}.h"', '#include "irc_hls.h"', f'#include "{stem}_weights.h"', ""]
    for site in program.sites:
        lines += [*emit_actor(site), ""]
    return [*lines, *function(prototype(program), _top(program))]


def emit_actor(site: Site) -> Lines:
    """The functions of one actor."""
    code = EMITTERS[type(site.node.op)](site)
    feeds = [feed.buffer.parameter(x, readonly=True) for x, feed in zip(site.inputs(), site.feeds, strict=True)]
    results = [buffer.parameter(y) for y, buffer in zip(site.results(), site.outputs, strict=True)]
    head = f"static void {site.name}({', '.join([*feeds, *results])})"
    return [*_describe(site), *code.before, *function(head, code.body)]


def _describe(site: Site) -> Lines:
    """Where the actor comes from, and what it reads and makes."""
    node = site.node
    origin = f" from {comment(node.origin)}" if node.origin else ""
    window = f" over a window of {'x'.join(map(str, site.feed.window.kernel))}" if site.feed.window else ""
    return [f"/* {comment(node.name)}: {node.op.name}{window}{origin}", f"   {comment(str(node.type))} */"]


def _top(program: Program) -> Lines:
    declared = [line for channel in program.channels for line in _declaration(channel)]
    calls = [f"{s.name}({', '.join([*(f.buffer.name for f in s.feeds), *(b.name for b in s.outputs)])});"
             for s in program.sites]
    return [DATAFLOW, *declared, *calls]


def _declaration(channel: Channel) -> Lines:
    """An array between two actors, spread for its lanes; a FIFO where its reader takes the elements in order."""
    name = channel.buffer.name
    declared = f"IRC_BUFFER {channel.buffer.parameter(name)};"
    fifo = [f"IRC_STREAM({name}, {channel.depth})"] if channel.in_order else []
    return [declared, *partition(name, channel.lanes), *fifo]
