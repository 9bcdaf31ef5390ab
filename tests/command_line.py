"""The command line as tests call it, and the inputs that they give it."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from irc.cli import invoke

DATA = Path(__file__).parents[1] / "examples" / "data"
LENET, IMAGES, CALIBRATION = DATA / "mnist_lenet.onnx", DATA / "mnist.npz", DATA / "mnist_calibration.npz"

DENSE = """\
graph dense at integer {
  in x: u4[1, 4] scale=[0.25]
  const w: s4[4, 3] = [[1, -2, 3], [4, -5, 6], [7, -8, 1], [2, -3, 4]]
  h: s11[1, 3] = matmul(x, w) from "onnx:/fc/MatMul"
  y: u11[1, 3] = relu(h) from "onnx:/Relu"
  out y = y scale=[0.5]
}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def irc(*arguments: object) -> Answer:
    """Run `irc` with these arguments in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke([str(argument) for argument in arguments])
    return Answer(code, out.getvalue(), err.getvalue())


def compile_lenet(folder: Path, target: str, *more: object) -> Answer:
    """LeNet with 5-bit weights, calibrated on the shipped images."""
    return irc("compile", LENET, "--passes", "quantize{weights=s5 activations=u8}", "--calib", CALIBRATION,
               "--target", target, "-o", folder, *more)


def dense(folder: Path) -> Path:
    """A tiny integer network as IR text."""
    path = folder / "dense.irc"
    path.write_text(DENSE)
    return path


def compile_dense(folder: Path, target: str, passes: str = "") -> Path:
    """A build of the tiny network."""
    assert irc("compile", dense(folder), "--target", target, "--passes", passes, "-o", folder / target).code == 0
    return folder / target


def dense_data(folder: Path, samples: int = 6) -> Path:
    """Samples of the tiny network's input."""
    path = folder / "x.npz"
    np.savez(path, x=np.random.default_rng(0).integers(0, 16, (samples, 4)) / 4)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
