"""The light models of the onnx package: well-known networks, every weight of a layer the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx_models import interpret

from irc.frontend import read_onnx

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
SMALL = {"light_shufflenet", "light_squeezenet"}
MODELS = sorted(path.stem for path in FOLDER.glob("*.onnx"))


@pytest.mark.parametrize("name", [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow)
                                  for name in MODELS])
def test_light_model(name: str) -> None:
    graph = read_onnx(FOLDER / f"{name}.onnx")
    graph.verify()
    (port,), expected = graph.inputs, TensorProto()
    expected.ParseFromString((FOLDER / f"{name}_output_0.pb").read_bytes())
    ramp = np.arange(port.type.size).reshape(port.type.shape) / port.type.size
    (found,) = interpret(graph, {port.name: ramp})
    np.testing.assert_allclose(found, numpy_helper.to_array(expected), rtol=1e-3, atol=1e-7)


def test_there_are_nine_light_models() -> None:
    assert len(MODELS) == 9
