"""Every model of the collection: imported, compared with ONNX Runtime and stored results, checked.

Models on reals must agree within 1e-4 of the largest output, QONNX models with what is stored beside them. Of models
with quantized outputs the integers at the output are counted, after one rounding of float32 has been passed on through
all layers and a softmax: the same class is asked for, nothing of the integers. Whether the integers are equal where
they arise (99.9 % equal, the others off by one) is what quantized_models.py measures, tensor by tensor. `left` are the
operators after `fold, clean`. Of the light models of the onnx package only import and check are measured here;
tests/test_onnx_models.py evaluates them.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from child import measured
from reference import real_items, runtime, stored
from report import Table
from workloads import arguments

from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.ops.quantization import Dequantize, Quantize
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.types import Array, Float

BIND: Mapping[str, Mapping[str, int]] = {"char_lstm_dynbatch": {"N": 1}}
PLAIN = frozenset({"conv", "relu", "add", "slice", "pad", "max_pool", "avg_pool", "reduce_mean", "matmul", "reshape"})
UNFOLDED = ("cifar_resnet20", "cifar_resnet56")  # exported with shape arithmetic and batch norms: PLAIN must be left
CLOSE = 1e-4
SAME_CLASS = 0.99
SECONDS = 5.0  # of CPU, for the largest of the package
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
LARGEST = "light_densenet121"
TABLE = Table("models", "The models of the collection: import, meaning, check", ("model",), {
    "model": "", "inputs": ",d", "compared_with": "", "relative_error": ".1e", "equal_integers": ".2f",
    "largest_difference": "d", "left": "", "import_check_cpu_s": ".1f", "at_most": ".0f", "as_wanted": ""})


@dataclass(frozen=True, slots=True)
class Comparison:
    """Outputs next to those of someone else: the error relative to the largest output, integers where they are."""

    inputs: int
    to: str
    error: float
    same_class: float
    integers: Mapping[str, object] = field(default_factory=dict)

    @property
    def close(self) -> bool:
        return self.same_class >= SAME_CLASS if self.integers else self.error <= CLOSE


def comparisons(path: Path, graph: Graph, shared: Path, count: int) -> Iterator[Comparison]:
    """With ONNX Runtime on real items, with stored results."""
    items = real_items(path, shared, count)
    if items:
        yield compared(graph, items, runtime(path.read_bytes(), items), "ONNX Runtime")
    inputs, outputs = stored(path)
    if inputs:
        yield compared(graph, inputs, outputs, "stored")


def compared(graph: Graph, inputs: list[Array], theirs: list[Array], to: str) -> Comparison:
    """irc's interpreter on the same inputs."""
    kinds = (np.float64 if isinstance(port.type.format, Float) else np.int64 for port in graph.inputs)
    feeds = {port.name: x.astype(kind).reshape(len(x), *graph.tensor(port.name).shape)
             for port, x, kind in zip(graph.inputs, inputs, kinds, strict=True)}
    found = evaluate(graph, feeds)
    ours = [found[port.name] for port in graph.outputs]
    pairs = [(a, b.reshape(a.shape)) for a, b in zip(ours, theirs, strict=True)]
    error = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
    same = float(np.mean(pairs[0][0].argmax(axis=-1) == pairs[0][1].argmax(axis=-1)))
    return Comparison(len(inputs[0]), to, error, same, integers(graph, *pairs[0]))


def integers(graph: Graph, ours: Array, theirs: Array) -> dict[str, object]:
    """Share and largest difference of the integers, where the output is quantized."""
    last = graph.producers.get(graph.outputs[0].value)
    before = graph.producers.get(last.operands[0]) if last and isinstance(last.op, Dequantize) else None
    if last is None or before is None or not isinstance(before.op, Quantize):
        return {}
    steps = np.rint((ours - theirs) / graph.constants[last.operands[1]].data)
    return {"equal_integers": 100 * float(np.mean(steps == 0)), "largest_difference": int(np.abs(steps).max())}


def left(graph: Graph) -> Counter[str]:
    """The operators after simplification."""
    return Counter(n.op.name for n in run_pipeline(graph, parse_pipeline("fold, clean"), check=False).graph.nodes)


def check_seconds(path: Path) -> float:
    """CPU seconds of `irc check`, start of Python included."""
    shape = [word for name, size in BIND.get(path.stem, {}).items() for word in ("--shape", f"{name}={size}")]
    command = [sys.executable, "-m", "irc", "check", str(path), *shape]
    return measured(lambda: subprocess.run(command, check=False, stdout=subprocess.DEVNULL))[1]


def row(path: Path, shared: Path, count: int) -> dict[str, object]:
    """One model."""
    graph = read_onnx(path, bind=BIND.get(path.stem, {}))
    found, operators, seconds = list(comparisons(path, graph, shared, count)), left(graph), check_seconds(path)
    clean = path.stem not in UNFOLDED or PLAIN.issuperset(operators)
    facts = max(found, key=lambda c: c.inputs).integers if found else {}
    limit = SECONDS if path.stem == LARGEST else None
    return {"model": path.stem, "inputs": sum(c.inputs for c in found),
            "compared_with": " and ".join(c.to for c in found),
            "relative_error": max((c.error for c in found), default=None) if not facts else None, **facts,
            "left": ", ".join(f"{count} {name}" for name, count in sorted(operators.items())),
            "import_check_cpu_s": seconds, "at_most": limit,
            "as_wanted": all(c.close for c in found) and clean and seconds <= (limit or np.inf)}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--models", nargs="*", metavar="NAME", help="only models whose name contains one of these")
    parser.add_argument("--inputs", type=int, default=200, metavar="N", help="real items a model (default 200)")
    asked = parser.parse_args()
    paths = sorted((asked.shared / "models").glob("*/*.onnx"))
    if not paths:
        print(f"{asked.shared} is not there: measuring the light models of the onnx package only")
    for path in (*paths, *sorted(LIGHT.glob("light_*.onnx"))):
        if not asked.models or any(name in path.stem for name in asked.models):
            TABLE.record([row(path, asked.shared, asked.inputs)])
    TABLE.show(TABLE.rows())


if __name__ == "__main__":
    main()
