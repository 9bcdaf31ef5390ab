"""A build folder: what `irc compile` leaves behind, and what verify, run and explain start from.

    irc.json                  the manifest: what was compiled, by which passes, with what they noted
    ir/float.irc ...          the graph at each stage (large constants in the .npz beside it)
    verilog/ or hls/ or ...   the files of the target

Nothing in it depends on the clock or the place, so that two builds of the same input are equal to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from irc.diagnostics import error
from irc.graph import Graph, Port
from irc.pipeline.record import Record
from irc.text import large_constants, load_graph, print_graph, write_npz

MANIFEST = "irc.json"
LAYOUT = 1  # version of the folder layout
STAGES = ("float", "quantized", "integer", "dataflow")  # highest first
KEYS = ("layout", "irc", "target", "model", "pipeline", "passes", "stages", "files")
DIGITS = 6  # of measured deviations, so that they do not depend on the order of float64 sums


@dataclass(frozen=True, slots=True)
class Build:
    """A complete build folder."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def target(self) -> str:
        return str(self.manifest["target"])

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that have a graph here, highest first."""
        return tuple(stage for stage in STAGES if stage in self.manifest["stages"])

    @property
    def design(self) -> Path:
        """The folder with the target's files."""
        return self.folder / self.target

    def graph(self, stage: str) -> Graph:
        """The graph of a stage. Raises E504 when it is not there."""
        path = self.folder / _graph_file(stage)
        if not path.is_file():
            raise error("E504", f"'{_graph_file(stage)}' is missing", file=str(self.folder), remedy="Compile again.")
        return load_graph(path)

    def last(self) -> Graph:
        """The graph that the target's files were made from."""
        return self.graph(self.stages[-1])


def load_build(folder: Path) -> Build:
    """The build in `folder`. Raises E504 unless it is one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except OSError as problem:
        raise error("E504", f"{MANIFEST}: {problem.strerror or problem}", file=str(folder),
                    remedy="Give a folder that 'irc compile' made.") from None
    except ValueError as problem:  # of JSON and of UTF-8
        raise error("E504", f"{MANIFEST} is damaged: {problem}", file=str(folder), remedy="Compile again.") from None
    if not isinstance(manifest, dict) or any(key not in manifest for key in KEYS) or manifest["layout"] != LAYOUT:
        raise error("E504", f"{MANIFEST} is not a manifest of this version of irc", file=str(folder),
                    remedy="Compile again.")
    return Build(folder, manifest)


def graph_files(stages: Mapping[str, Graph]) -> dict[str, str | bytes]:
    """The graphs of a build as files."""
    files: dict[str, str | bytes] = {}
    for stage, graph in stages.items():
        files[_graph_file(stage)] = print_graph(graph)
        data = large_constants(graph)
        if data:
            archive = BytesIO()
            write_npz(archive, data)
            files[f"ir/{stage}.npz"] = archive.getvalue()
    return files


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """The content of the manifest file."""
    return json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def records_json(records: Sequence[Record]) -> list[dict[str, Any]]:
    """What the passes did, without how long they took."""
    return [_record_json(record) for record in records]


def ports_json(ports: Sequence[Port]) -> list[dict[str, Any]]:
    """What a host must know about the ports of a design: format, order of the elements, meaning of the integers."""
    return [_port_json(port) for port in ports]


def _graph_file(stage: str) -> str:
    return f"ir/{stage}.irc"


def _record_json(record: Record) -> dict[str, Any]:
    notes = [{"key": n.key, "value": _plain(n.value), "node": n.node} for n in record.notes]
    found = record.deviation
    deviation = None if found is None else {
        "largest": _plain(found.largest), "unit": found.unit, "mse": _plain(found.mse),
        "cosine": _plain(found.cosine), "samples": found.samples}
    return {"pass": record.word, "text": record.text, "contract": record.contract, "nodes_before": record.nodes_before,
            "nodes_after": record.nodes_after, "deviation": deviation, "notes": notes}


def _plain(value: object) -> object:
    """A value that JSON knows: numbers as numbers, anything else as text."""
    match value:
        case bool() | int() | str() | None:
            return value
        case _ if hasattr(value, "__index__"):
            return int(value)  # NumPy's integers
        case _ if hasattr(value, "__float__"):
            return rounded(float(value))
        case _:
            return str(value)


def rounded(value: float) -> float | str:
    """A measured number for the manifest."""
    return float(f"{value:.{DIGITS}g}") if abs(value) < float("inf") else str(value)


def _port_json(port: Port) -> dict[str, Any]:
    meaning = port.encoding
    encoding = {"scale": list(meaning.scale), "zero": meaning.zero, "axis": meaning.axis,
                "rounding": meaning.rounding} if meaning else None
    return {"name": port.name, "type": str(port.type), "tensor": str(port.tensor) if port.tensor else None,
            "order": list(port.order), "encoding": encoding}
