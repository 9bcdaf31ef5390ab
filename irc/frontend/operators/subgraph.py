"""Operators that stand for other nodes: functions by the body that ONNX defines, and If with a known condition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto

from irc.diagnostics import IrcError, error
from irc.frontend.call import Call, read_node
from irc.frontend.names import label
from irc.frontend.table import definition, operator
from irc.frontend.tensors import element_type

# Operators whose definition is a function of others, and that need no op of their own.
FUNCTIONS = (
    "AffineGrid", "Attention", "BlackmanWindow", "CausalConvWithState", "CenterCropPad", "DynamicQuantizeLinear",
    "FlexAttention", "GroupNormalization", "HammingWindow", "HannWindow", "LayerNormalization",
    "LinearAttention", "MeanVarianceNormalization", "NegativeLogLikelihoodLoss", "RMSNormalization", "RotaryEmbedding",
    "SoftmaxCrossEntropyLoss", "SwiGLU",
)


@operator(*FUNCTIONS)
def function(call: Call) -> tuple[str, ...]:
    """The nodes of the function body in place of the node."""
    body = _body(call)
    version = next((o.version for o in body.opset_import if o.domain in ("", "ai.onnx")), call.opset)
    call.asked.update(a.name for a in call.node.attribute)
    prefix = f"{next(filter(None, call.node.output))}/"  # unique: every output is defined once
    actual = dict(zip(body.input, call.node.input, strict=False))
    names = {"": "", **dict.fromkeys(body.input, ""), **actual}
    read_nodes(call, (_instance(call, node, names, prefix) for node in body.node), version)
    return tuple(call.builder.value(names[o]) if wanted else ""
                 for o, wanted in zip(body.output, call.node.output, strict=False))


def _body(call: Call) -> FunctionProto:
    schema: Any = definition(call.node.op_type, call.node.domain, call.opset)  # its stubs lack the functions
    if schema.has_function:
        return cast(FunctionProto, schema.function_body)
    versions = [v for v in schema.context_dependent_function_opset_versions if v <= call.opset]
    if not versions:
        raise call.refusal(f"{call.node.op_type} of operator set {call.opset} has no definition by other operators",
                           "Convert the model with onnx.version_converter to a newer operator set.")
    types = [_type(call, i).SerializeToString() for i in range(call.count)]
    data = schema.get_context_dependent_function_with_opset_version(max(versions), _filled(call), types)
    body = FunctionProto()
    body.ParseFromString(data)
    return body


def _filled(call: Call) -> bytes:
    return cast(bytes, call.node.SerializeToString())


def _type(call: Call, index: int) -> TypeProto:
    if not call.has(index):
        return TypeProto()
    type = call.type(call.operand(index))
    return onnx.helper.make_tensor_type_proto(element_type(type.format), type.shape)


def _instance(call: Call, node: NodeProto, names: dict[str, str], prefix: str) -> NodeProto:
    """A node of a function body with the names and attributes of the call."""
    made = renamed(call, node, names, prefix)
    attributes = list(_attributes(call, made.attribute))
    del made.attribute[:]
    made.attribute.extend(attributes)
    return made


def renamed(call: Call, node: NodeProto, names: dict[str, str], prefix: str) -> NodeProto:
    """A node of a body: its inputs by `names`, its outputs with a prefix, which is entered there."""
    made = NodeProto()
    made.CopyFrom(node)
    made.name = label(call.node)
    made.input[:] = [names.get(name, name) for name in node.input]
    names.update((output, f"{prefix}{output}") for output in node.output if output)
    made.output[:] = [names.get(name, "") for name in node.output]
    rename_inside(made, names)
    return made


def rename_inside(node: NodeProto, names: Mapping[str, str]) -> None:
    """Subgraphs read values of the body around them by name."""
    graphs = [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
    for inner in (n for graph in graphs for n in graph.node):
        inner.input[:] = [names.get(name, name) for name in inner.input]
        rename_inside(inner, names)


def _attributes(call: Call, attributes: Iterable[AttributeProto]) -> Iterator[AttributeProto]:
    """Attributes of a body's node; those that refer to an attribute of the function take its value or default."""
    schema = definition(call.node.op_type, call.node.domain, call.opset)
    given = {a.name: a for a in call.node.attribute}
    for attribute in attributes:
        if not attribute.ref_attr_name:
            yield attribute
            continue
        value = given.get(attribute.ref_attr_name) or schema.attributes[attribute.ref_attr_name].default_value
        if value.type != AttributeProto.UNDEFINED:
            made = AttributeProto()
            made.CopyFrom(value)
            made.name = attribute.name
            yield made


def read_nodes(call: Call, nodes: Iterable[NodeProto], opset: int) -> None:
    """Read nodes that stand for the node of `call`; the first problem is a problem of that node."""
    for node in nodes:
        unknown = next((name for name in node.input if name and not call.builder.knows(name)), None)
        if unknown is not None:
            raise error("E105", f"'{unknown}' is used in a subgraph but never defined")
        found = read_node(Call(node, opset, call.builder, call.folder))
        if found:
            raise IrcError(*(replace(d, message=f"its part {node.op_type}: {d.message}") for d in found))


@operator("If")
def conditional(call: Call) -> tuple[str, ...]:
    """The branch that is taken; which one must be known when the model is read."""
    condition = call.constant(0, "Compute both branches and choose with Where, or export the one that is taken.",
                              "the branch is chosen when the model is read")
    branches = {True: call.graph("then_branch"), False: call.graph("else_branch")}
    if condition is None or condition.size != 1:
        raise call.refusal("the condition is not one value")
    branch = branches[bool(condition.reshape(()))]
    call.builder.add_weights(branch.initializer)
    read_nodes(call, branch.node, call.opset)
    names = [output.name for output in branch.output]
    unknown = next((name for name in names if not call.builder.knows(name)), None)
    if unknown is not None:
        raise error("E105", f"'{unknown}' is used in a subgraph but never defined")
    return tuple(call.builder.value(name) for name in names)
