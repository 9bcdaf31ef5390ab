"""Quantized ONNX models, tensor by tensor: irc's exact integers against those of ONNX Runtime.

Every quantized tensor is computed exactly from the integers that ONNX Runtime itself found in front of it, so that a
difference counts once, where it arises. Where the two differ, the exact rational in front of the rounding is looked at:
it must lie next to a tie, nearer than float32 can tell. `whole network` is the share of equal integers when irc starts
from the input alone, differences passed on included.

ONNX Runtime runs the model as it is (`float32`: between the quantizers it computes in float32), and with optimizations
after the activations were moved from int8 to uint8, which changes no number (`fused`: its integer kernels, which
requantize in float32; it has them for uint8 only).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from reference import real_items, runtime
from report import Table
from workloads import arguments

from irc.frontend import read_onnx
from irc.graph import Graph, Node, Port
from irc.interpreter import evaluate
from irc.ops.elementwise import Clip
from irc.ops.quantization import Requantize
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.types import Array, IntArray, Integer

PASSES = "fold, clean, drop_softmax, integer"
MODELS = {"mlperf_ic_resnet8_int8_qdq": 300, "mlperf_kws_dscnn_int8_qdq": 1000}
CHUNK = 100  # items at a time, for memory
NEAR = Fraction(1, 10_000)  # of a step: float32 knows numbers up to 255 to 1e-5, and adds up dozens of them
TABLE = Table("quantized_models", "Quantized ONNX models against ONNX Runtime, by tensor", ("model", "runtime"), {
    "model": "", "runtime": "", "inputs": ",d", "tensors": "d", "integers": ",d", "different": ",d",
    "equal_percent": ".5f", "largest_difference": "d", "exact_ties": "d", "farthest_from_a_tie": ".1e",
    "whole_network_percent": ".4f", "same_class_percent": ".2f", "as_wanted": ""})


@dataclass(frozen=True, slots=True)
class Tensors:
    """Quantized values by the name of the irc node, each [items, *shape]."""

    names: Mapping[str, str]  # irc node -> ONNX value
    graph: Graph

    def exposed(self, model: ModelProto) -> bytes:
        """The ONNX model with these tensors, and no others, as outputs."""
        copy = ModelProto()
        copy.CopyFrom(model)
        del copy.graph.output[:]
        copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in self.names.values())
        return bytes(copy.SerializeToString())

    def probes(self, *, local: bool) -> Graph:
        """A graph that shows all of them and what is rounded to them; with `local`, each from the others as given."""
        shown = [Port(n, self.graph.types[n], f"{n}_here" if local else n) for n in self.names]
        before = [Port(f"{n}_before", self.graph.types[o], o) for n, o in self._operands()]
        if not local:
            return replace(self.graph, outputs=tuple(shown))
        nodes = tuple(replace(n, results=(f"{n.name}_here",)) if n.name in self.names else n for n in self.graph.nodes)
        given = (Port(n, self.graph.types[n]) for n in self.names)
        return replace(self.graph, nodes=nodes, inputs=(*self.graph.inputs, *given), outputs=(*shown, *before))

    def _operands(self) -> Iterator[tuple[str, str]]:
        return ((name, rounding(self.graph, name).operands[0]) for name in self.names)


def quantizers(model: ModelProto) -> list[NodeProto]:
    """The nodes that quantize activations."""
    return [node for node in model.graph.node if node.op_type == "QuantizeLinear"]


def tensors(model: ModelProto, graph: Graph) -> Tensors:
    """The quantized tensors that are requantizations in irc's integer graph."""
    made = {node.origin.removeprefix("onnx:"): clipped(graph, node) for node in graph.nodes
            if isinstance(node.op, Requantize)}
    return Tensors({made[n.name]: n.output[0] for n in quantizers(model) if n.name in made}, graph)


def clipped(graph: Graph, node: Node) -> str:
    """The result of a requantization, behind the rectifier that ONNX has in front of it."""
    users = graph.users[node.name]
    return users[0].name if len(users) == 1 and isinstance(users[0].op, Clip) else node.name


def rounding(graph: Graph, name: str) -> Node:
    """The requantization that makes a tensor."""
    node = graph.producers[name]
    return graph.producers[node.operands[0]] if isinstance(node.op, Clip) else node


def unsigned(model: ModelProto) -> ModelProto:
    """The same model with activations from 0 to 255 instead of -128 to 127."""
    moved = {node.input[2] for node in quantizers(model)}
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]  # which says int8
    for tensor in copy.graph.initializer:
        if tensor.name in moved:
            zero = numpy_helper.to_array(tensor).astype(np.int64) + 128
            tensor.CopyFrom(numpy_helper.from_array(zero.astype(np.uint8), tensor.name))
    return copy


