"""Every model at three foldings: all targets give the integers of the integer model, and simulator and Verilated RTL
agree on the cycle of every handshake on every channel; Icarus Verilog runs the self-checking testbench, with stalls.

Long runs are cut into several from reset, because the harness keeps every handshake in memory.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from foldings import FOLDINGS, foldings
from report import Table
from workloads import COLLECTION, SCRATCH, Workload, arguments, available, load

from irc.build import Build
from irc.compiler import Request, compile_model
from irc.dataflow.timing import law_network, simulate_timing
from irc.verify import Verdict, verify
from passes.hardware.parallelize import multipliers

MOST_TOKENS = 60_000_000  # that all channels of one run carry together
ICARUS_CYCLES = 200_000  # a frame, above which the testbench is left out: it simulates about 10,000 a second
TABLE = Table("equality", "Interpreter = simulator = C = RTL", ("model", "folding"), {
    "model": "", "folding": "", "multipliers": ",d", "interval": ",d", "latency": ",d", "inputs": ",d", "runs": "d",
    "rtl_cycles": ",d", "values_equal": "", "channels": "d", "cycles_equal": "", "icarus": "", "seconds": ",.0f"})


def row(work: Workload, folding: str, inputs: int) -> dict[str, object]:
    """Compile and verify one design."""
    start = time.perf_counter()
    request = Request(work.model, "verilog", foldings(work.name)[folding], work.calibration)
    build, _ = compile_model(request, SCRATCH / "equality" / f"{work.name}_{folding}")
    graph = build.graph("dataflow")
    timing = simulate_timing(graph, 10)
    verdicts = list(verified(build, work, inputs))
    cycles = [c for verdict in verdicts for c in verdict.comparisons if c.what == "cycles"]
    values = [c for verdict in verdicts for c in verdict.comparisons if c.what == "values"]
    for mismatch in [c for c in values + cycles if not c.equal]:
        print(f"{mismatch.found} differs from {mismatch.expected}: {mismatch.mismatch}")
    return {
        "model": work.name, "folding": folding, "passes": foldings(work.name)[folding],
        "multipliers": sum(multipliers(graph, node) for node in graph.nodes), "interval": int(timing.interval),
        "latency": timing.latency, "inputs": sum(verdict.rungs[-1].samples for verdict in verdicts),
        "runs": len(verdicts), "rtl_cycles": sum(verdict.rungs[-1].cycles for verdict in verdicts),
        "values_equal": all(c.equal for c in values), "channels": len(cycles[-1].channels or ()),
        "cycles_equal": all(c.equal for c in cycles), "icarus": icarus(build, int(timing.interval)),
        "seconds": time.perf_counter() - start}


def verified(build: Build, work: Workload, inputs: int) -> Iterator[Verdict]:
    """Verdicts on the first `inputs` test samples."""
    tokens = sum(channel.tokens for channel in law_network(build.graph("dataflow")).channels)
    batch = max(1, min(inputs, MOST_TOKENS // tokens))
    for start in range(0, inputs, batch):
        count = min(batch, inputs - start)
        yield verify(build, work.first(count, start), frames=count)


def icarus(build: Build, interval: int) -> str:
    """What the emitted testbench says in Icarus Verilog, or why it did not run."""
    if shutil.which("iverilog") is None:
        return "not installed"
    if interval > ICARUS_CYCLES:
        return "not run: too slow"
    (bench,) = build.design.glob("*_tb.v")
    sources = (build.design / "files.f").read_text().split()
    with TemporaryDirectory() as scratch:
        program = Path(scratch) / "testbench"
        subprocess.run(["iverilog", "-g2005", "-o", program, *sources, bench.name], cwd=build.design, check=True)
        said = subprocess.run(["vvp", program], cwd=build.design, check=True, capture_output=True, text=True).stdout
    return said.split(" in ")[0].strip()


def parser() -> argparse.ArgumentParser:
    found = arguments(__doc__ or "")
    found.add_argument("--models", nargs="*", choices=COLLECTION, metavar="NAME", help="only these models")
    found.add_argument("--foldings", nargs="*", choices=FOLDINGS, metavar="NAME", default=FOLDINGS,
                       help=f"only these of {', '.join(FOLDINGS)}")
    found.add_argument("--inputs", type=int, default=100, metavar="N", help="test samples (default 100)")
    return found


def main() -> None:
    asked = parser().parse_args()
    for name in asked.models or available(asked.shared):
        work = load(name, asked.shared)
        for folding in asked.foldings:
            TABLE.record([row(work, folding, asked.inputs)])
    TABLE.show(TABLE.rows())


if __name__ == "__main__":
    main()
