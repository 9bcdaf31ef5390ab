"""C statements as lists of lines, and the index arithmetic in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Lines: TypeAlias = list[str]

PIPELINE, UNROLL, DATAFLOW = "IRC_PIPELINE", "IRC_UNROLL", "IRC_DATAFLOW"


def indent(lines: Sequence[str]) -> Lines:
    return [f"    {line}" if line else line for line in lines]


def counter(name: str, bound: int) -> str:
    """The index of a loop, `0` when the loop has a single trip and is left out."""
    return "0" if bound == 1 else name


def loop(name: str, bound: int, body: Sequence[str], *pragmas: str) -> Lines:
    """Count `name` (see `counter`) from 0 to bound - 1; a single trip is just the body."""
    if bound == 1:
        return list(body)
    return [f"for (int32_t {name} = 0; {name} < {bound}; {name}++) {{", *indent([*pragmas, *body]), "}"]


def index(*terms: tuple[str, int]) -> str:
    """The sum of counters times strides, without what is zero."""
    parts = [name if stride == 1 else f"{name} * {stride}" for name, stride in terms if name != "0"]
    return " + ".join(parts) or "0"


def partition(array: str, factor: int, dimension: int = 1) -> Lines:
    """Spread an array over `factor` memories, so that one trip reads or writes that many neighbours."""
    return [f"IRC_PARTITION({array}, {dimension}, {factor})"] if factor > 1 else []


def function(head: str, body: Sequence[str]) -> Lines:
    return [f"{head} {{", *indent(body), "}"]
