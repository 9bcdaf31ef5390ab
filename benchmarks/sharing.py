"""Weights that share few values, and weights of one and two bits, without training: accuracy on the whole test sets.

The accuracy is that of the integer model, with 8-bit activations; the C program and the simulator give the same
integers. Calibration takes training images, without labels. `at most` is the loss allowed, in points.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from accuracy import accuracy
from report import Table
from workloads import SCRATCH, SHIPPED_NAME, Workload, arguments, available, load

from irc.compiler import Request, compile_model
from irc.cost import op_costs
from irc.frontend import read_onnx
from irc.graph import Graph
from irc.verify import verify

ALLOWED = {16: 0.2, 8: 0.5}  # points, by the number of values
METHODS = ("cws", "ecsq", "pws", "uq")
QUANTIZE = "quantize{weights=s8 activations=u8}"
TABLE = Table("sharing", "Shared, ternary and binary weights without training", ("model", "passes"), {
    "model": "", "passes": "", "inputs": ",d", "float": ".2f", "accuracy": ".2f", "loss": "+.2f", "at_most": ".1f",
    "as_wanted": "", "weight_bytes": ",.0f", "of_float32": ".1%", "pass_seconds": ".2f", "same_in_c_and_sim": ""})


@dataclass(frozen=True, slots=True)
class Trial:
    """Passes in front of `quantize`, and the loss that they may cost (None: no target)."""

    passes: str
    allowed: float | None = None


def trials() -> Iterator[Trial]:
    """What is measured. Targets are about the layers' output; nearest values stand beside them."""
    for rounding in ("gptq", "nearest"):
        for values, allowed in ALLOWED.items():
            for method in METHODS:
                wanted = allowed if rounding == "gptq" and method in ("cws", "ecsq") else None
                yield Trial(f"share{{method={method} values={values} rounding={rounding}}}", wanted)
    yield Trial("share{method=cws values=16 rounding=gptq scope=kind}")
    yield Trial("share{method=cws values=8 rounding=gptq scope=kind}")
    for passes in ("ternarize", "ternarize{threshold=optimal}", "ternarize{rounding=gptq}", "binarize",
                   "binarize{rounding=gptq}", "binarize{activations=true rounding=gptq} @ weighted & !first & !last"):
        yield Trial(passes)


def measured(work: Workload, trial: Trial, real: float, exact: int) -> dict[str, object]:
    """One row: the network compressed, its accuracy, and whether all targets agree on `exact` images."""
    folder = SCRATCH / "sharing" / f"{work.name}_{crc32(trial.passes.encode()):08x}"
    passes = f"fold, {trial.passes}, fold, {QUANTIZE}"
    build, compiled = compile_model(Request(work.model, "hls", passes, work.calibration), folder)
    found = accuracy(build.graph("integer"), work)
    loss, size = real - found, weight_bits(build.graph("quantized")) / 8
    return {"model": work.name, "passes": trial.passes, "inputs": len(work.samples["labels"]), "float": real,
            "accuracy": found, "loss": loss, "at_most": trial.allowed,
            "as_wanted": None if trial.allowed is None else loss <= trial.allowed, "weight_bytes": size,
            "of_float32": 8 * size / weight_bits(read_onnx(work.model)), "pass_seconds": compiled.records[1].seconds,
            "same_in_c_and_sim": verify(build, work.first(exact), frames=10, only=("hls", "sim")).ok}


def weight_bits(graph: Graph) -> int:
    """Stored bits of the layers' weights: integers, or codebooks and the indices into them."""
    return sum(cost.weight_bits for cost in op_costs(graph) if cost.op in ("conv", "matmul"))


def calibrated(work: Workload, options: argparse.Namespace) -> Workload:
    """The workload with so many training images to calibrate on; the shipped one keeps what it has."""
    if work.name == SHIPPED_NAME:
        return work
    data = np.load(options.shared / "data" / "mnist.npz")["x_train"][: options.calibration, None]
    path = SCRATCH / "calibration" / f"{work.name}_{options.calibration}.npz"
    (port,) = read_onnx(work.model).inputs
    np.savez(path, allow_pickle=False, **{port.name: data.astype(np.float32) / np.float32(255)})
    return replace(work, calibration=path)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--models", nargs="*", default=["mnist_lenet", "mnist_mlp"], metavar="NAME")
    parser.add_argument("--calibration", type=int, default=1_000, metavar="N", help="training images")
    parser.add_argument("--exact", type=int, default=200, metavar="N", help="images that the C program computes too")
    parser.add_argument("--passes", default="", metavar="TEXT", help="only the trials whose passes contain this")
    options = parser.parse_args()
    names = options.models if available(options.shared) != [SHIPPED_NAME] else [SHIPPED_NAME]
    for work in (calibrated(load(name, options.shared), options) for name in names):
        real = accuracy(read_onnx(work.model), work)
        for trial in (trial for trial in trials() if options.passes in trial.passes):
            TABLE.record([measured(work, trial, real, options.exact)])
            TABLE.show(TABLE.rows()[-1:])
    TABLE.show(TABLE.rows())


if __name__ == "__main__":
    main()
