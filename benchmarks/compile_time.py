"""CPU seconds of the command line, as the operating system counts them for the whole process."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from child import run
from report import Table
from workloads import QUANTIZE, Workload, arguments, load

RUNS = 5  # the median counts
TABLE = Table("compile_time", "CPU seconds of the command line", ("command",), {
    "command": "", "runs": "d", "cpu_seconds": ".2f", "at_most": ".1f", "as_wanted": ""})


def cpu_seconds(*arguments: str | Path) -> float:
    """The median over some runs of `irc`."""
    return statistics.median(run([sys.executable, "-m", "irc", *arguments])[1] for _ in range(RUNS))


def compile_seconds(work: Workload, target: str) -> float:
    with TemporaryDirectory() as folder:
        return cpu_seconds("compile", work.model, "--passes", QUANTIZE, "--calib", work.calibration, "--target", target,
                           "-o", Path(folder) / "build")


def main() -> None:
    work = load("mnist_lenet", arguments(__doc__ or "").parse_args().shared)
    found = {f"irc compile {work.name} --target {target}": (compile_seconds(work, target), 10.0)
             for target in ("verilog", "hls", "sim")}
    found["irc --help"] = (cpu_seconds("--help"), 0.3)
    rows = [{"command": command, "runs": RUNS, "cpu_seconds": seconds, "at_most": most, "as_wanted": seconds < most}
            for command, (seconds, most) in found.items()]
    TABLE.show(rows)
    TABLE.record(rows)


if __name__ == "__main__":
    main()
