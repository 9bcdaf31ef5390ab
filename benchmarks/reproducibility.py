"""Two builds of the same input, in two processes with different hash seeds, are the same to the byte."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from child import run
from report import Table
from workloads import QUANTIZE, SHIPPED_NAME, Workload, arguments, available, load

TARGETS = ("verilog", "hls", "sim")
TABLE = Table("reproducibility", "Two builds of the same input", ("model", "target"), {
    "model": "", "target": "", "files": ",d", "bytes": ",d", "differing_files": "d", "as_wanted": ""})


def built(work: Workload, target: str, folder: Path, seed: int) -> dict[str, bytes]:
    """The files of a build, by their path in it."""
    command: list[str | Path] = [
        sys.executable, "-m", "irc", "compile", work.model, "--passes", QUANTIZE, "--calib", work.calibration,
        "--target", target, "-o", folder]
    run(command, environment={**os.environ, "PYTHONHASHSEED": str(seed)})
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def row(work: Workload, target: str) -> dict[str, object]:
    with TemporaryDirectory() as folder:
        a, b = (built(work, target, Path(folder) / str(seed), seed) for seed in (1, 2))
    differing = [path for path in {*a, *b} if a.get(path) != b.get(path)]
    return {"model": work.name, "target": target, "files": len(a), "bytes": sum(map(len, a.values())),
            "differing_files": len(differing), "as_wanted": not differing}


def main() -> None:
    shared = arguments(__doc__ or "").parse_args().shared
    names = [name for name in available(shared) if name in ("mnist_lenet", "sentiment_cnn", SHIPPED_NAME)]
    works = [load(name, shared) for name in names]
    rows = [row(work, target) for work in works for target in TARGETS]
    TABLE.show(rows)
    TABLE.record(rows)


if __name__ == "__main__":
    main()
