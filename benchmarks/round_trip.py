"""Compressed models, exported to QDQ ONNX and run in ONNX Runtime on whole test sets: the same classes?

The outputs of ONNX Runtime are compared, in steps of the integer model's output, with the integer model that becomes
hardware. They differ where float32 rounds an activation to the other side of a tie. That nothing else happens is shown
on some items, tensor by tensor, as in quantized_models.py, and on all items whose class differs.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from PIL import Image
from quantized_models import NEAR, Count, counts, tensors
from reference import runtime
from report import Table
from workloads import CALIBRATION, SCRATCH, arguments, available, load

from backends.onnx import ONNX
from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.pipeline.driver import run_pipeline, steps_to
from irc.pipeline.language import parse_pipeline
from irc.samples import bind, load_samples
from irc.types import Array, Encoding, Level

TRACED = 200  # items looked at tensor by tensor
EXACT = "fold, clean, integer"
PIPELINES = {
    "mnist_lenet": ("quantize{weights=s8 activations=u8}", "prune{sparsity=0.5}, quantize{weights=s4 activations=u6}",
                    "shift{terms=2}, quantize{activations=u8}"),
    "cifar_resnet8": ("quantize{weights=s8 activations=u8}",
                      "prune{sparsity=0.3}, quantize{weights=s5 activations=u6}"),
}
TABLE = Table("round_trip", "Exported to QDQ ONNX: ONNX Runtime against the integer model", ("model", "passes"), {
    "model": "", "passes": "", "inputs": ",d", "same_class": ",d", "equal_outputs_percent": ".3f", "traced": ",d",
    "equal_integers_percent": ".5f", "largest_difference": "d", "farthest_from_a_tie": ".1e", "accuracy": ".2f",
    "as_wanted": ""})


@dataclass(frozen=True, slots=True)
class Task:
    """A model with data for calibration and test."""

    model: Path
    train: Array
    test: Array
    labels: Array


def photographs(shared: Path, split: str, count: int | None = None) -> tuple[Array, Array]:
    """Images [N, 3, 32, 32], 0 to 255, from their JPEG files, which share one header; and their labels."""
    data = np.load(shared / "data" / "research_only" / f"cifar10_{split}_jpeg.npz")
    header, body = data["header"].tobytes(), data["body"].tobytes()
    ends = data["offset"][: None if count is None else count + 1]
    images = [np.asarray(Image.open(io.BytesIO(header + body[start:end]))) for start, end in pairwise(ends)]
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32), data["y"][: len(images)].astype(np.int64)


def task(name: str, shared: Path) -> Task:
    """One of PIPELINES, or the shipped LeNet-5."""
    if name == "cifar_resnet8":
        train, _ = photographs(shared, "train", CALIBRATION)
        return Task(shared / "models" / "baseline" / f"{name}.onnx", train, *photographs(shared, "test"))
    work = load(name, shared)
    (images,) = (array for port, array in work.samples.items() if port not in ("labels",))
    (train,) = load_samples(work.calibration).values()
    return Task(work.model, train, images, work.samples["labels"])


def exported(model: Graph, passes: str, train: Array) -> tuple[Graph, bytes]:
    """The compressed model, and its file."""
    (port,) = model.inputs
    steps = parse_pipeline(f"fold, clean, drop_softmax, {passes}")
    graph = run_pipeline(model, steps, calibration={port.name: train}, check=False).graph
    content = ONNX.emit(graph)["model.onnx"]
    assert isinstance(content, bytes)
    return graph, content


def results(graph: Graph, images: Array) -> tuple[Array, Encoding]:
    """Integers of the integer model, and what they mean."""
    low = run_pipeline(graph, steps_to(Level.MODEL, Level.INTEGER), check=False).graph
    (port,) = low.outputs
    assert port.encoding is not None
    (found,) = evaluate(low, bind(low, {low.inputs[0].name: images})).values()
    return found, port.encoding


def traced(file: Path, items: Array) -> list[Count]:
    """The exported model tensor by tensor, from ONNX Runtime's own integers."""
    model = onnx.load(file)
    graph = run_pipeline(read_onnx(file), parse_pipeline(EXACT), check=False).graph
    return list(counts(model, tensors(model, graph), items, fused=False))


def row(name: str, passes: str, given: Task) -> dict[str, object]:
    """One pipeline."""
    graph, content = exported(read_onnx(given.model), passes, given.train)
    file = SCRATCH / f"round_trip_{name}.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    (theirs,), (ours, meaning) = runtime(content, [given.test], optimized=True), results(graph, given.test)
    theirs, reals = theirs.reshape(ours.shape), meaning.decode(ours)
    differing = np.flatnonzero(theirs.argmax(axis=-1) != reals.argmax(axis=-1))
    for item in differing:
        print(f"{name}, {passes}: item {item}, {reals[item].ravel()} here, {theirs[item].ravel()} there")
    chosen = np.union1d(np.arange(TRACED), differing)
    off = np.abs(theirs - reals) > 0.5 * np.max(meaning.scale)
    return {"model": name, "passes": passes, "inputs": len(ours), "same_class": len(ours) - len(differing),
            "equal_outputs_percent": 100 * float(1 - np.mean(off)), "traced": len(chosen),
            "accuracy": 100 * float(np.mean(reals.argmax(axis=-1).ravel() == given.labels)),
            **explained(traced(file, given.test[chosen]), len(differing))}


def explained(parts: list[Count], differing: int) -> Mapping[str, object]:
    """Whether all differences are those of float32."""
    far = [d for part in parts for d in part.distances]
    largest, total = max(part.largest for part in parts), sum(part.integers for part in parts)
    return {"equal_integers_percent": 100 * (1 - len(far) / total), "largest_difference": largest,
            "farthest_from_a_tie": float(max(far, default=0)),
            "as_wanted": differing == 0 and largest <= 1 and max(far, default=Fraction(0)) < NEAR}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--models", nargs="*", metavar="NAME", choices=PIPELINES, help="only these")
    asked = parser.parse_args()
    names = asked.models or (PIPELINES if asked.shared.is_dir() else available(asked.shared))
    for name in names:
        given = task(name, asked.shared)
        for passes in PIPELINES.get(name, PIPELINES["mnist_lenet"]):
            TABLE.record([row(name, passes, given)])
    TABLE.show(TABLE.rows())


if __name__ == "__main__":
    main()
