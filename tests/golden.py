"""Golden text cases: several `[case name] ... [out] ...` in one file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True, slots=True)
class Case:
    """One case: what goes in, and what must come out."""

    name: str
    given: str
    out: str


def read_cases(file: str) -> list[Case]:
    """The cases of `tests/cases/<file>`; a trailing blank line belongs to no case."""
    text = (CASES / file).read_text("utf-8")
    cases = re.split(r"^\[case (.+)\]\n", text, flags=re.MULTILINE)[1:]
    pairs = zip(cases[::2], cases[1::2], strict=True)
    return [Case(name, *(part.strip("\n") for part in body.split("\n[out]\n"))) for name, body in pairs]


def golden(file: str) -> pytest.MarkDecorator:
    """Run a test once for each case of a file."""
    cases = read_cases(file)
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])
