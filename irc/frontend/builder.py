"""The graph under construction: typed values, constants that are folded and named last."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from onnx import TensorProto

from irc.diagnostics import error
from irc.frontend.names import Namer, identifier
from irc.frontend.tensors import decode
from irc.graph import MISSING, Constant, Graph, Node, Port
from irc.interpreter import computed, run_node
from irc.limits import Limits
from irc.operation import Op
from irc.ops.contraction import Einsum, LinearMap
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import AvgPool, MaxPool
from irc.ops.quantization import Dequantize, Quantize
from irc.ops.recurrent import Recurrent
from irc.ops.transposed import ConvTranspose
from irc.types import Array, Float, Format, Level, TensorType

MOST_WORK = 1 << 30  # multiplications; what takes more is computed where it is used
LARGEST_FOLDED = 1 << 24  # elements; a constant larger than this is computed where it is used


@dataclass(frozen=True, slots=True)
class Source:
    """Where a node comes from: the stem of its name, and the text kept as its origin."""

    stem: str
    origin: str


class Builder:
    """Collects inputs, nodes and constants under provisional names; `finish` makes the graph.

    Constants keep a provisional key until the end, so that only those that are used take a name.
    """

    def __init__(self, weights: Mapping[str, TensorProto], folder: Path, reserved: Iterable[str],
                 limits: Limits) -> None:
        self.types: dict[str, TensorType] = {}
        self.values: dict[str, str] = {}  # ONNX value name -> name here
        self.limits = limits
        self._weights = dict(weights)
        self._folder = folder
        self._names = Namer(reserved)
        self._inputs: list[Port] = []
        self._nodes: list[Node] = []
        self._constants: dict[str, Constant] = {}
        self._stems: dict[str, str] = {}
        self._folded: dict[tuple[Op, tuple[str, ...]], tuple[str, ...]] = {}
        self._stored: set[str] = set()  # keys of initializers
        self._depths: dict[str, int] = {}  # nodes on the longest path to a value
        self._read, self._bytes, self._done = 0, 0, 0  # nodes read, bytes of constants, multiplications
        self._live: set[str] = set()  # values that depend on the inputs
        self._activations = 0  # elements of all of them
        self._used: set[str] = set()  # constants that a node reads
        self._repeated = 0  # elements of those that more nodes read

    def add_input(self, name: str, type: TensorType) -> None:
        self.check_type(type)
        self._count_values((name,), (type,))
        self._inputs.append(Port(name, type))
        self.types[name] = type
        self.values[name] = name

    def add_weights(self, weights: Iterable[TensorProto]) -> None:
        """Initializers of a subgraph."""
        self._weights.update((tensor.name, tensor) for tensor in weights)

    def count_node(self) -> None:
        """Take note of a node that is read; those of functions and loops come by more than once."""
        self._read += 1
        self.limits.check("nodes", self._read, "nodes to read")

    def check_type(self, type: TensorType) -> None:
        """E109 for a tensor that is larger than any may be."""
        self.limits.check("rank", len(type.shape), "axes of a tensor")
        self.limits.check("tensor", type.size, "elements of a tensor")

    def knows(self, name: str) -> bool:
        """Whether the ONNX value `name` could be read."""
        return name in self.values or name in self._weights

    def value(self, name: str) -> str:
        """The name here of an ONNX value; initializers are decoded when first asked for."""
        if name not in self.values:
            form, data = decode(self._weights[name], self._folder, self.limits)
            self.values[name] = self.constant(data, form, name)
            self._stored.add(self.values[name])
        return self.values[name]

    def constant(self, data: Array, form: Format, stem: str) -> str:
        """Enter a constant; it gets its name at the end."""
        self._bytes += data.nbytes
        self.limits.check("constants", self._bytes, "bytes of all constants")
        key = f"constant:{len(self._stems)}"
        self._stems[key] = stem
        self._constants[key] = Constant(key, TensorType(form, data.shape), data)
        self.types[key] = self._constants[key].type
        return key

    def stem(self, value: str) -> str:
        """What a constant is named after."""
        return self._stems[value]

    def data(self, value: str) -> Array | None:
        """The data of a value that is a constant."""
        found = self._constants.get(value)
        return None if found is None else found.data

    def emit(self, op: Op, operands: tuple[str, ...], source: Source) -> str:
        """Enter a node and return the name of its first result; of constants only: the constant that it computes."""
        return self.emit_all(op, operands, source)[0]

    def emit_all(self, op: Op, operands: tuple[str, ...], source: Source) -> tuple[str, ...]:
        """Enter a node and return the names of its results; of constants only: the constants that it computes."""
        try:
            found = op.result_types([self.types[o] if o != MISSING else None for o in operands])
        except TypeError as problem:
            raise error("E106", str(problem)) from None
        types = cast("tuple[TensorType, ...]", found)
        for operand in operands:
            self._check_finite(operand)
        for type in types:
            self.check_type(type)
        if not any(type.size for type in types):  # nothing is computed
            return tuple(self.constant(np.zeros(t.shape, t.format.dtype), t.format, source.stem) for t in types)
        if self._folds(op, operands, types):
            return self._fold(op, operands, types, source)
        names = tuple(self._names.fresh(source.stem) for _ in types)
        depth = 1 + max((self._depths.get(operand, 0) for operand in operands), default=0)
        self.limits.check("depth", depth, "nodes one after the other")
        self._done += self._work(op, operands, types)
        self.limits.check("work", self._done, "multiplications")
        self.limits.check("window", self._window(op, operands, types), "elements of all windows")
        if not self._live.isdisjoint(operands):
            self._count_values(names, types)
        self._count_uses(operands)
        self._depths.update(dict.fromkeys(names, depth))
        self._nodes.append(Node(names, op, operands, types, source.origin))
        self.types.update(zip(names, types, strict=True))
        return names

    def _count_values(self, names: Iterable[str], types: Iterable[TensorType]) -> None:
        """Take note of values that a run of the graph computes for every sample."""
        self._live.update(names)
        for type in types:
            self.limits.check("value", type.size, "elements of one value")
            self._activations += type.size
        self.limits.check("activations", self._activations, "elements of all values")

    def _count_uses(self, operands: tuple[str, ...]) -> None:
        """Take note of constants that several nodes read: each may become one of its own, in a format of its own."""
        for operand in self._constants.keys() & operands:
            self._repeated += self.types[operand].size if operand in self._used else 0
            self._used.add(operand)
        self.limits.check("repeated", self._repeated, "elements of constants read again")

    def _window(self, op: Op, operands: tuple[str, ...], types: tuple[TensorType, ...]) -> int:
        """Elements that a convolution copies to make one product of all its windows."""
        if not isinstance(op, Conv):
            return 0
        return op.group * math.prod(types[0].shape[2:]) * math.prod(self.types[operands[1]].shape[1:])

    def _folds(self, op: Op, operands: tuple[str, ...], types: tuple[TensorType, ...]) -> bool:
        """A quantized constant stays visible as one: dequantize(constant)."""
        constant = all(o in self._constants or o == MISSING for o in operands)
        return (constant and not isinstance(op, Quantize | Dequantize)
                and all(type.size <= LARGEST_FOLDED for type in types) and self._work(op, operands, types) <= MOST_WORK)

    def _work(self, op: Op, operands: tuple[str, ...], types: tuple[TensorType, ...]) -> int:
        """Multiplications of the op, or what it visits in their place."""
        shapes = [self.types[o].shape if o != MISSING else () for o in operands]
        match op:
            case MatMul():
                return types[0].size * math.prod(shapes[0][-1:])
            case Conv():
                return types[0].size * math.prod(shapes[1][1:])
            case ConvTranspose():
                return math.prod(shapes[0]) * math.prod(shapes[1][1:])
            case MaxPool() | AvgPool():
                return types[0].size * math.prod(op.kernel)
            case LinearMap():
                return types[0].size * shapes[1][-1]
            case Einsum():
                return math.prod(op.sizes(shapes).values())
            case Recurrent():
                return shapes[0][0] * shapes[0][1] * math.prod(shapes[2])
            case _:
                return 0

    def _fold(self, op: Op, operands: tuple[str, ...], types: tuple[TensorType, ...],
              source: Source) -> tuple[str, ...]:
        if (op, operands) not in self._folded:
            arrays = {o: computed(self._constants[o].data)[None] for o in operands if o != MISSING}
            names = tuple(f"{source.stem}_{i}" for i in range(len(types)))
            results = run_node(Node(names, op, operands, types), arrays)
            stem = self._stems[operands[0]] if len(operands) == 1 else source.stem
            self._folded[op, operands] = tuple(self.constant(result[0], type.format, stem)
                                               for result, type in zip(results, types, strict=True))
        return self._folded[op, operands]

    def _check_finite(self, value: str) -> None:
        """A weight is a finite number. Infinity is a number that masks are made of, when the model computes it."""
        found = self._constants.get(value)
        if found is None or not isinstance(found.type.format, Float):
            return
        if np.isnan(found.data).any() or (value in self._stored and np.isinf(found.data).any()):
            raise error("E107", f"the constant '{self._stems[value]}' holds NaN or infinity",
                        remedy="The training diverged or the export is broken; check the weights.")

    def finish(self, name: str, outputs: Mapping[str, str]) -> Graph:
        """The graph; `outputs` maps output names to values. Unused constants are left out."""
        used = dict.fromkeys(o for node in self._nodes for o in node.operands)
        used |= dict.fromkeys(outputs.values())
        final = {key: self._names.fresh(identifier(self._stems[key])) for key in used if key in self._constants}
        empty = next((port for port, value in outputs.items() if not self.types[value].size), None)
        if empty is not None:
            raise error("E106", f"the output '{empty}' is an empty tensor, {self.types[outputs[empty]]}",
                        remedy="Remove the output from the model.")
        constants = {new: replace(self._constants[key], name=new) for key, new in final.items()}
        nodes = [replace(n, operands=tuple(final.get(o, o) for o in n.operands)) for n in self._nodes]
        ports = [Port(port, self.types[value], final.get(value, value)) for port, value in outputs.items()]
        return Graph(name, Level.MODEL, tuple(self._inputs), tuple(ports), constants, tuple(nodes))
