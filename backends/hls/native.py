"""Runs an emitted program on this machine: compile its test program, feed it all frames through a file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from backends.hls.program import stem
from backends.hls.storage import stored_dtype
from irc.backend import Run
from irc.diagnostics import error
from irc.graph import Graph, Port
from irc.types import Array, StreamType

COMPILERS = ("gcc", "cc", "clang")
SHOWN = 5  # lines of a failing tool's complaint


def run_program(folder: Path, graph: Graph, feeds: Mapping[str, Array], scratch: Path) -> Run:
    """All samples through the program in `folder`."""
    program = _compile(folder, stem(graph), scratch)
    inputs, outputs = scratch / "inputs.bin", scratch / "outputs.bin"
    inputs.write_bytes(pack(graph.inputs, feeds))
    _call([str(program), "--write", str(inputs), str(outputs)], "the compiled program")
    return Run(unpack(graph.outputs, outputs.read_bytes()))


def _compile(folder: Path, name: str, scratch: Path) -> Path:
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise error("E601", "no C compiler was found", remedy="Install gcc, for example with 'apt-get install gcc'.")
    for file in (f"{name}.c", f"{name}_test.c"):
        if not (folder / file).is_file():
            raise error("E504", f"'{file}' is missing in the build folder", file=str(folder))
    scratch.mkdir(parents=True, exist_ok=True)
    program = (scratch / f"{name}_test").resolve()
    sources = [str(folder / f"{name}{part}.c") for part in ("_test", "")]
    _call([found, "-std=c99", "-O3", "-o", str(program), *sources], Path(found).name)
    return program


def _call(command: Sequence[str], tool: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[:SHOWN])
        raise error("E602", f"{tool} failed with code {done.returncode}: {said}")


def pack(ports: Sequence[Port], values: Mapping[str, Array]) -> bytes:
    """Frames as the test program reads them."""
    parts = [_port_bytes(port, values[port.name]) for port in ports]
    return np.concatenate(parts, axis=1).tobytes() if parts else b""


def _port_bytes(port: Port, data: Array) -> Array:
    assert isinstance(port.type, StreamType), "dataflow ports are streams"
    if not port.type.format.holds(data):
        raise error("E401", f"values of input '{port.name}' leave its format {port.type.format}")
    frames = np.ascontiguousarray(data.reshape(len(data), -1), stored_dtype(port.type.format))
    return frames.view(np.uint8)


def unpack(ports: Sequence[Port], data: bytes) -> dict[str, Array]:
    """Frames as the test program writes them: [samples, positions, elements] by port."""
    fields = [(f"f{k}", stored_dtype(p.type.format), (p.type.positions, p.type.elements))
              for k, p in enumerate(ports) if isinstance(p.type, StreamType)]
    frames = np.frombuffer(data, np.dtype(fields))
    return {port.name: frames[f"f{k}"].astype(np.int64) for k, port in enumerate(ports)}
