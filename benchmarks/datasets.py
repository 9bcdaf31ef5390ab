"""Data sets of the collection for compression without training: unlabelled samples to calibrate on, and a test set.

Calibration samples are training samples drawn with a fixed seed; for the keyword test set, which comes without training
samples, every second item, and the other half is tested. CIFAR-10 is stored as JPEG files, which Pillow reads.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from workloads import Samples, mnist, reviews

from irc.types import Array

_MEAN, _DEVIATION = (np.array(v, np.float32)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
_THEO = "theo"  # the speaker that the network never heard


def cifar(shared: Path, count: int) -> Samples:
    """Images [3, 32, 32] of 0 to 255."""
    train, _ = _jpeg(shared / "data" / "research_only" / "cifar10_train_jpeg.npz", count)
    return Samples(train, *_jpeg(shared / "data" / "research_only" / "cifar10_test_jpeg.npz", None))


def normalized_cifar(shared: Path, count: int) -> Samples:
    """Images as the public ResNets take them."""
    found = cifar(shared, count)
    return Samples(_normalized(found.train), _normalized(found.test), found.labels)


def _normalized(images: Array) -> Array:
    return np.asarray((images / np.float32(255) - _MEAN) / _DEVIATION)


def _jpeg(path: Path, count: int | None) -> tuple[Array, Array]:
    from PIL import Image

    data = np.load(path)
    header, body = data["header"].tobytes(), data["body"].tobytes()
    edges = data["offset"][: None if count is None else count + 1]
    images = [np.asarray(Image.open(io.BytesIO(header + body[a:b]))) for a, b in pairwise(edges)]
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32), data["y"][: len(images)].astype(np.int64)


def digits(shared: Path, count: int) -> Samples:
    """Handwritten digits."""
    found = mnist(shared)
    train = np.load(shared / "data" / "mnist.npz")["x_train"][:count, None].astype(np.float32) / np.float32(255)
    return Samples(train, found.test, found.labels)


def sentences(shared: Path, count: int) -> Samples:
    """Movie reviews as token numbers."""
    found, data = reviews(shared), np.load(shared / "data" / "research_only" / "mr.npz")
    return Samples(data["x_train"][:count].astype(np.int64), found.test, found.labels)


def unseen_speaker(shared: Path, count: int) -> Samples:
    """Spoken digits: tested on the speaker that training and calibration left out."""
    data = np.load(shared / "data" / "fsdd_logmel.npz")
    x = ((data["x"].astype(np.float32) * (22 / 255) - 14 + 10.08) / 4.94).astype(np.float32)
    test = data["speaker"] == list(data["speakers"]).index(_THEO)
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(~test))[:count]
    return Samples(x[drawn], x[test], data["y"][test].astype(np.int64))


def keywords(shared: Path, count: int) -> Samples:
    """MLPerf Tiny keyword spotting: calibrated on even items, tested on odd ones."""
    data = np.load(shared / "data" / "mlperf_kws01.npz")
    x = ((data["x_int8"].astype(np.float32) - data["zero_point"]) * data["scale"]).astype(np.float32)
    x = x.reshape(len(x), 1, 49, 10)
    return Samples(x[::2][:count], x[1::2], data["y"][1::2].astype(np.int64))


def streams(text: Array, count: int, steps: int) -> Array:
    """`count` pieces of a text at equal distances, each of `steps` characters and the one behind."""
    starts = np.arange(count) * ((len(text) - 1) // count)
    return np.asarray(text[starts[:, None] + np.arange(steps + 1)])


def shakespeare(shared: Path) -> tuple[Array, Array]:
    """Characters as numbers: the first 90 % of the text, and the last 5 %."""
    with gzip.open(shared / "data" / "tinyshakespeare.txt.gz") as file:
        text = file.read().decode("utf8")
    numbers = {letter: i for i, letter in enumerate(sorted(set(text)))}
    found = np.array([numbers[letter] for letter in text], np.int64)
    return found[: len(found) * 9 // 10], found[len(found) * 19 // 20 :]


DATA: dict[str, Callable[[Path, int], Samples]] = {
    "cifar_resnet8": cifar, "cifar_resnet20": normalized_cifar, "kws_resnet_heldout_theo": unseen_speaker,
    "mlperf_kws_dscnn": keywords, "sentiment_cnn": sentences, "mnist_lenet": digits, "mnist_mlp": digits}
MODELS = {
    "cifar_resnet8": "baseline/cifar_resnet8.onnx", "cifar_resnet20": "third_party/cifar_resnet20.onnx",
    "kws_resnet_heldout_theo": "baseline/kws_resnet_heldout_theo.onnx",
    "mlperf_kws_dscnn": "mlperf_tiny/mlperf_kws_dscnn_fp32.onnx", "mnist_lenet": "baseline/mnist_lenet.onnx",
    "mnist_mlp": "baseline/mnist_mlp.onnx", "sentiment_cnn": "baseline/sentiment_cnn.onnx",
    "char_lstm": "baseline/char_lstm_dynbatch.onnx"}
