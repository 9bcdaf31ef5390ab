"""CPU seconds and memory for rounding one large layer with compensation, scales and refinement, on one core."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from report import Table

from irc.types import Array, Integer
from passes.reconstruction.statistics import moments
from passes.rounding.alphabet import alphabet
from passes.rounding.fit import Rounding
from passes.rounding.scales import Grid

SAMPLES, RANK = 4096, 256
TABLE = Table("rounding_speed", "rounding of a random layer on one core", ("size", "bits"), {
    "size": "d", "bits": "d", "cpu_seconds": ".1f", "at_most_seconds": "d", "peak_gb": ".2f", "at_most_gb": "d",
    "error": ".4f", "nearest_error": ".4f"})


def layer(size: int) -> tuple[Array, Array]:
    """Random weights, and the second moments of inputs that are correlated like those of real layers."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(RANK, size)).astype(np.float32) * rng.exponential(size=(RANK, 1)).astype(np.float32)
    inputs = rng.normal(size=(SAMPLES, RANK)).astype(np.float32) @ mixing
    inputs += rng.normal(size=inputs.shape).astype(np.float32) * 4
    gram = moments([(inputs[None, :, :1], inputs[None])]).gram
    return rng.normal(size=(1, size, size)), gram


def measured(size: int, bits: int) -> dict[str, object]:
    """One layer in this process; errors are root mean squares, relative to the layer's output."""
    weights, gram = layer(size)
    rounding = Rounding(alphabet(Integer(True, bits)), Grid(5), (size,))
    begin = time.process_time()
    found = rounding.fit(weights, gram)
    seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    nearest = rounding.start(weights)
    return {"size": size, "bits": bits, "cpu_seconds": seconds, "at_most_seconds": 60, "peak_gb": peak,
            "at_most_gb": 2, "error": relative(weights, found.values, gram),
            "nearest_error": relative(weights, nearest.values, gram)}


def relative(weights: Array, values: Array, gram: Array) -> float:
    change, whole = (float(((m @ gram) * m).sum()) for m in (values - weights, weights))
    return float(np.sqrt(change / whole))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096, help="rows and columns of the layer")
    parser.add_argument("--bits", type=int, default=3)
    given = parser.parse_args()
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if any(os.environ.get(name) != count for name, count in single.items()):  # read when NumPy is loaded
        sys.exit(subprocess.run([sys.executable, Path(__file__), *sys.argv[1:]], env=os.environ | single,
                                check=False).returncode)
    rows = [measured(given.size, given.bits)]
    TABLE.show(rows)
    TABLE.record(rows)


if __name__ == "__main__":
    main()
