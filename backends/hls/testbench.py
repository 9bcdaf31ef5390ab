"""The test program and its Makefile.

It reads files of frames: for each frame the arrays of all input ports, in the C types of the ports; the expected
outputs likewise.
"""

from __future__ import annotations

from backends.hls.program import Program
from backends.hls.statements import Lines, function, indent
from backends.hls.storage import Buffer

FLAGS = "-std=c99 -O3 -Wall -Wextra -Werror -Wconversion -Wno-unknown-pragmas"


def emit_testbench(program: Program) -> Lines:
    """`<stem>_test.c`."""
    ins = [Buffer(f"in_{b.name}", b.format, b.size) for b in program.inputs]
    outs = [Buffer(f"out_{b.name}", b.format, b.size) for b in program.outputs]
    wants = [Buffer(f"expected_{b.name}", b.format, b.size) for b in program.outputs]
    return [
        f"/* Test program of {program.top}.", "",
        f"   {program.stem}_test inputs.bin expected.bin       compares; exit code 1 when a value differs",
        f"   {program.stem}_test --write inputs.bin outputs.bin", "",
        "   Files hold frames: for each frame all ports in order, each as an array of its C type. */",
        "#include <stdio.h>", "#include <string.h>", "", f'#include "{program.stem}.h"', "",
        *(f"static {b.parameter(b.name)};" for b in (*ins, *outs, *wants)), "",
        *function("static int read_inputs(FILE *file)", _transfer("fread", ins)), "",
        *function("static int read_expected(FILE *file)", _transfer("fread", wants)), "",
        *function("static int write_outputs(FILE *file)", _transfer("fwrite", outs)), "",
        *function("static long compare(long frame)", _compare(program, outs, wants)), "",
        *function("static int run(FILE *inputs, FILE *outputs, int writes)", _frames(program, ins, outs)), "",
        *function("int main(int count, char **arguments)", _main(program)),
    ]


def _transfer(call: str, buffers: list[Buffer]) -> Lines:
    """Reads or writes one frame; 1 when all of it went through."""
    tests = [f"{call}({b.name}, sizeof {b.name}, 1, file) == 1" for b in buffers]
    return [f"return {' && '.join(tests) or '1'} ? 1 : 0;"]


def _compare(program: Program, outs: list[Buffer], wants: list[Buffer]) -> Lines:
    lines = ["long wrong = 0;"]
    for port, out, want in zip(program.outputs, outs, wants, strict=True):
        lines += [
            f"for (long i = 0; i < {out.size}; i++) {{",
            f"    if ({out.name}[i] != {want.name}[i]) {{",
            f'        printf("frame %ld: {port.name}[%ld] is %lld, expected %lld\\n", frame, i, '
            f"(long long){out.name}[i], (long long){want.name}[i]);",
            "        wrong++;", "    }", "}",
        ]
    return [*lines, "return wrong;"]


def _frames(program: Program, ins: list[Buffer], outs: list[Buffer]) -> Lines:
    arguments = ", ".join(b.name for b in (*ins, *outs))
    return [
        "long frame = 0;", "long wrong = 0;",
        "for (; read_inputs(inputs); frame++) {",
        *indent([f"{program.top}({arguments});",
                 "if (!(writes ? write_outputs(outputs) : read_expected(outputs))) {",
                 '    fprintf(stderr, "frame %ld: the second file ends or cannot be written\\n", frame);',
                 "    return 2;", "}",
                 "wrong += writes ? 0 : compare(frame);"]),
        "}",
        'printf("%ld frames, %ld mismatches\\n", frame, wrong);',
        "return wrong != 0 ? 1 : 0;",
    ]


def _main(program: Program) -> Lines:
    return [
        'const int writes = count == 4 && strcmp(arguments[1], "--write") == 0 ? 1 : 0;',
        "if (count != 3 && !writes) {",
        f'    fprintf(stderr, "usage: {program.stem}_test [--write] inputs.bin outputs.bin\\n");', "    return 2;", "}",
        'FILE *inputs = fopen(arguments[count - 2], "rb");',
        'FILE *outputs = fopen(arguments[count - 1], writes ? "wb" : "rb");',
        "if (inputs == NULL || outputs == NULL) {",
        '    fprintf(stderr, "a file cannot be opened\\n");', "    return 2;", "}",
        "const int code = run(inputs, outputs, writes);",
        "fclose(inputs);",
        "return fclose(outputs) == 0 ? code : 2;",
    ]


def emit_makefile(program: Program) -> Lines:
    stem = program.stem
    return [
        "CC = gcc", f"CFLAGS = {FLAGS}", "INPUTS = inputs.bin", "EXPECTED = expected.bin", "",
        f"{stem}_test: {stem}_test.c {stem}.c {stem}.h {stem}_weights.h irc_hls.h",
        f"\t$(CC) $(CFLAGS) -o $@ {stem}_test.c {stem}.c", "",
        f"check: {stem}_test", f"\t./{stem}_test $(INPUTS) $(EXPECTED)", "",
        "clean:", f"\trm -f {stem}_test", "", ".PHONY: check clean",
    ]
