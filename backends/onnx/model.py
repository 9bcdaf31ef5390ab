"""The file: ports, constants and nodes, in the order of the graph."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from backends.onnx.form import Quantizers
from backends.onnx.operators import OPERATORS
from backends.onnx.tensors import STORED, activation_type, constant_type, element_type, stored
from irc.diagnostics import Diagnostic, IrcError, Place
from irc.graph import Constant, Graph, Node, Port
from irc.ops.quantization import Bipolar, Dequantize, Quantize
from irc.ops.shape import Gather
from irc.types import Format, Integer, TensorType

OPSET, IR_VERSION = 21, 10


def serialized(graph: Graph, form: Quantizers) -> bytes:
    """The bytes of the model; E502 for every node that it cannot hold."""
    problems = refusals(graph, form)
    if problems:
        raise IrcError(*problems)
    form.tensors.clear()
    nodes = [made for node in graph.nodes for made in _written(node, form)]
    shown = {port.name: port.value for port in graph.outputs}
    nodes += [helper.make_node("Identity", [value], [name]) for name, value in shown.items() if name != value]
    nodes = _read(nodes, set(shown))
    read = {name for node in nodes for name in node.input}
    constants = [stored(c.name, c.data, _constant_type(graph, c)) for c in graph.constants.values() if c.name in read]
    made = helper.make_graph(nodes, graph.name, _ports(graph.inputs), _ports(graph.outputs),
                             [*constants, *(t for t in form.tensors.values() if t.name in read)])
    opsets = [helper.make_opsetid("", OPSET), *([helper.make_opsetid(form.domain, 1)] if form.domain else [])]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="irc")
    if not form.domain:
        onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _constant_type(graph: Graph, constant: Constant) -> int:
    """Runtimes look nothing up in tables of 4 bits."""
    looked_up = any(isinstance(n.op, Gather) and n.operands[0] == constant.name for n in graph.users[constant.name])
    form = constant.type.format
    return activation_type(form) if looked_up and isinstance(form, Integer) else constant_type(constant)


def _read(nodes: Sequence[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes whose results are wanted by outputs or by one another."""
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def refusals(graph: Graph, form: Quantizers) -> tuple[Diagnostic, ...]:
    """What the file cannot say, node by node."""
    found: list[Diagnostic] = []
    for node in graph.nodes:
        try:
            list(_written(node, form))
        except IrcError as problem:
            found.extend(problem.diagnostics)
    return tuple(found)


def _written(node: Node, form: Quantizers) -> Sequence[NodeProto]:
    if isinstance(node.op, Quantize | Dequantize | Bipolar):
        return list(form.nodes(node))
    if type(node.op) not in OPERATORS:
        place, known = Place(node=node.name, operator=node.op.name), ", ".join(sorted(k.name for k in OPERATORS))
        raise IrcError(Diagnostic("E502", f"op {node.op.name} has no form in this target", place, f"It has {known}."))
    made = form.rewritten(node) or OPERATORS[type(node.op)](node, node.op, form)
    for part in made:
        part.doc_string = node.origin
    return made


def _ports(ports: Sequence[Port]) -> list[ValueInfoProto]:
    kinds = [(port.name, port.type) for port in ports]
    return [helper.make_tensor_value_info(name, _port_type(kind.format), list(kind.shape))
            for name, kind in kinds if isinstance(kind, TensorType)]


def _port_type(form: Format) -> int:
    """Integers of ports have 64 bits, as token ids do, unless they are a type of ONNX."""
    if isinstance(form, Integer) and form.bits not in STORED[form.signed]:
        return int(TensorProto.INT64)
    return element_type(form)
