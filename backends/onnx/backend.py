"""The backends `onnx` (QDQ form, runs in ONNX Runtime) and `qonnx` (QONNX form, for tools of quantized training).

They take the graph as it is before any lowering, so whatever passes did to the weights is in the file: zeros of
pruning, sums of powers of two, integers of quantization.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from irc.backend import Backend, Files, Run
from irc.diagnostics import Diagnostic, IrcError, error
from irc.graph import Graph
from irc.types import Array, Level

FILE = "model.onnx"


@dataclass(frozen=True, slots=True)
class QdqBackend(Backend):
    """Quantizers are QuantizeLinear and DequantizeLinear. Formats of any width are stored in the next wider type of
    ONNX and clipped to their own limits; rounding is to the nearest, as ONNX has it."""

    name: ClassVar[str] = "onnx"
    help: ClassVar[str] = "the compressed model as ONNX with QuantizeLinear and DequantizeLinear (operator set 21)"
    requires: ClassVar[Level] = Level.MODEL

    def refused(self, graph: Graph) -> tuple[Diagnostic, ...]:
        from backends.onnx.model import refusals
        from backends.onnx.qdq import Qdq

        return refusals(graph, Qdq(graph))

    def emit(self, graph: Graph) -> Files:
        from backends.onnx.model import serialized
        from backends.onnx.qdq import Qdq

        return {FILE: serialized(graph, Qdq(graph))}

    def run(self, folder: Path, graph: Graph, feeds: Mapping[str, Array], *, scratch: Path) -> Run:
        """In ONNX Runtime, which computes in float32."""
        try:
            from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession
            from onnxruntime.capi.onnxruntime_pybind11_state import SessionOptions
        except ImportError:
            raise error("E601", "ONNX Runtime is not installed", remedy="pip install onnxruntime") from None
        options = SessionOptions()
        options.intra_op_num_threads = 1  # samples are small; threads would wait for one another
        session = InferenceSession(str(_stored(folder)), options, providers=["CPUExecutionProvider"])
        kinds = {port.name: graph.tensor(port.name).format.dtype for port in graph.inputs}
        cast = {name: values.astype(kinds[name]) for name, values in feeds.items()}
        names = [port.name for port in graph.outputs]
        samples = range(min(len(values) for values in feeds.values()))
        # the model is that of one sample, as on chip
        rows = [session.run(names, {name: values[i] for name, values in cast.items()}) for i in samples]
        return Run({name: np.stack(found) for name, found in zip(names, zip(*rows, strict=True), strict=True)})


@dataclass(frozen=True, slots=True)
class QonnxBackend(Backend):
    """Quantizers are Quant and BipolarQuant of `qonnx.custom_op.general`, with their rounding, width and narrow range.

    QONNX adds the zero point before it rounds: with an odd one, exact ties go to the other neighbour."""

    name: ClassVar[str] = "qonnx"
    help: ClassVar[str] = "the compressed model as QONNX, for tools of quantization-aware training"
    requires: ClassVar[Level] = Level.MODEL

    def refused(self, graph: Graph) -> tuple[Diagnostic, ...]:
        from backends.onnx.model import refusals
        from backends.onnx.qonnx import Qonnx

        return refusals(graph, Qonnx(graph))

    def emit(self, graph: Graph) -> Files:
        from backends.onnx.model import serialized
        from backends.onnx.qonnx import Qonnx

        return {FILE: serialized(graph, Qonnx(graph))}

    def run(self, folder: Path, graph: Graph, feeds: Mapping[str, Array], *, scratch: Path) -> Run:
        """Read back and interpreted."""
        from irc.frontend import read_onnx
        from irc.interpreter import evaluate

        try:
            return Run(evaluate(read_onnx(_stored(folder)), feeds))
        except IrcError as problem:
            raise error("E602", f"the file cannot be read back: {problem.diagnostics[0].message}",
                        file=str(folder)) from None


def _stored(folder: Path) -> Path:
    if not (folder / FILE).is_file():
        raise error("E504", f"{FILE} is missing", file=str(folder), remedy="Emit the design again.")
    return folder / FILE


ONNX = QdqBackend()
QONNX = QonnxBackend()
