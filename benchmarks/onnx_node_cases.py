"""Every node case of the onnx package through the reader and the reference interpreter.

    python benchmarks/onnx_node_cases.py            # writes docs/onnx-support.md
    python benchmarks/onnx_node_cases.py Conv Pool  # prints the cases whose name contains one of the words

A case passes when its outputs are those of the package within the package's own tolerance. It is refused when the
reader or the interpreter answers with a coded error. Everything else, a wrong value or a traceback, is a fault of irc.

Many cases feed shapes, axes and the like at run time. irc fixes them when a model is read, as exporters write them:
such a case is tried as it is first, then with its small integer inputs stored in the model, then with all inputs but
the first.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from irc.diagnostics import IrcError, error
from irc.frontend import read_onnx
from irc.frontend.tensors import element_format
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.types import Array, Float, TensorType

PAGE = Path(__file__).parents[1] / "docs" / "onnx-support.md"


class Outcome(Enum):
    """What became of a case."""

    PASSED = "passed"
    REFUSED = "refused"
    FAILED = "failed"
    TRACEBACK = "traceback"


@dataclass(frozen=True, slots=True)
class Result:
    """A case, the operator it is about, what became of it and why."""

    case: str
    operator: str
    outcome: Outcome
    stored: int = 0  # inputs that had to be stored in the model
    reason: str = ""


def load_cases(*modules: str) -> list[Any]:
    """The node cases of the package, or of some of its modules. It makes the data with NumPy, which warns."""
    from onnx.backend.test.case import node

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules:
            importlib.import_module(f"{node.__name__}.{module}")
        cases = list(node._NodeTestCases) if modules else node.collect_testcases()
    return sorted(cases, key=lambda case: str(case.name))


def run_case(case: Any, folder: Path) -> Result:
    """Try a case until it is not refused, with more and more inputs stored in the model."""
    refusals = []
    for stored in _storable(case):
        try:
            wrong = _mismatch(case, stored, folder)
        except IrcError as refusal:
            refusals.append(refusal.diagnostics[0])
            continue
        except Exception:  # any other exception is what this benchmark looks for
            return Result(case.name, operator_of(case), Outcome.TRACEBACK, len(stored), traceback.format_exc(limit=-3))
        outcome = Outcome.FAILED if wrong else Outcome.PASSED
        return Result(case.name, operator_of(case), outcome, len(stored), wrong)
    return Result(case.name, operator_of(case), Outcome.REFUSED, 0, f"{refusals[-1].code}: {refusals[-1].message}")


def operator_of(case: Any) -> str:
    """The operator that a case is about. Of an expanded function: what its name starts with."""
    nodes = case.model.graph.node
    if "_expanded" not in case.name:
        return str(nodes[-1].op_type)
    squeezed = case.name.removeprefix("test_").replace("_", "")
    fits = [s.name for s in onnx.defs.get_all_schemas() if squeezed.startswith(s.name.lower())]
    return str(max(fits, key=len, default=_ABBREVIATED.get(case.name.split("_")[1], nodes[-1].op_type)))


_ABBREVIATED = {"nllloss": "NegativeLogLikelihoodLoss", "sce": "SoftmaxCrossEntropyLoss", "mvn":
                "MeanVarianceNormalization", "layer": "LayerNormalization", "rms": "RMSNormalization",
                "group": "GroupNormalization", "attention": "Attention"}


_SHAPED_BY_VALUES = ("NonZero", "Range", "MelWeightMatrix")  # how large the result is depends on every input


def _storable(case: Any) -> Iterator[tuple[str, ...]]:
    """Names of inputs to store: none, the integers of at most one axis, all but the first,
    and all where the shape of the result depends on them."""
    yield ()
    names = [port.name for port in case.model.graph.input]
    feeds = dict(zip(names, map(_array, case.data_sets[0][0]), strict=False))
    small = tuple(name for name, data in feeds.items()
                  if isinstance(data, np.ndarray) and data.ndim <= 1 and data.dtype.kind in "iub")
    if small:
        yield small
    if len(names) > 1 and small != tuple(names[1:]):
        yield tuple(names[1:])
    if operator_of(case) in _SHAPED_BY_VALUES:
        yield tuple(names)


def _array(value: Any) -> Any:
    """Tensors of types that NumPy lacks come as protobuf messages."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if np.isscalar(value) else value


def _mismatch(case: Any, stored: Sequence[str], folder: Path) -> str:
    """What differs, empty when nothing does. Raises IrcError for what is refused."""
    for inputs, outputs in case.data_sets:
        names = [port.name for port in case.model.graph.input]
        feeds = dict(zip(names, map(_array, inputs), strict=False))
        graph = _read(case, feeds, stored, folder)
        found = evaluate(graph, {port.name: _fed(port.type, feeds[port.name]) for port in graph.inputs})
        for port, expected in zip(graph.outputs, outputs, strict=True):
            wrong = _difference(port.type, found[port.name][0], _expected(expected), case)
            if wrong:
                return f"output {port.name}: {wrong}"
    return ""


