"""What passes did, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from irc.build import records_json
from irc.cli.output import print_table
from irc.pipeline.record import Record


def timed_records(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The records as JSON, with run times."""
    return [{**made, "seconds": round(record.seconds, 4)}
            for record, made in zip(records, records_json(records), strict=True)]


def print_records(records: Sequence[Record]) -> None:
    """One row a pass."""
    rows = [(*described(made), f"{record.seconds:.2f}")
            for record, made in zip(records, records_json(records), strict=True)]
    print_table("", ("pass", "contract", "moved by", "nodes#", "seconds#"), rows)


def described(record: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Cells of a pass's row: text, contract, deviation, nodes."""
    nodes = f"{record['nodes_before']} -> {record['nodes_after']}"
    return record["text"], record["contract"], _deviation(record["deviation"]), nodes


def _deviation(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "not measured"
    if not found["largest"]:
        return "0"
    if found["unit"] == "lsb":
        return f"{found['largest']:g} lsb"
    return f"{100 * found['largest']:.3g} % of the largest output"


def described_metric(found: Mapping[str, Any]) -> str:
    """The score before and after the passes in one line."""
    unit = f" {found['unit']}" if found["unit"] not in ("", found["name"]) else ""
    return f"{found['name']} {found['before']:g} -> {found['after']:g}{unit} on {found['samples']} samples"
