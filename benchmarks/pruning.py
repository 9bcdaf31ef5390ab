"""Pruning without training: accuracy on the whole test sets and what the networks then take to store.

`pruned` is the accuracy of the network of reals, `integer` that of the integer model behind `quantize`, which the C
program and the simulator equal. Stored bytes count indices, scales and biases, beside float32 (`irc/storage.py`).
Calibration takes training samples, without labels. With a half or a quarter of the weights left, DARB must beat windows
of one size that keep at least as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from zlib import crc32

import numpy as np
from accuracy import accuracy
from report import Table
from workloads import COLLECTION, QUANTIZE, SCRATCH, SHIPPED_NAME, Workload, arguments, available, load

from irc.compiler import Request, compile_model
from irc.frontend import read_onnx
from irc.graph import Graph
from irc.pipeline.driver import run_pipeline
from irc.pipeline.judge import Criterion
from irc.pipeline.language import parse_pipeline
from irc.samples import load_samples
from irc.storage import stored_fraction
from irc.types import Array
from irc.verify import verify
from passes.prune.parts import layer_parts, table_parts

CALIBRATION = 1_000  # training samples
EXACT = 100  # samples that the C program and the simulator compute too
LARGEST_RATIO = 4  # at which DARB must be better
LONGEST = 5.0  # CPU seconds of a pass on LeNet
TABLE = Table("pruning", "Pruning without training", ("model", "passes"), {
    "model": "", "passes": "", "inputs": ",d", "float": ".2f", "zeros": ".1%", "pruned": ".2f", "integer": ".2f",
    "at_least": ".2f", "stored": ".2%", "at_most": ".1%", "as_wanted": "", "cpu_seconds": ".2f",
    "same_in_c_and_sim": ""})


@dataclass(frozen=True, slots=True)
class Trial:
    """Passes, what they must reach (None: no target), and how the network is then quantized."""

    passes: str
    pruned: float | None = None
    integer: float | None = None
    stored: float | None = None
    beats: str = ""  # the passes of another trial
    quantize: str = "quantize{weights=s8 activations=u8}"


def elements() -> Iterator[Trial]:
    """Single weights of the perceptron; the targets hold for second order over all layers."""
    for sparsity, wanted in ((0.5, 97.8), (0.8, 96.5), (0.9, 93.0)):
        for criterion in ("magnitude", "activation", "second_order"):
            for scope in ("layer", "global"):
                yield Trial(f"prune{{sparsity={sparsity} criterion={criterion} scope={scope}}}",
                            wanted if criterion == "second_order" else None)


def structures() -> Iterator[Trial]:
    """Windows and blocks of the perceptron."""
    for criterion in ("magnitude", "second_order"):
        for size in (2, 4, 8):
            equal = f"prune{{granularity=blockmax block={size} criterion={criterion}}}"
            yield Trial(equal)
            adaptive = f"granularity=darb sparsity={1 - 1 / size} criterion={criterion}"
            yield Trial(f"prune{{{adaptive}}}", beats=equal if size <= LARGEST_RATIO else "")
            yield Trial(f"prune{{{adaptive} scope=global}}")
        yield Trial(f'prune{{granularity=pattern pattern="2:4" criterion={criterion}}}')
        yield Trial(f"prune{{granularity=block block=[2, 2] sparsity=0.8 criterion={criterion} scope=global}}")


def reviews() -> Iterator[Trial]:
    """The sentiment network, embedding table included: one standard error is 1.27 points."""
    yield Trial("clean", integer=77.95 - 1.27, stored=0.157, quantize=QUANTIZE)
    for sparsity in (0.55, 0.75, 0.8, 0.85):
        yield Trial(f"prune{{sparsity={sparsity} criterion=second_order scope=global tables=true}}",
                    integer=77.95 - 1.27, stored=0.07 if sparsity >= 0.75 else None, quantize=QUANTIZE)


def digits() -> Iterator[Trial]:
    """LeNet, for the time that the passes take."""
    for criterion in ("magnitude", "activation", "second_order"):
        yield Trial(f"prune{{sparsity=0.8 criterion={criterion} scope=global}}")
    for search in ("rmhc", "sa"):
        yield Trial(f"prune{{scope=search search={search} floor=0.01 evaluations=20}}")


TRIALS: dict[str, Callable[[], Iterable[Trial]]] = {
    "mnist_mlp": lambda: (*elements(), *structures()), "sentiment_cnn": reviews, "mnist_lenet": digits,
    SHIPPED_NAME: digits}


def measured(work: Workload, trial: Trial, real: float) -> dict[str, object]:
    """One row: the network pruned, quantized, stored, and computed by all targets."""
    model, data = read_onnx(work.model), load_samples(work.calibration)
    pruned, seconds = timed(model, trial.passes, data)
    folder = SCRATCH / "pruning" / f"{work.name}_{crc32(trial.passes.encode()):08x}"
    passes = f"{trial.passes}, fold, {trial.quantize}"
    build, _ = compile_model(Request(work.model, "hls", passes, work.calibration), folder)
    size = stored_fraction(build.graph("quantized"), model)
    found = {"pruned": accuracy(pruned, work), "integer": accuracy(build.graph("integer"), work)}
    return {"model": work.name, "passes": trial.passes, "inputs": len(work.samples["labels"]), "float": real,
            "zeros": zeros(pruned), **found, "at_least": trial.pruned or trial.integer, "stored": size,
            "at_most": trial.stored, "as_wanted": wanted(trial, found, size, seconds, work), "cpu_seconds": seconds,
            "same_in_c_and_sim": verify(build, work.first(EXACT), frames=10, only=("hls", "sim")).ok}


def timed(model: Graph, passes: str, data: dict[str, Array]) -> tuple[Graph, float]:
    """The network after the passes, and the CPU time they took, their contracts unchecked."""
    steps, start = parse_pipeline(passes), process_time()
    calibration = {port.name: data[port.name].reshape(-1, *model.tensor(port.name).shape) for port in model.inputs}
    found = run_pipeline(model, steps, calibration=calibration, check=False, judge=Criterion().judge(model, data))
    return found.graph, process_time() - start


def wanted(trial: Trial, found: dict[str, float], size: float, seconds: float, work: Workload) -> bool | None:
    """Whether all targets of a trial are met; None where it has none."""
    checks = [found["pruned"] >= trial.pruned] if trial.pruned else []
    checks += [found["integer"] >= trial.integer] if trial.integer else []
    checks += [size <= trial.stored] if trial.stored else []
    if trial.beats:
        other = next(row for row in TABLE.rows() if (row["model"], row["passes"]) == (work.name, trial.beats))
        checks.append(found["pruned"] > float(str(other["pruned"])))
    checks += [seconds <= LONGEST] if "lenet" in work.name else []
    return all(checks) if checks else None


def zeros(graph: Graph) -> float:
    """The share of zeros among all weights, those of tables included."""
    parts = [*layer_parts(graph, lambda node: True), *table_parts(graph, lambda node: True)]
    return sum(int((p.constant.data == 0).sum()) for p in parts) / sum(p.constant.data.size for p in parts)


def calibrated(work: Workload, shared: Path) -> Workload:
    """The workload with more training samples to calibrate on; the shipped one keeps what it has."""
    if work.name == SHIPPED_NAME:
        return work
    path = SCRATCH / "calibration" / f"{work.name}_{CALIBRATION}.npz"
    (port,) = read_onnx(work.model).inputs
    np.savez(path, allow_pickle=False, **{port.name: training(work.name, shared)})
    return replace(work, calibration=path)


def training(name: str, shared: Path) -> Array:
    """Training samples without labels."""
    if name == "sentiment_cnn":
        return np.asarray(np.load(shared / "data" / "research_only" / "mr.npz")["x_train"][:CALIBRATION], np.int64)
    images = np.load(shared / "data" / "mnist.npz")["x_train"][:CALIBRATION, None]
    return np.asarray(images.astype(np.float32) / np.float32(255))


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--passes", default="", metavar="TEXT", help="only the trials whose passes contain this")
    options = parser.parse_args()
    names = [SHIPPED_NAME] if available(options.shared) == [SHIPPED_NAME] else [n for n in TRIALS if n in COLLECTION]
    for work in (calibrated(load(name, options.shared), options.shared) for name in names):
        real = accuracy(read_onnx(work.model), work)
        for trial in (trial for trial in TRIALS[work.name]() if options.passes in trial.passes):
            TABLE.record([measured(work, trial, real)])
            TABLE.show(TABLE.rows()[-1:])
    TABLE.show(TABLE.rows())


if __name__ == "__main__":
    main()
