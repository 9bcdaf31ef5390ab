"""Simulated cycles a CPU second of the emitted simulator on 1,000 and 10,000 frames of LeNet, next to Verilator.

Two figures, because a simulator may know the cycle of everything without computing a value: `timing` solves the timing
law alone; `with values` is the emitted program as a whole, start of Python included, with 1,000 real images through all
layers, which the Verilated RTL has to compute too. Building the Verilated program is not counted.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from child import measured, run
from foldings import foldings
from report import Table
from workloads import SCRATCH, Workload, arguments, load

from irc.build import Build
from irc.compiler import Request, compile_model
from irc.dataflow.timing import simulate_timing
from irc.pipeline.plugins import find_backend
from irc.samples import bind, take

FRAMES = 1000
RTL_CYCLES = 10_000_000  # of Verilator, at most
TABLE = Table("simulator_speed", "Simulated cycles a CPU second, LeNet-5", ("model", "folding"), {
    "model": "", "folding": "", "cycles": ",d", "timing_s": ".3f", "Mcycles/s": ",.1f", "10x_costs": ".2f",
    "with_values_s": ".2f", "Verilator_frames": ",d", "its_Mcycles/s": ".2f", "timing/Verilator": ",.0f",
    "with_values/Verilator": ",.1f", "as_wanted": ""})


def timing_seconds(program: dict[str, Any], frames: int) -> float:
    """CPU seconds of the timing of a run: the best of three, to leave out first-time costs."""
    return min(_timing_seconds(program, frames) for _ in range(3))


def _timing_seconds(program: dict[str, Any], frames: int) -> float:
    start = time.process_time()
    schedule = program["solve"](program["design"]().network, frames)
    assert schedule.cycles
    return time.process_time() - start


def program_seconds(build: Build, work: Workload) -> float:
    """CPU seconds of `sim.py` as a program, start of Python included: values and timing of real images."""
    samples = SCRATCH / "simulator_samples.npz"
    kept = work.first(FRAMES)
    np.savez(samples, allow_pickle=False, **{name: np.resize(array, (FRAMES, *array.shape[1:])) for name, array
                                             in kept.items()})
    return run([sys.executable, build.design / "sim.py", "--input", samples, "--report"])[1]


def verilated(build: Build, work: Workload, frames: int, scratch: Path) -> tuple[int, float]:
    """Cycles and CPU seconds of the Verilated design."""
    graph, backend = build.graph("dataflow"), find_backend("verilog")
    feeds = {name: np.resize(array, (frames, *array.shape[1:])) for name, array in bind(graph, work.samples).items()}
    scratch.mkdir(parents=True, exist_ok=True)
    backend.run(build.design, graph, take(feeds, 1), scratch=scratch)  # builds the program
    done, seconds = measured(lambda: backend.run(build.design, graph, feeds, scratch=scratch))
    return done.cycles, seconds


def row(work: Workload, folding: str) -> dict[str, object]:
    builds = {target: compile_model(Request(work.model, target, foldings(work.name)[folding], work.calibration),
                                    SCRATCH / "speed" / f"{folding}_{target}")[0] for target in ("sim", "verilog")}
    program = runpy.run_path(str(builds["sim"].design / "sim.py"))
    timing = simulate_timing(builds["sim"].graph("dataflow"), FRAMES)
    short, long = (timing_seconds(program, frames) for frames in (FRAMES, 10 * FRAMES))
    whole = program_seconds(builds["sim"], work)
    frames = min(FRAMES, max(10, int(RTL_CYCLES / timing.interval)))
    rtl = verilated(builds["verilog"], work, frames, SCRATCH / "speed" / f"{folding}_objects")
    rate, with_values, rtl_rate = (1e-6 * n / t for n, t in ((timing.cycles, short), (timing.cycles, whole), rtl))
    return {
        "model": work.name, "folding": folding, "frames": FRAMES, "cycles": timing.cycles, "timing_s": short,
        "Mcycles/s": rate, "10x_costs": long / short, "with_values_s": whole, "Verilator_frames": frames,
        "its_Mcycles/s": rtl_rate, "timing/Verilator": rate / rtl_rate, "with_values/Verilator": with_values / rtl_rate,
        "as_wanted": rate >= 20 and rate >= 10 * rtl_rate and long <= 1.5 * short}


def main() -> None:
    work = load("mnist_lenet", arguments(__doc__ or "").parse_args().shared)
    rows = [row(work, folding) for folding in foldings(work.name)]
    TABLE.show(rows)
    TABLE.record(rows)


if __name__ == "__main__":
    main()
