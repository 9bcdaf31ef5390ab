"""How much each layer minds being rounded, for every alphabet that it may get.

One walk over the calibration data gives the second moments H of every layer's inputs. With them, dW being what rounding
changes in the weights of a layer::

    mse       E tr(dW H dW'): the squared error of the layer's output, relative to its variance
    hessian   mean eigenvalue of H times the squared error of the weights (Dong et al. 2020, "HAWQ-V2", with the layer's
              own Hessian)
    fisher    E tr(dz dz'), dz being what changes in the network's output when this layer alone is rounded: measured on
              a few samples for the narrow alphabets, beyond in proportion to mse. To first order it is the layer's
              error contracted with the Fisher information of its output (as in Li et al. 2021, "BRECQ", for a Gaussian
              around the network's output); at 2 bits the output may change by three times what the first order says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from irc.graph import Graph, Port
from irc.ops.activation import Softmax
from irc.ops.rectifier import LogSoftmax
from irc.pipeline.blame import MOST, Blame
from irc.pipeline.step import Context
from irc.samples import sample_count
from irc.types import Array
from passes.quantize.rounding import Plan
from passes.reconstruction.products import Product
from passes.reconstruction.walk import Visit, reconstruct
from passes.rounding.alphabet import Alphabet
from passes.rounding.fit import Rounding

_MEASURED = 3  # alphabets, the narrowest: beyond, errors are small and the first order holds
_SAMPLES = 128
SENSITIVITIES = ("fisher", "mse", "hessian")


@dataclass(frozen=True, slots=True)
class Row:
    """A layer whose alphabet is to be chosen, the plan of its weights but for that, and the alphabets it may get."""

    product: Product
    plan: Plan
    alphabets: tuple[Alphabet, ...]

    @property
    def name(self) -> str:
        return self.product.node.name

    @property
    def weights(self) -> int:
        """How many weights the layer has."""
        return sum(int(np.prod(shape)) for shape in self.product.shapes)


@dataclass(frozen=True, slots=True)
class Change:
    """What each alphabet changes in a layer: errors of its output, relative, and of its weights; and the weights."""

    output: Array
    weights: Array
    trace: float
    values: tuple[Array, ...]


def sensitivities(kind: str, original: Graph, graph: Graph, rows: Sequence[Row], compensate: bool,
                  context: Context) -> list[Array]:
    """The cost of every alphabet of every row; `graph` is `original` with its activations quantized."""
    data = context.calibration_for("quantize{mixed}")
    changes = _changes(original, graph, rows, compensate, data)
    match kind:
        case "hessian":
            return [change.trace * change.weights for change in changes]
        case "mse":
            return [change.output for change in changes]
        case _:
            return _measured(original, rows, changes, data)


def _changes(original: Graph, graph: Graph, rows: Sequence[Row], compensate: bool,
             data: Mapping[str, Array]) -> list[Change]:
    """What rounding changes, for every row: all from one walk in which no weight changes."""
    known, found = {row.name: row for row in rows}, dict[str, Change]()

    def choose(visit: Visit) -> Array:
        found[visit.product.node.name] = _change(known[visit.product.node.name], visit, compensate)
        return visit.matrix

    reconstruct(original, graph, data, choose, lambda node: node.name in known)
    return [found[row.name] for row in rows]


def _change(row: Row, visit: Visit, compensate: bool) -> Change:
    values = tuple(_rounded(row, alphabet, visit, compensate) for alphabet in row.alphabets)
    apart = [v - visit.matrix for v in values]
    whole = float(visit.statistics.error(visit.matrix).sum()) or 1.0
    output = np.array([visit.statistics.error(a).sum() for a in apart])
    trace = float(np.einsum("gii->gi", visit.statistics.gram).mean())
    return Change(np.maximum(output, 0) / whole, np.array([np.square(a).sum() for a in apart]), trace, values)


def _rounded(row: Row, alphabet: Alphabet, visit: Visit, compensate: bool) -> Array:
    rounding = Rounding(alphabet, row.plan.grid, row.product.widths, row.plan.shared)
    if compensate:
        return rounding.fit(visit.matrix, visit.statistics.gram).values
    return rounding.start(visit.matrix).values


def _measured(original: Graph, rows: Sequence[Row], changes: Sequence[Change],
              data: Mapping[str, Array]) -> list[Array]:
    """The error of the network's output with every alphabet of every row; wide ones in proportion to the layer's."""
    shown, places = _logits(original), range(max(len(row.alphabets) for row in rows))
    alone = [_alone(shown, rows, changes, place, data) for place in places[:_MEASURED]]
    return [_extended([cost[row.name] for cost in alone if row.name in cost], change.output)
            for row, change in zip(rows, changes, strict=True)]


def _alone(graph: Graph, rows: Sequence[Row], changes: Sequence[Change], place: int,
           data: Mapping[str, Array]) -> dict[str, float]:
    """The error of the output for each row that has an alphabet at a place, when the row alone is rounded to it."""
    new, names = dict[str, Array](), set[str]()
    for row, change in zip(rows, changes, strict=True):
        if place < len(row.alphabets):
            new.update(zip(row.product.weights, row.product.arrays(change.values[place]), strict=True))
            names.add(row.name)
    rounded, count = _with(graph, new), sample_count(data)
    parts = [{name: v[i : i + MOST] for name, v in data.items()} for i in range(0, min(count, _SAMPLES), MOST)]
    costs = [Blame(graph, rounded, part).costs() for part in parts]
    return {name: float(np.mean([cost[name] for cost in costs])) for name in names if all(name in c for c in costs)}


def _extended(measured: Sequence[float], output: Array) -> Array:
    """Costs of all alphabets from those of the first; the layer's own errors where there are none."""
    if not measured:
        return output
    last = len(measured) - 1
    gain = measured[last] / output[last] if output[last] > 0 else 0.0
    return np.concatenate((measured, gain * output[len(measured) :]))


def _with(graph: Graph, new: Mapping[str, Array]) -> Graph:
    """The graph with other values of some constants."""
    return graph.map_constants(lambda c: replace(c, data=new[c.name]) if c.name in new else c)


def _logits(graph: Graph) -> Graph:
    """The network without the softmax in front of its output, behind which many errors vanish."""
    port = graph.outputs[0]
    maker = graph.producers.get(port.value)
    if maker is None or not isinstance(maker.op, Softmax | LogSoftmax):
        return graph
    value = maker.operands[0]
    return replace(graph, outputs=(Port(value, graph.types[value], value),))
