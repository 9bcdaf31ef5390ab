"""What passes did, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from irc.build import records_json
from irc.cli.output import print_table
from irc.pipeline.blame import LayerError
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


def print_layer_errors(errors: Sequence[LayerError], worst: LayerError | None, samples: int) -> None:
    """One row a layer, and how to spare the one that costs most."""
    columns = "layer", "op", "from", "mean error#", "largest#", "in", "error of the output alone#"
    print_table(f"Layers on {samples} samples", columns, [_layer_row(found) for found in errors])
    if worst is not None:
        click.echo(f"'{worst.layer}' costs most; to spare it, write  {worst.exclusion}  behind the step")


def _layer_row(found: LayerError) -> tuple[str, ...]:
    scale, unit = (1, "LSB") if found.unit == "lsb" else (100, "% of rms")
    alone = f"{100 * found.cost**0.5:.2f} %" if found.cost is not None else ""
    return (found.layer, found.op, found.origin, f"{scale * found.mean:.3f}", f"{scale * found.largest:.2f}", unit,
            alone)


def described_metric(found: Mapping[str, Any]) -> str:
    """The score before and after the passes in one line."""
    unit = f" {found['unit']}" if found["unit"] not in ("", found["name"]) else ""
    return f"{found['name']} {found['before']:g} -> {found['after']:g}{unit} on {found['samples']} samples"
