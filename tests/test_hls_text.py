"""The C printers of datapaths and names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import irc.expression as ex
from backends.hls.datapath import print_datapath
from backends.hls.files import LAYER
from backends.hls.identifiers import Names, comment, identifier
from irc.types import PowerOfTwo

GCC = ("gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-fsanitize=undefined",
       "-fno-sanitize-recover=all")


@given(st.lists(st.text(), max_size=8))
def test_identifiers_are_legal_and_distinct(texts: list[str]) -> None:
    names = Names()
    found = [names.fresh(text) for text in texts]
    assert len({name.upper() for name in found}) == len(found)
    assert all(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) and "__" not in name for name in found)
    assert all(identifier(name) == name for name in map(identifier, texts))
    assert not any(mark in comment("".join(texts)) for mark in ("*/", "/*", "??", "\n", "\\"))


def test_printed_datapaths_equal_numpy(tmp_path: Path) -> None:
    a, code = ex.variable("a", -70000, 70000), ex.variable("b", 0, 2**12 - 1)
    wide = ex.multiply(a, ex.variable("c", -(1 << 20), 1 << 20))
    roots = [ex.power_product(a, code, PowerOfTwo(3, 5)), ex.shift_right(ex.multiply_constant(a, -12345), 3), wide,
             ex.clip(wide, -1000, 1 << 33), ex.select(ex.at_least(a, code), ex.bits(a, 2, 9), ex.subtract(code, a)),
             ex.shift_left(a, 40), ex.shift_right(ex.shift_left(a, 4), 62)]
    lines, texts = print_datapath(*roots)
    source = ["#include <stdio.h>", '#include "irc_hls.h"', "int main(void) { int32_t a, b, c;",
              "while (fread(&a, 4, 1, stdin) && fread(&b, 4, 1, stdin) && fread(&c, 4, 1, stdin)) {", *lines,
              f"const int64_t results[{len(texts)}] = {{{', '.join(texts)}}};",
              "fwrite(results, sizeof results, 1, stdout); } return 0; }"]
    rng = np.random.default_rng(0)
    draws = {v: rng.integers(low, high, 5000) for v, low, high in
             (("a", -70000, 70001), ("b", 0, 2**12), ("c", -(1 << 20), (1 << 20) + 1))}
    (tmp_path / "irc_hls.h").write_text(LAYER)
    (tmp_path / "datapath.c").write_text("\n".join(source))
    program = str(tmp_path / "datapath")
    subprocess.run([*GCC, str(tmp_path / "datapath.c"), "-o", program], check=True)
    stdin = np.stack(list(draws.values()), axis=1).astype(np.int32).tobytes()
    stdout = subprocess.run([program], input=stdin, capture_output=True, check=True).stdout
    expected = np.stack([ex.evaluate(root, draws) for root in roots], axis=1)
    np.testing.assert_array_equal(np.frombuffer(stdout, np.int64).reshape(-1, len(roots)), expected)
