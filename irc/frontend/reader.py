"""From an ONNX file to a model-level graph.

    from irc.frontend import read_onnx
    graph = read_onnx("lenet.onnx", bind={"height": 28})

Everything that is wrong is collected: one error carries one diagnostic for each unsupported node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from irc.diagnostics import Diagnostic, IrcError, did_you_mean, error
from irc.frontend.builder import Builder
from irc.frontend.call import Call, read_node
from irc.frontend.model_file import load, name_problems, nothing_wrong, opset
from irc.frontend.names import identifier
from irc.frontend.tensors import element_format
from irc.graph import Graph
from irc.limits import DEFAULTS, Limits
from irc.types import TensorType

NO_SHAPES: Mapping[str, int] = {}


def read_onnx(path: Path | str, *, bind: Mapping[str, int] = NO_SHAPES, limits: Limits = DEFAULTS) -> Graph:
    """Read an ONNX file. Symbolic first axes are the batch and bind to 1; `bind` gives the other symbols values.

    Raises one IrcError with every problem found.
    """
    path = Path(path)
    model = load(path, limits)
    nothing_wrong(list(islice(name_problems(model.graph, str(path)), limits.problems)))
    problems: list[Diagnostic] = []
    graph = _read(model, path, bind, limits, problems)
    nothing_wrong([replace(p, place=replace(p.place, file=str(path))) for p in problems])
    return graph


def check_onnx(path: Path | str, *, bind: Mapping[str, int] = NO_SHAPES,
               limits: Limits = DEFAULTS) -> list[Diagnostic]:
    """Everything that keeps `read_onnx` from reading the file; empty when it can be read."""
    try:
        read_onnx(path, bind=bind, limits=limits)
    except IrcError as problem:
        return list(problem.diagnostics)
    return []


def _read(model: ModelProto, path: Path, bind: Mapping[str, int], limits: Limits,
          problems: list[Diagnostic]) -> Graph:
    proto = model.graph
    weights = {tensor.name: tensor for tensor in proto.initializer}
    ports = [port for port in proto.input if port.name not in weights]
    builder = Builder(weights, path.parent, {p.name for p in (*ports, *proto.output)}, limits)
    sizes = _symbol_sizes(ports, bind)
    for port in ports:
        problems += _read_input(port, sizes, builder)
    for node in proto.node:
        if len(problems) >= limits.problems:
            break
        problems += read_node(Call(node, opset(model), builder, path.parent))
    problems += _sparse_problems(proto)
    outputs = {} if problems else {port.name: builder.value(port.name) for port in proto.output}
    return builder.finish(identifier(path.stem), outputs)


def _sparse_problems(proto: GraphProto) -> Iterator[Diagnostic]:
    for tensor in proto.sparse_initializer:
        yield Diagnostic("E104", f"the sparse initializer '{tensor.values.name}' is not supported",
                         remedy="Store the weights densely.")


def _symbol_sizes(ports: list[ValueInfoProto], bind: Mapping[str, int]) -> Mapping[str, int]:
    """Sizes of symbols: 1 for those that name a first axis, overridden by what the user binds."""
    dims = {(port.name, axis): dim.dim_param
            for port in ports for axis, dim in enumerate(port.type.tensor_type.shape.dim)}
    symbols = {s for s in dims.values() if s} | {f"{name}:{axis}" for name, axis in dims}
    for name, size in bind.items():
        if name not in symbols:
            raise error("E108", f"the model has no dimension '{name}'", remedy=did_you_mean(name, symbols))
        if size < 1:
            raise error("E108", f"dimension '{name}' cannot be {size}", remedy="Sizes are at least 1.")
    return {symbol: 1 for (_, axis), symbol in dims.items() if axis == 0 and symbol} | dict(bind)


def _read_input(port: ValueInfoProto, sizes: Mapping[str, int], builder: Builder) -> list[Diagnostic]:
    try:
        builder.add_input(port.name, _input_type(port, sizes))
    except IrcError as problem:
        return [replace(d, message=f"input '{port.name}': {d.message}") for d in problem.diagnostics]
    return []


def _input_type(port: ValueInfoProto, sizes: Mapping[str, int]) -> TensorType:
    tensor = port.type.tensor_type
    form = element_format(tensor.elem_type or TensorProto.UNDEFINED)
    if not tensor.HasField("shape"):
        raise error("E108", "its shape is not given", remedy="Export the model with input shapes.")
    dims = enumerate(tensor.shape.dim)
    return TensorType(form, tuple(_size(dim.dim_value, dim.dim_param, f"{port.name}:{axis}", axis, sizes)
                                  for axis, dim in dims))


def _size(value: int, symbol: str, place: str, axis: int, sizes: Mapping[str, int]) -> int:
    """The size of one axis: as stored, as bound by symbol or by `input:axis`, or 1 for a batch."""
    if value > 0:
        return value
    for key in (place, symbol):
        if key in sizes:
            return sizes[key]
    if axis == 0:
        return 1
    name = symbol or place
    raise error("E108", f"the size of axis {axis}, '{name}', is not known", remedy=f"Bind it: --shape {name}=value")
