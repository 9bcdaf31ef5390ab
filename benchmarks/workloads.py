"""The models and data sets that the benchmarks measure.

The whole collection (trained ONNX models, full test sets) is a folder of its own, `shared` beside the checkout unless
`--shared` names another. Without it the benchmarks fall back to the shipped LeNet-5 and 300 images, and say so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from irc.frontend import read_onnx
from irc.samples import load_samples
from irc.types import Array

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / "build" / "benchmarks"  # ignored by git
SHIPPED = ROOT / "examples" / "data"
SHIPPED_NAME = "shipped_lenet"  # its results stand beside those of the collection
CALIBRATION = 200  # training samples
QUANTIZE = "quantize{weights=s5 activations=u8}"


@dataclass(frozen=True, slots=True)
class Samples:
    """Training inputs for calibration; test inputs and labels."""

    train: Array
    test: Array
    labels: Array


@dataclass(frozen=True, slots=True)
class Workload:
    """A trained model, a file of calibration data, and its test set by input name, `labels` included."""

    name: str
    model: Path
    calibration: Path
    samples: Mapping[str, Array]

    def first(self, count: int, start: int = 0) -> dict[str, Array]:
        """Some of the test samples."""
        return {name: array[start : start + count] for name, array in self.samples.items()}


def mnist(shared: Path, scale: float = 255) -> Samples:
    """Handwritten digits, pixels divided by `scale`."""
    data = np.load(shared / "data" / "mnist.npz")
    train, test = (data[x][:, None].astype(np.float32) / np.float32(scale) for x in ("x_train", "x_test"))
    return Samples(train[:CALIBRATION], test, data["y_test"].astype(np.int64))


def pixels(shared: Path) -> Samples:
    """Handwritten digits, pixels 0 to 255."""
    return mnist(shared, scale=1)


def reviews(shared: Path) -> Samples:
    """Movie reviews as token numbers."""
    data = np.load(shared / "data" / "research_only" / "mr.npz")
    train, test = (data[x].astype(np.int64) for x in ("x_train", "x_test"))
    return Samples(train[:CALIBRATION], test, data["y_test"].astype(np.int64))


def embedded_reviews(shared: Path) -> Samples:
    """Movie reviews after the embedding table of `sentiment_cnn`: [samples, channels, positions]."""
    graph = read_onnx(shared / COLLECTION["sentiment_cnn"][0])
    (gather,) = (node for node in graph.nodes if node.op.name == "gather")
    table, tokens = graph.constants[gather.operands[0]].data.astype(np.float32), reviews(shared)
    train, test = (table[ids].transpose(0, 2, 1) for ids in (tokens.train, tokens.test))
    return Samples(train, test, tokens.labels)


COLLECTION: dict[str, tuple[str, Callable[[Path], Samples]]] = {
    "mnist_mlp": ("models/baseline/mnist_mlp.onnx", mnist),
    "mnist_mlp_dynbatch": ("models/baseline/mnist_mlp_dynbatch.onnx", mnist),
    "mnist_lenet": ("models/baseline/mnist_lenet.onnx", mnist),
    "mnist_lenet_dynamo": ("models/baseline/mnist_lenet_dynamo.onnx", mnist),
    "mnist_lenet_dynbatch": ("models/baseline/mnist_lenet_dynbatch.onnx", mnist),
    "onnxzoo_mnist8": ("models/third_party/onnxzoo_mnist8.onnx", pixels),
    "sentiment_cnn_embedded": ("models/baseline/sentiment_cnn_embedded.onnx", embedded_reviews),
    "sentiment_cnn": ("models/baseline/sentiment_cnn.onnx", reviews),
}


def arguments(about: str) -> argparse.ArgumentParser:
    """The command line that all benchmarks have."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", metavar="DIR",
                        help="the collection of models and data (default: beside the checkout)")
    return parser


@cache
def available(shared: Path) -> list[str]:
    """Names of the workloads that can be measured here. Says so when these are only the shipped ones."""
    if shared.is_dir():
        return list(COLLECTION)
    print(f"{shared} is not there: measuring the shipped LeNet-5 on 300 images only")
    return [SHIPPED_NAME]


def load(name: str, shared: Path) -> Workload:
    """A workload of the collection; the shipped one when that is not there."""
    if available(shared) == [SHIPPED_NAME]:
        return Workload(SHIPPED_NAME, SHIPPED / "mnist_lenet.onnx", SHIPPED / "mnist_calibration.npz",
                        load_samples(SHIPPED / "mnist.npz"))
    file, read = COLLECTION[name]
    (port,), samples = read_onnx(shared / file).inputs, read(shared)
    calibration = SCRATCH / "calibration" / f"{name}.npz"
    calibration.parent.mkdir(parents=True, exist_ok=True)
    np.savez(calibration, allow_pickle=False, **{port.name: samples.train})
    return Workload(name, shared / file, calibration, {port.name: samples.test, "labels": samples.labels})
