"""User data on their way into a graph and back, at every level."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from irc.diagnostics import IrcError
from irc.interpreter import evaluate
from irc.samples import bind, load_samples, present
from irc.text import read_graph

MODEL = read_graph("""graph g at model {
  in image: f32[1, 2, 2]
  in ids: u4[3]
  out image = image
  out ids = ids
}""")
INTEGER = read_graph("""graph g at integer {
  in x: u8[1, 2, 2] scale=[0.5, 0.25] zero=10
  out y = x scale=[0.5, 0.25] zero=10
}""")
DATAFLOW = read_graph("""graph g at dataflow {
  in x: stream u8[6, 2] lanes=2 depth=2 scale=[0.5] tensor=u8[1, 2, 3, 2] order=[0, 2, 3, 1]
  out y = x scale=[0.5] tensor=u8[1, 2, 3, 2] order=[0, 2, 3, 1]
}""")
IMAGE, IDS = np.zeros((5, 2, 2), np.float32), np.zeros((5, 3), np.int64)


def test_batch_dimension_comes_and_goes() -> None:
    feeds = bind(MODEL, {"image": IMAGE + 1, "ids": IDS, "labels": np.zeros(5)})
    assert {name: a.shape for name, a in feeds.items()} == {"image": (5, 1, 2, 2), "ids": (5, 3)}
    shown = present(MODEL, evaluate(MODEL, feeds))
    assert {name: a.shape for name, a in shown.items()} == {"image": (5, 2, 2), "ids": (5, 3)}


def test_batch_dimension_may_be_given() -> None:
    assert bind(MODEL, {"image": IMAGE[:, None], "ids": IDS})["image"].shape == (5, 1, 2, 2)


def test_reals_are_quantized_as_numpy_says() -> None:
    data = np.linspace(-9, 200, 20).reshape(5, 2, 2)
    scale = np.array([0.5, 0.25]).reshape(1, 2, 1)
    expected = np.clip(np.round(data / scale) + 10, 0, 255)
    np.testing.assert_array_equal(bind(INTEGER, {"x": data})["x"][:, 0], expected)


def test_what_the_integers_mean_comes_back() -> None:
    data = np.random.default_rng(0).integers(-10, 50, (5, 2, 2)) * np.array([0.5, 0.25]).reshape(1, 2, 1)
    data = np.maximum(data, [[-5.0], [-2.5]])
    np.testing.assert_array_equal(present(INTEGER, {"y": bind(INTEGER, {"x": data})["x"]})["y"], data)


def test_streams_send_channels_innermost() -> None:
    data = np.arange(12).reshape(1, 2, 3, 2) / 2
    values = bind(DATAFLOW, {"x": data})["x"]
    np.testing.assert_array_equal(values[0], np.moveaxis(data[0], 0, -1).reshape(6, 2) * 2)


def test_streams_come_back_as_tensors() -> None:
    data = np.arange(24).reshape(2, 2, 3, 2) / 2
    np.testing.assert_array_equal(present(DATAFLOW, evaluate(DATAFLOW, bind(DATAFLOW, {"x": data})))["y"], data)


@pytest.mark.parametrize(("data", "message"), [
    ({"image": IMAGE, "idz": IDS}, "there are no data for input 'ids' Hint: Rename 'idz' to 'ids'."),
    ({"image": IMAGE[:, :1], "ids": IDS},
     "the array for input 'image' has shape [5, 1, 2], expected is [samples, 2, 2]"),
    ({"image": IMAGE[0, 0, 0], "ids": IDS}, "the array for input 'image' has shape [], expected is [samples, 2, 2]"),
    ({"image": IMAGE + np.nan, "ids": IDS}, "the array for input 'image' holds NaN or infinity"),
    ({"image": IMAGE.astype(str), "ids": IDS}, "the array for input 'image' has dtype <U32, not numbers"),
    ({"image": IMAGE, "ids": IDS / 2}, "the array for input 'ids' has dtype float64, but the input takes integers"),
    ({"image": IMAGE, "ids": IDS + 16}, "the array for input 'ids' holds values in [16, 16], outside u4"),
    ({"image": IMAGE[:3], "ids": IDS}, "inputs have different numbers of samples: image 3, ids 5"),
    ({"image": IMAGE[:0], "ids": IDS[:0]}, "the array for input 'image' has no samples"),
])
def test_unfit_data_are_e401(data: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(IrcError) as problem:
        bind(MODEL, data)
    assert str(problem.value) == f"error[E401]: {message}"


def test_npz_file_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=IMAGE, labels=np.arange(5))
    found = load_samples(tmp_path / "x.npz")
    assert {name: a.shape for name, a in found.items()} == {"image": (5, 2, 2), "labels": (5,)}


def test_missing_file_is_e101(tmp_path: Path) -> None:
    with pytest.raises(IrcError, match="E101"):
        load_samples(tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", json.dumps({"x": 1}).encode()])
def test_file_of_another_kind_is_e101(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(IrcError, match="E101"):
        load_samples(tmp_path / "x.npz")


def test_truncated_file_is_e101(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros(1000))
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:-200])
    with pytest.raises(IrcError, match="E101"):
        load_samples(tmp_path / "x.npz")


def test_single_array_is_e101(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGE)
    with pytest.raises(IrcError, match=r"E101.*numpy.savez"):
        load_samples(tmp_path / "x.npy")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.array([{}], object))
    with pytest.raises(IrcError, match=r"E401.*Python objects"):
        load_samples(tmp_path / "x.npz")
