"""The page docs/onnx-support.md says what the cases of the onnx package show."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "onnx-support.md").read_text("utf-8")
MODULES = ("argmax", "clip", "convtranspose", "einsum", "gru", "maxpool", "reducel2", "resize", "topk", "where")


def _load() -> ModuleType:
    """A script of benchmarks/ as a module."""
    path = ROOT / "benchmarks" / "onnx_node_cases.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES = _load()


def test_rows_of_some_operators_are_reproduced() -> None:
    results = CASES.run_cases(CASES.load_cases(*MODULES))
    operators = sorted({result.operator for result in results})
    assert len(operators) >= len(MODULES)
    rows = [CASES.row(name, [result for result in results if result.operator == name]) for name in operators]
    assert [row for row in rows if row not in PAGE] == []


def test_the_head_is_the_sum_of_the_rows() -> None:
    rows = re.findall(r"^\| \w+ \| (\d+) \| (\d+) \| (\d+) \|", PAGE, re.MULTILINE)
    passed, refused, failed = (sum(map(int, column)) for column in zip(*rows, strict=True))
    assert f"**{passed:,} passed, {refused:,} refused, 0 failed, 0 traceback of {passed + refused:,} cases.**" in PAGE
    assert failed == 0 and passed >= 1000


@pytest.mark.slow
def test_every_case_passes_or_is_refused() -> None:
    results = CASES.run_cases(CASES.load_cases())
    wrong = [r for r in results if r.outcome in (CASES.Outcome.FAILED, CASES.Outcome.TRACEBACK)]
    assert wrong == []
    assert CASES.page(results) == PAGE
