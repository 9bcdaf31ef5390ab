"""Put the recorded results as tables into README.md, below the line that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import accuracy
import channel_pruning
import compile_time
import ecp5
import equality
import explore
import fuzz
import integer_speed
import low_bits
import models
import pruning
import quantized_models
import random_models
import remove_layers
import reproducibility
import round_trip
import rounding_speed
import sharing
import simulator_speed
from report import Table

README = Path(__file__).resolve().parent / "README.md"
MARK = "<!-- below: python benchmarks/summary.py -->\n"
TABLES = [module.TABLE for module in (
    equality, accuracy, simulator_speed, integer_speed, ecp5, compile_time, rounding_speed, reproducibility, models,
    quantized_models, round_trip, random_models, low_bits, sharing, pruning, channel_pruning, remove_layers, explore,
    fuzz)]


def section(table: Table, common: str) -> Iterator[str]:
    """A table in Markdown; where and when it was measured, unless that is `common`."""
    rows = table.rows()
    yield f"\n## {table.title}\n"
    yield f"`{table.name}.py`" + (f", {measured(rows)}\n" if measured(rows) != common else "\n")
    yield f"| {' | '.join(column.replace('_', ' ') for column in table.columns)} |"
    yield f"|{'|'.join('--:' if form else '---' for form in table.columns.values())}|"
    yield from (f"| {' | '.join(table.cells(row))} |" for row in rows)


def measured(rows: list[dict[str, object]]) -> str:
    """When, on what and with what the rows were measured."""
    dates = sorted({str(row["date"]) for row in rows})
    machine = cast(dict[str, object], rows[-1]["machine"])
    tools = ", ".join(f"{name} {value}" for name, value in machine.items() if name not in ("cpu", "cores"))
    return f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, {machine['cores']} cores of {machine['cpu']}; {tools}"


def main() -> None:
    head, _, _ = README.read_text("utf-8").partition(MARK)
    tables = [table for table in TABLES if table.rows()]
    common = Counter(measured(table.rows()) for table in tables).most_common(1)[0][0]
    lines = [line for table in tables for line in section(table, common)]
    README.write_text(f"{head}{MARK}\nMeasured {common}.\n" + "\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
