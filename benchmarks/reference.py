"""Real test items for every model of the collection, and what others make of them: ONNX Runtime, stored results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from workloads import embedded_reviews, mnist, pixels, reviews

from irc.types import Array

MEAN, DEVIATION = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of the images that resnet20 and 56 were trained on


def cifar(shared: Path) -> Array:
    """Photographs, 0 to 255."""
    data = np.load(shared / "data" / "research_only" / "cifar10_small.npz")
    return np.asarray(data["x_test"].transpose(0, 3, 1, 2), np.float32)


def normalized_cifar(shared: Path) -> Array:
    """Photographs, each colour with mean 0 and deviation 1."""
    mean, deviation = (np.float32(v)[:, None, None] for v in (MEAN, DEVIATION))
    return np.asarray((cifar(shared) / 255 - mean) / deviation, np.float32)


def keywords(shared: Path) -> Array:
    """Spoken words as 49 by 10 cepstral coefficients."""
    data = np.load(shared / "data" / "mlperf_kws01.npz")
    return np.asarray((data["x_int8"].astype(np.float32) - data["zero_point"]) * data["scale"], np.float32)


def spoken_digits(shared: Path) -> Array:
    """Spoken digits as logarithmic mel spectra, with mean 0 and deviation 1."""
    data = np.load(shared / "data" / "fsdd_logmel.npz")
    decibels = data["x"][data["is_test"]].astype(np.float32) * (22 / 255) - 14
    return np.asarray((decibels + 10.08) / 4.94, np.float32)


def small_digits(shared: Path) -> Array:
    """Handwritten digits of 8 by 8 pixels."""
    return np.asarray(np.load(shared / "models" / "digits" / "digits.npz")["Xte"])


# by the first letters of a model's name; the first that fits
ITEMS: Mapping[str, Callable[[Path], Array]] = {
    "mnist_": lambda shared: mnist(shared).test,
    "onnxzoo_mnist8": lambda shared: pixels(shared).test,
    "sentiment_cnn_embedded": lambda shared: embedded_reviews(shared).test,
    "sentiment_cnn": lambda shared: reviews(shared).test,
    "cifar_resnet8": cifar,
    "mlperf_ic": cifar,
    "cifar_resnet": normalized_cifar,
    "mlperf_kws": keywords,
    "kws_resnet": spoken_digits,
    "mlp": small_digits,
    "cnn": small_digits,
}


def real_items(model: Path, shared: Path, count: int) -> list[Array]:
    """The first test items for a model of one input; none where there are no data."""
    found = next((read for name, read in ITEMS.items() if model.stem.startswith(name)), None)
    return [found(shared)[:count]] if found else []


def stored(model: Path) -> tuple[list[Array], list[Array]]:
    """The inputs and outputs that were stored beside a model, each [samples, ...]; none where there are none."""
    path = model.with_name(f"{model.stem.removesuffix('_dynbatch').removesuffix('_dynamo')}_io.npz")
    if not path.is_file():
        return [], []
    data = np.load(path)
    if "x" in data.files:
        return [data["x"]], [data["y"]]
    return _stacked(data, "in"), _stacked(data, "out")


def _stacked(data: Mapping[str, Array], side: str) -> list[Array]:
    """Arrays named `<side><sample>:<port>`, one a port."""
    ports = dict.fromkeys(name.split(":", 1)[1] for name in data if name.startswith(side))
    return [np.stack([data[n] for n in data if n.startswith(side) and n.split(":", 1)[1] == port]) for port in ports]


def runtime(model: bytes, inputs: Sequence[Array], optimized: bool = False) -> list[Array]:
    """Outputs of ONNX Runtime on `inputs` [samples, ...], one sample after the other, each with a batch of 1."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    ports = session.get_inputs()
    shaped = [array.reshape(len(array), *(n if isinstance(n, int) else 1 for n in port.shape))
              for port, array in zip(ports, inputs, strict=True)]
    rows = [session.run(None, {port.name: array[i] for port, array in zip(ports, shaped, strict=True)})
            for i in range(len(shaped[0]))]
    return [np.stack(column) for column in zip(*rows, strict=True)]