def _read(case: Any, feeds: Mapping[str, Any], stored: Sequence[str], folder: Path) -> Graph:
    model = ModelProto()
    model.CopyFrom(case.model)
    for name in stored:
        model.graph.initializer.append(_initializer(name, feeds[name]))
    ports = [port for port in model.graph.input if port.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(ports)
    path = folder / "case.onnx"
    path.write_bytes(model.SerializeToString())
    shapes = {port.name: np.shape(feeds[port.name]) for port in ports
              if port.name in feeds and port.type.HasField("tensor_type")}
    if any(0 in shape for shape in shapes.values()):
        raise error("E104", "an input is an empty tensor")
    graph = read_onnx(path, bind={f"{name}:{axis}": size for name, shape in shapes.items()
                                  for axis, size in enumerate(shape)})
    graph.verify()
    return graph


def _initializer(name: str, data: Any) -> TensorProto:
    if not isinstance(data, np.ndarray):
        raise error("E104", f"the input {name} is not a tensor")
    return numpy_helper.from_array(data, name)


def _expected(value: Any) -> Any:
    data = _array(value)
    if not isinstance(data, np.ndarray):
        raise error("E104", "an output is not a tensor")
    return data


def _fed(type: TensorType, data: Array) -> Array:
    """The data of an input as one sample, in what the interpreter computes in."""
    if isinstance(type.format, Float):
        return np.asarray(data).astype(np.float64)[None]
    if data.dtype == np.uint64 and data.max(initial=0) > type.format.maximum:
        raise error("E401", "the data are outside the format of the input")
    return np.asarray(data).astype(np.int64)[None]


_NOISE = float(np.finfo(np.float32).eps)  # of the largest output: sums that should be 0 are not in the package's data


def _difference(type: TensorType, found: Array, expected: Array, case: Any) -> str:
    """What differs by the rules of the package, after rounding to the type in which the result is stored."""
    kind = element_format(onnx.helper.np_dtype_to_tensor_dtype(expected.dtype))
    if isinstance(type.format, Float) != isinstance(kind, Float):
        return f"{type} instead of {expected.dtype}"
    if found.shape != expected.shape:
        return f"shape {found.shape} instead of {expected.shape}"
    with np.errstate(over="ignore"):
        stored = found.astype(expected.dtype)
    rtol = max(case.rtol, 2**-6) if expected.dtype.name == "bfloat16" else case.rtol
    wanted = expected.astype(np.float64)
    atol = max(case.atol, _NOISE * np.abs(wanted[np.isfinite(wanted)]).max(initial=0)) if rtol else case.atol
    close = np.isclose(stored.astype(np.float64), wanted, rtol, atol, equal_nan=True)
    return "" if close.all() else f"{np.count_nonzero(~close)} of {close.size} values differ"


def run_cases(cases: Iterable[Any]) -> list[Result]:
    """All results, in the order of the cases."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [run_case(case, Path(folder)) for case in cases]


def count(results: Iterable[Result]) -> Counter[Outcome]:
    return Counter(result.outcome for result in results)


def summary(results: Sequence[Result]) -> str:
    """One sentence with the counts."""
    counts = count(results)
    return ", ".join(f"{counts[outcome]:,} {outcome.value}" for outcome in Outcome) + f" of {len(results):,} cases"


def page(results: Sequence[Result]) -> str:
    """The Markdown page: counts, and one row an operator."""
    stored = sum(1 for r in results if r.outcome is Outcome.PASSED and r.stored)
    rows = "".join(row(name, [r for r in results if r.operator == name])
                   for name in sorted({r.operator for r in results}))
    return (f"{_HEAD.format(version=onnx.__version__)}\n**{summary(results)}.** {stored:,} of those passed have inputs "
            f"that were stored in the model.\n\n| operator | passed | refused | failed | why refused |\n"
            f"| --- | ---: | ---: | ---: | --- |\n{rows}")


_HEAD = """# ONNX operators

Written by `python benchmarks/onnx_node_cases.py`: every node case of the onnx package ({version}) is read and evaluated
by the reference interpreter, and its outputs are compared by the package's own rules, to no more than the precision of
float32 at the largest output. *Refused* means an error with a code, a place and a remedy, before any result. irc fixes
shapes, axes and the like when a model is read; cases that feed them at run time are read with these inputs stored in
the model, as exporters write them.
"""


def row(operator: str, results: Sequence[Result]) -> str:
    """One row of the table: the cases of an operator, and the commonest reason of refusal."""
    counts = count(results)
    failed = counts[Outcome.FAILED] + counts[Outcome.TRACEBACK]
    reasons = Counter(r.reason for r in results if r.outcome is Outcome.REFUSED)
    why = reasons.most_common(1)[0][0].replace("|", "\\|") if reasons else ""
    return f"| {operator} | {counts[Outcome.PASSED]} | {counts[Outcome.REFUSED]} | {failed} | {why} |\n"


def main(words: Sequence[str]) -> int:
    """Print the cases named, or write the page. The exit code says whether anything is wrong."""
    cases = [case for case in load_cases() if not words or any(word.lower() in case.name.lower() for word in words)]
    results = run_cases(cases)
    for result in results:
        if words or result.outcome in (Outcome.FAILED, Outcome.TRACEBACK):
            print(f"{result.outcome.value:9} {result.case}: {result.reason}")
    print(summary(results))
    if not words:
        PAGE.write_text(page(results), encoding="utf-8")
    counts = count(results)
    return int(counts[Outcome.FAILED] + counts[Outcome.TRACEBACK] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
