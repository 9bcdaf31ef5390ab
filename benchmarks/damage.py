"""Ways to damage an ONNX file: its bytes, and the fields of its protobuf messages."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

Damage: TypeAlias = Callable[[Any, random.Random], None]
NUMBERS = (0, 1, -1, 2, 3, 7, 255, -128, 65_536, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 3e38, float("inf"), float("-inf"), float("nan"))
NAMES = ("", "x", "..", "../up", "/etc/passwd", "a/b", "\0", "\n", "\x1b[2J", "*/", "`include \"x\"", "\\", "módulo",
         "\u202e", "endmodule", "int", "v" * 300, "w" * 3000, "-1", "1e999", " ", "%s%n", "{}", "$(id)", "ai.onnx")
NODES = ("Add", "Relu", "Conv", "MatMul", "If", "Loop", "Reshape", "Pad", "Resize", "LSTM", "Einsum", "Tile", "Range",
         "QuantizeLinear", "DequantizeLinear", "ConvTranspose", "MaxPool", "Gather", "TopK", "Split", "Quant", "Expand",
         "ConstantOfShape", "OneHot", "Slice", "Softmax", "BatchNormalization", "LayerNormalization", "QLinearConv")
DRAWN = {"NodeProto": 5, "AttributeProto": 5, "TensorProto": 3, "Dimension": 2, "ValueInfoProto": 2}  # the others: 1
MOST = 300  # values of a list that are looked at


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Some bits the other way round, mostly near the ends of the file, where the structure is."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        span = rng.choice((200, 2000, len(data)))
        at = rng.randrange(min(span, len(data)))
        made[at if rng.random() < 0.5 else -1 - at] ^= 1 << rng.randrange(8)
    return bytes(made)


def cut(data: bytes, rng: random.Random) -> bytes:
    """Truncated, or with a piece missing."""
    start, end = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    return data[:start] if rng.random() < 0.7 else data[:start] + data[end:]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Some fields exchanged, set to something odd, repeated, dropped or reordered. Still a protobuf message."""
    model = onnx.load_from_string(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice((exchange, overwrite, overwrite, rearrange, rewire))(model, rng)
    return model.SerializeToString()


def exchange(model: Message, rng: random.Random) -> None:
    """One field of two messages of a kind in each other's place: attributes, shapes, operators, names, data."""
    alike = _alike(model, rng)
    a, b = rng.choice(alike), rng.choice(alike)
    names = [field.name for field, _ in a.ListFields()]
    if names:
        kept, name = type(a)(), rng.choice(names)
        kept.CopyFrom(a)
        _replace(a, b, name)
        _replace(b, kept, name)


def overwrite(model: Message, rng: random.Random) -> None:
    """One plain field becomes extreme, odd, or another kind."""
    message = rng.choice(_alike(model, rng))
    fields = [f for f in message.DESCRIPTOR.fields if f.type != FieldDescriptor.TYPE_MESSAGE]
    present = [f for f in fields if f.is_repeated or message.HasField(f.name)]
    if fields:
        field = rng.choice(present if present and rng.random() < 0.8 else fields)
        _set(message, field, rng)


def rearrange(model: Message, rng: random.Random) -> None:
    """An element of a list is repeated, dropped, or the list turned around."""
    message = rng.choice(_alike(model, rng))
    lists = [getattr(message, f.name) for f, value in message.ListFields() if f.is_repeated and len(value) < MOST]
    if lists:
        chosen = rng.choice(lists)
        elements = list(chosen)
        at = rng.randrange(len(elements))
        match rng.randrange(4):
            case 0:
                elements.insert(rng.randrange(len(elements)), elements[at])
            case 1:
                del elements[at]
            case 2:
                elements.reverse()
            case _:
                elements *= rng.choice((2, 3, 40))
        _refill(chosen, elements)


def rewire(model: Any, rng: random.Random) -> None:
    """An operand becomes another value of the graph (cycles are made so), or a node another operator."""
    graph = model.graph
    if not graph.node:
        return
    node = rng.choice(graph.node)
    names = [name for other in graph.node for name in (*other.input, *other.output)]
    match rng.randrange(4):
        case 0 if node.input and names:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case 1 if node.output and names:
            node.output[rng.randrange(len(node.output))] = rng.choice(names)
        case 2 if names:
            node.input.append(rng.choice(names))
        case _:
            node.op_type = rng.choice(NODES)


def messages(message: Any) -> Iterator[Any]:
    """A message and those inside it."""
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                yield from messages(inner)


def _alike(model: Message, rng: random.Random) -> Sequence[Any]:
    """All messages of a kind; nodes, attributes and tensors more often than the others."""
    kinds: dict[str, list[Any]] = {}
    for message in messages(model):
        kinds.setdefault(message.DESCRIPTOR.name, []).append(message)
    (kind,) = rng.choices(list(kinds), [DRAWN.get(kind, 1) for kind in kinds])
    return kinds[kind]


def _replace(to: Any, source: Any, name: str) -> None:
    """The field `name` of `source` in place of that of `to`."""
    part = type(to)()
    part.CopyFrom(source)
    for field, _ in part.ListFields():
        if field.name != name:
            part.ClearField(field.name)
    to.ClearField(name)
    to.MergeFrom(part)


def _set(message: Any, field: FieldDescriptor, rng: random.Random) -> None:
    value = _odd(field, rng)
    if not field.is_repeated:
        setattr(message, field.name, value)
        return
    values = getattr(message, field.name)
    if values and rng.random() < 0.8:
        values[rng.randrange(len(values))] = value
    else:
        values.extend([value] * rng.choice((1, 1, 2, 4)))


def _odd(field: FieldDescriptor, rng: random.Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.choice(NAMES).encode() or rng.randbytes(rng.randrange(64))
        case FieldDescriptor.CPPTYPE_STRING:
            return rng.choice(NODES if field.name == "op_type" and rng.random() < 0.7 else NAMES)
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return rng.choice(REALS)
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice([v.number for v in field.enum_type.values])
        case FieldDescriptor.CPPTYPE_INT32:
            return rng.choice((*range(30), -1, 2**31 - 1))
        case FieldDescriptor.CPPTYPE_UINT64:
            return abs(rng.choice(NUMBERS))
        case _:
            return rng.choice(NUMBERS)


def _refill(values: Any, elements: Sequence[Any]) -> None:
    """Make a repeated field hold `elements`, some of which may be its own."""
    kept = [type(e).FromString(e.SerializeToString()) if isinstance(e, Message) else e for e in elements]
    del values[:]
    values.extend(kept)
