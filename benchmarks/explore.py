"""Fronts that `irc explore` finds: bits for each layer, either rounding, judged on some samples and tested on others.

The shipped LeNet-5 is explored and tested on halves of its 300 images. The keyword spotter (DS-CNN, MLPerf Tiny) has
1,000 items: the even ones calibrate (without labels) and judge, the odd ones test the points of the front afterwards.
"""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import RESULTS, Table
from workloads import SCRATCH, SHIPPED, arguments

from irc.explore.exploration import PICTURE, Exploration, Request, explore, prepared
from irc.explore.trial import Task
from irc.explore.workers import local
from irc.pipeline.judge import Criterion
from irc.samples import load_samples
from irc.types import Array

TABLE = Table("explore", "Fronts of accuracy, stored bytes and multiply-accumulates", ("model", "point"), {
    "model": "", "point": "d", "judged_accuracy": ".2f", "test_accuracy": ".2f", "test_loss": "+.2f",
    "stored_bytes": ",d", "percent_of_float": ".1f", "thousand_macs": ",.0f", "alike_in_all_layers": ""})


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explored: a network, its space, its data for calibration, judging and testing."""

    name: str
    model: Path
    space: str
    calibration: dict[str, Array]
    judged: dict[str, Array]
    tested: dict[str, Array]
    trials: int

    def saved(self, kind: str, data: dict[str, Array]) -> Path:
        """Data as a file for the command line."""
        path = SCRATCH / "explore" / f"{self.name}_{kind}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, allow_pickle=False, **data)
        return path


def halves(data: dict[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """The even and the odd samples."""
    return {k: v[0::2] for k, v in data.items()}, {k: v[1::2] for k, v in data.items()}


def lenet() -> Subject:
    """The shipped LeNet-5."""
    judged, tested = halves(load_samples(SHIPPED / "mnist.npz"))
    space = ("fold, clean, prune{sparsity=?layer{0 | 0.5 | 0.75} criterion=activation}, "
             "quantize{weights=?layer{s2 | s3 | s4 | s8} activations=u8 rounding=?{nearest | gptq}}")
    calibration = load_samples(SHIPPED / "mnist_calibration.npz")
    return Subject("shipped_lenet", SHIPPED / "mnist_lenet.onnx", space, calibration, judged, tested, 30)


def keywords(shared: Path) -> Subject:
    """The keyword spotter of MLPerf Tiny."""
    data = np.load(shared / "data" / "mlperf_kws01.npz")
    x = ((data["x_int8"] - data["zero_point"]) * data["scale"]).astype(np.float32)
    judged, tested = halves({"input": x, "labels": data["y"].astype(np.int64)})
    space = ("fold, clean, drop_softmax, "
             "quantize{weights=?layer{s3 | s4 | s5 | s6 | s8} activations=u8 rounding=?{nearest | gptq}}")
    return Subject("mlperf_kws_dscnn", shared / "models" / "mlperf_tiny" / "mlperf_kws_dscnn_fp32.onnx", space,
                   {"input": judged["input"][:200]}, judged, tested, 84)


def explored(subject: Subject, options: Namespace) -> Iterator[dict[str, object]]:
    """The front of a subject, each point tested on data that the search has not seen."""
    request = Request(subject.model, subject.space, Criterion(subject.saved("judged", subject.judged)),
                      subject.saved("calibration", subject.calibration),
                      options.trials or subject.trials)
    folder = SCRATCH / "explore" / subject.name
    found = explore(request, folder, folder.exists(), local(options.workers), told)
    RESULTS.mkdir(exist_ok=True)
    shutil.copyfile(folder / PICTURE, RESULTS / f"explore_{subject.name}.svg")
    task, _ = prepared(request)
    judge = Criterion(subject.saved("tested", subject.tested)).judge(task.graph, task.calibration)
    assert judge is not None
    tested = Task(task.graph, task.calibration, judge, task.seed)
    yield from rows(subject.name, found, tested)


def told(pipeline: str, done: int, most: int) -> None:
    print(f"{done} of {most}: {pipeline}", flush=True)


def rows(name: str, found: Exploration, tested: Task) -> Iterator[dict[str, object]]:
    """The network as it came in, then the points of the front."""
    before, reference = found.sizes_before, tested.judge.reference
    common = {"model": name, "trials": len(found.trials), "judged_samples": found.samples,
              "tested_samples": tested.judge.samples}
    yield {**common, "point": 0, "judged_accuracy": found.score_before, "test_accuracy": reference, "test_loss": 0.0,
           "stored_bytes": -(-before.bits // 8), "percent_of_float": 100.0, "thousand_macs": before.macs / 1000,
           "pipeline": ""}
    for point, trial in enumerate(found.front, 1):
        score = tested.run(trial.pipeline).score
        yield {**common, "point": point, "judged_accuracy": trial.score, "test_accuracy": score,
               "test_loss": reference - score, "stored_bytes": -(-trial.sizes.bits // 8),
               "percent_of_float": 100 * trial.sizes.bits / before.bits, "thousand_macs": trial.sizes.macs / 1000,
               "alike_in_all_layers": "" if "@" in trial.pipeline else "yes", "pipeline": trial.pipeline}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--trials", type=int, default=0, help="0: as recorded")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="the name of one model")
    options = parser.parse_args()
    if not options.shared.is_dir():
        print(f"{options.shared} is not there: exploring the shipped LeNet-5 only")
    subjects = [lenet(), *([keywords(options.shared)] if options.shared.is_dir() else [])]
    for subject in subjects:
        if options.only in ("", subject.name):
            fresh = list(explored(subject, options))
            TABLE.show(fresh)
            TABLE.replace("model", fresh)


if __name__ == "__main__":
    main()
