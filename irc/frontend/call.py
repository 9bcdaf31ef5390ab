"""One ONNX node as its reader function sees it: operands, checked attributes, and building blocks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto

from irc.diagnostics import Diagnostic, IrcError, error
from irc.frontend.builder import LARGEST_FOLDED, Builder, Source
from irc.frontend.names import label, stem
from irc.frontend.table import Reader, definition, find_operator, is_standard
from irc.frontend.tensors import decode
from irc.graph import MISSING
from irc.operation import Op
from irc.types import Array, Float, Format, TensorType

T = TypeVar("T", int, float, str, tuple[int, ...], tuple[float, ...])
_KINDS = {
    int: (AttributeProto.INT,),
    float: (AttributeProto.FLOAT,),
    str: (AttributeProto.STRING,),
    tuple: (AttributeProto.INTS, AttributeProto.FLOATS),
}


@dataclass(frozen=True, slots=True)
class Call:
    """A node being read. Attributes that no one asked for are refused afterwards, never ignored."""

    node: NodeProto
    opset: int
    builder: Builder
    folder: Path
    asked: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        """Number of inputs, missing ones in the middle counted."""
        return len(self.node.input)

    def has(self, index: int) -> bool:
        return index < self.count and self.node.input[index] != ""

    def operand(self, index: int) -> str:
        """The value given as input `index`, MISSING when it is optional and left out."""
        return self.builder.value(self.node.input[index]) if self.has(index) else MISSING

    def type(self, value: str) -> TensorType:
        return self.builder.types[value]

    def shape(self, index: int = 0) -> tuple[int, ...]:
        return self.type(self.operand(index)).shape

    def is_real(self, index: int = 0) -> bool:
        return isinstance(self.type(self.operand(index)).format, Float)

    def axis(self, axis: int, rank: int) -> int:
        """`axis` counted from the front; E106 when there is none."""
        if not -rank <= axis < rank:
            raise error("E106", f"axis {axis} is not an axis of a tensor of {rank} axes")
        return axis % rank

    def constant(self, index: int, remedy: str = "Simplify the model first, or export it with static shapes.",
                 why: str = "") -> Array | None:
        """The data of a constant input, None when the input is left out, E104 when it is computed."""
        if not self.has(index):
            return None
        data = self.builder.data(self.operand(index))
        if data is None:
            named = f"input {index} ('{self.node.input[index]}')"
            raise self.refusal(f"{named} must be a constant{why and f': {why}'}", remedy)
        return data

    def integers(self, index: int) -> tuple[int, ...] | None:
        """A constant input that holds integers (axes, shapes, pads), as a tuple."""
        data = self.constant(index)
        if data is not None and data.dtype.kind == "f":
            raise self.refusal(f"input {index} ('{self.node.input[index]}') must hold integers")
        return None if data is None else tuple(data.reshape(-1).tolist())

    def attribute(self, name: str, default: T) -> T:
        """An attribute of the type of `default`."""
        self.asked.add(name)
        found = self._find(name)
        if found is None:
            return default
        if found.type not in _KINDS[type(default)]:
            raise self.refusal(f"the attribute {name} has the wrong type")
        value = onnx.helper.get_attribute_value(found)
        if isinstance(default, str):
            return cast(T, value.decode("utf-8", "replace"))
        return cast(T, tuple(value) if isinstance(default, tuple) else value)

    def strings(self, name: str) -> tuple[str, ...]:
        """An attribute of several texts; none when it is left out."""
        self.asked.add(name)
        found = self._find(name)
        return () if found is None else tuple(text.decode("utf-8", "replace") for text in found.strings)

    def tensor(self, name: str) -> tuple[Format, Array] | None:
        """A tensor attribute, decoded."""
        self.asked.add(name)
        found = self._find(name)
        return None if found is None else decode(found.t, self.folder, self.builder.limits)

    def graph(self, name: str) -> GraphProto:
        """A subgraph attribute."""
        self.asked.add(name)
        found = self._find(name)
        if found is None or found.type != AttributeProto.GRAPH:
            raise self.refusal(f"the subgraph {name} is missing")
        return found.g

    def _find(self, name: str) -> AttributeProto | None:
        return next((a for a in self.node.attribute if a.name == name), None)

    def expect(self, name: str, value: T, why: str) -> None:
        """Refuse the node unless the attribute is left out or has this very value."""
        if self.attribute(name, value) != value:
            raise self.refusal(f"the attribute {name} must be {value!r}: {why}")

    def emit(self, op: Op, *operands: str, part: str = "") -> str:
        """Enter one operation. `part` names the intermediate steps of an operator that takes several."""
        name = stem(self.node)
        source = Source(f"{name}_{part}" if part else name, f"onnx:{label(self.node)}")
        return self.builder.emit(op, operands, source)

    def emit_all(self, op: Op, *operands: str) -> tuple[str, ...]:
        """Enter an operation with several results."""
        return self.builder.emit_all(op, operands, Source(stem(self.node), f"onnx:{label(self.node)}"))

    def wants(self, output: int) -> bool:
        """Whether anything may read this output."""
        return output < len(self.node.output) and self.node.output[output] != ""

    def make(self, data: Array | np.generic, form: Format, part: str = "") -> str:
        """Enter a constant."""
        return self.builder.constant(np.asarray(data), form, f"{stem(self.node)}_{part}" if part else stem(self.node))

    def real(self, value: float | Array, part: str) -> str:
        """Enter a constant of reals."""
        return self.make(np.asarray(value), Float(32), part)

    def bounded(self, size: float) -> None:
        """Refuse to make a constant of more than LARGEST_FOLDED elements."""
        if size > LARGEST_FOLDED:
            raise self.refusal(f"it needs a constant of {int(size)} elements, {LARGEST_FOLDED} are allowed")

    def refusal(self, message: str, remedy: str = "") -> IrcError:
        """The error that says that this node is not supported."""
        return error("E104", message, remedy=remedy)


def read_node(call: Call) -> list[Diagnostic]:
    """Read one node into the builder; the diagnostics of what stands in the way, with their place filled in."""
    try:
        call.builder.count_node()
        call.builder.limits.check("operands", max(len(call.node.input), len(call.node.output)), "operands of a node")
        read = find_operator(call.node.op_type, call.node.domain, call.opset)
        if not all(call.builder.knows(name) for name in call.node.input if name):
            return []  # what makes the input has been reported already
        _check_operands(call)
        found = _read(read, call)
        results = (found,) if isinstance(found, str) else found
        _check_all_read(call, len(results))
        call.builder.values.update((name, r) for name, r in zip(call.node.output, results, strict=False) if name)
    except IrcError as problem:
        return [_placed(d, call.node) for d in problem.diagnostics]
    return []


def _read(read: Reader, call: Call) -> str | tuple[str, ...]:
    """A reader trusts that lists have as many entries as the definition says; a damaged model breaks that."""
    try:
        return read(call)
    except (ArithmeticError, LookupError, ValueError) as problem:
        raise error("E106", f"operands and attributes do not fit each other ({problem})",
                    remedy="The model is damaged or was made by hand; onnx.checker says more.") from problem


def _check_operands(call: Call) -> None:
    """What the operator's definition demands is there: its operands and a name for its result."""
    standard = is_standard(call.node.domain)
    formals = definition(call.node.op_type, call.node.domain, call.opset).inputs if standard else ()
    for index, formal in enumerate(formals):
        if formal.option != onnx.defs.OpSchema.FormalParameterOption.Optional and not call.has(index):
            raise error("E102", f"the operand {formal.name} is missing")
    if not any(call.node.output):
        raise error("E102", "the result has no name")


def _check_all_read(call: Call, results: int) -> None:
    """Nothing is ignored: neither an attribute nor an output."""
    unread = [a.name for a in call.node.attribute if a.name not in call.asked]
    if unread:
        raise call.refusal(f"the attribute {unread[0]} is not supported")
    if any(call.node.output[results:]):
        raise call.refusal("only the first output is supported" if results == 1 else "the last output is not supported")


def _placed(problem: Diagnostic, node: NodeProto) -> Diagnostic:
    return replace(problem, place=replace(problem.place, node=label(node), operator=node.op_type))