@dataclass(frozen=True, slots=True)
class Count:
    """Integers compared; `distances` from a tie, in steps, of those that differ."""

    integers: int
    largest: int
    distances: tuple[Fraction, ...]
    different_in_sequence: int
    same_class: int


def compared(found: Tensors, x: IntArray, theirs: Mapping[str, IntArray]) -> Count:
    """Some items through irc, against the tensors of ONNX Runtime."""
    (port,) = found.graph.inputs
    ours = evaluate(found.probes(local=True), {port.name: x, **theirs})
    whole = evaluate(found.probes(local=False), {port.name: x})
    return Count(
        sum(theirs[name].size for name in found.names),
        max(int(np.abs(ours[name] - theirs[name]).max()) for name in found.names),
        tuple(d for name in found.names for d in distances(found.graph, name, ours, theirs[name])),
        sum(int(np.count_nonzero(whole[name] != theirs[name])) for name in found.names),
        agreeing(found.graph.outputs[0].value, whole, theirs))


def agreeing(output: str, ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> int:
    """Items of the same class; none where the output is not one of the tensors."""
    if output not in theirs:
        return 0
    return int(np.sum(ours[output].argmax(axis=-1) == theirs[output].argmax(axis=-1)))


def distances(graph: Graph, name: str, ours: Mapping[str, Array], theirs: IntArray) -> Iterator[Fraction]:
    """How far from a tie the exact number is, for each integer that differs."""
    node = rounding(graph, name)
    for place in np.argwhere(ours[name] != theirs):
        exact = int(ours[f"{name}_before"][tuple(place)]) * ratio(graph, node, place)
        yield abs(exact % 1 - Fraction(1, 2))


def ratio(graph: Graph, node: Node, place: IntArray) -> Fraction:
    """The factor of a requantization at a place [item, *index]."""
    axis = node.op.axis if isinstance(node.op, Requantize) else 0
    parts = (graph.constants[o].data.reshape(-1) for o in node.operands[1:])
    top, bottom = (int(part[place[axis + 1] if len(part) > 1 else 0]) for part in parts)
    return Fraction(top, bottom)


def counts(model: ModelProto, found: Tensors, items: Array, fused: bool) -> Iterator[Count]:
    """What came of every chunk of items."""
    (port,), offset = found.graph.inputs, 128 if fused else 0
    form = port.type.format
    assert port.encoding is not None and isinstance(form, Integer)
    exposed = found.exposed(unsigned(model) if fused else model)
    for at in range(0, len(items), CHUNK):
        some = items[at : at + CHUNK]
        shown = runtime(exposed, [some], optimized=fused)
        theirs = {n: array.astype(np.int64) - offset for n, array in zip(found.names, shown, strict=True)}
        x = port.encoding.encode(some.reshape(len(some), *found.graph.tensor(port.name).shape), form)
        yield compared(found, x, theirs)


def row(path: Path, items: Array, fused: bool) -> dict[str, object]:
    """All items through one model."""
    model = onnx.load(path)
    found = tensors(model, run_pipeline(read_onnx(path), parse_pipeline(PASSES), check=False).graph)
    parts = list(counts(model, found, items, fused))
    total, far = sum(p.integers for p in parts), [d for p in parts for d in p.distances]
    equal, largest = 100 * (1 - len(far) / total), max(p.largest for p in parts)
    return {"model": path.stem, "runtime": "fused" if fused else "float32", "inputs": len(items),
            "tensors": len(found.names), "integers": total, "different": len(far), "equal_percent": equal,
            "largest_difference": largest, "exact_ties": far.count(Fraction(0)),
            "farthest_from_a_tie": float(max(far, default=0)),
            "whole_network_percent": 100 * (1 - sum(p.different_in_sequence for p in parts) / total),
            "same_class_percent": 100 * sum(p.same_class for p in parts) / len(items),
            "as_wanted": equal >= 99.9 and largest <= 1 and max(far, default=Fraction(0)) < NEAR}


def main() -> None:
    shared = arguments(__doc__ or "").parse_args().shared
    if not shared.is_dir():
        print(f"{shared} is not there: no quantized models to measure")
        return
    for name, count in MODELS.items():
        path = shared / "models" / "mlperf_tiny" / f"{name}.onnx"
        (items,) = real_items(path, shared, count)
        TABLE.record([row(path, items, fused) for fused in (False, True)])
    TABLE.show(TABLE.rows())


if __name__ == "__main__":
    main()
