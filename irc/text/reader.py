"""IR text to graph. Every error names file, line and column."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from irc.diagnostics import IrcError, did_you_mean, error
from irc.graph import MISSING, Constant, Graph, Node, Port
from irc.operation import Op, find_operation
from irc.text.syntax import at, load_parser, parse
from irc.text.values import Plain, field_types, is_required, plain, typed, unquoted
from irc.types import Array, Encoding, Float, Format, Level, StreamType, TensorType, Type, parse_format

if TYPE_CHECKING:
    from lark import Token, Tree

    Syntax = Tree[Token] | Token


def read_graph(text: str, constants: Mapping[str, Array] | None = None, file: str = "") -> Graph:
    """Read and verify the text of a graph; `constants` holds the large ones by key. Raises E201 to E203."""
    tree = parse(load_parser("irc.text", "ir.lark"), text, "E201", file)
    try:
        return _Reader(constants or {}, file).graph(tree)
    except RecursionError:
        raise error("E201", "a value is nested too deeply", file=file) from None


class _Reader:
    """Walks the syntax tree once, in the order of the text."""

    def __init__(self, constants: Mapping[str, Array], file: str) -> None:
        self.data = constants
        self.file = file
        self.types: dict[str, Type] = {}
        self.places: dict[str, Syntax] = {}
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self.constants: dict[str, Constant] = {}
        self.nodes: list[Node] = []

    def graph(self, tree: Tree[Token]) -> Graph:
        title, level, *statements = cast("list[Any]", tree.children)
        for statement in statements:
            self.statement(statement)
        ports = tuple(self.inputs), tuple(self.outputs)
        found = Graph(self.name(title), self.level(level), *ports, self.constants, tuple(self.nodes))
        self.verify(found)
        return found

    def statement(self, tree: Tree[Token]) -> None:
        match tree.data:
            case "input":
                self.read_input(*tree.children)
            case "constant":
                self.read_constant(*tree.children)
            case "node":
                self.read_node(*tree.children)
            case _:
                self.read_output(*tree.children)

    def verify(self, graph: Graph) -> None:
        """`graph.verify()`, its error placed at the line of the node it names."""
        try:
            graph.verify()
        except IrcError as problem:
            where = self.places.get(problem.diagnostics[0].place.node)
            line, column = _position(where) if where is not None else (1, 1)
            raise at(problem, self.file, line, column) from None

    def fail(self, code: str, where: Syntax, message: str, remedy: str = "") -> IrcError:
        line, column = _position(where)
        return error(code, message, file=self.file, line=line, column=column, remedy=remedy)

    def level(self, token: Syntax) -> Level:
        levels = [level.value for level in Level]
        if str(token) not in levels:
            raise self.fail("E202", token, f"there is no level '{token}'", did_you_mean(str(token), levels))
        return Level(str(token))

    def name(self, tree: Syntax) -> str:
        token = cast("Token", cast("Tree[Token]", tree).children[0])
        if token.type == "NAME":
            return str(token)
        return self.string(token)

    def string(self, token: Syntax) -> str:
        try:
            return unquoted(str(token))
        except ValueError as problem:
            raise self.fail("E201", token, str(problem)) from None

    def plain(self, tree: Syntax) -> Plain:
        try:
            return plain(cast("Tree[Token]", tree))
        except ValueError as problem:
            raise self.fail("E201", tree, str(problem)) from None

    def typed(self, tree: Syntax, wanted: Any) -> Any:
        value = self.plain(tree)
        try:
            return typed(value, wanted)
        except ValueError as problem:
            raise self.fail("E202", tree, str(problem)) from None

    def define(self, tree: Syntax, type: Type) -> str:
        name = self.name(tree)
        if name in self.types or name == MISSING:
            raise self.fail("E202", tree, f"'{name}' is defined twice" if name else "a name is empty")
        self.types[name] = type
        self.places[name] = tree
        return name

    def used(self, tree: Syntax) -> str:
        """The name of a value that must be defined already."""
        name = self.name(tree)
        if name not in self.types:
            raise self.fail("E202", tree, f"'{name}' is not defined", did_you_mean(name, self.types))
        return name

    def operand(self, tree: Syntax) -> str:
        return MISSING if cast("Tree[Token]", tree).children[0] == "_" else self.used(tree)

    def type(self, tree: Syntax) -> Type:
        form, shape, *options = cast("Any", tree).children
        try:
            format = parse_format(str(form))
        except ValueError as problem:
            raise self.fail("E202", form, str(problem)) from None
        sizes = self.typed(shape, tuple[int, ...])
        if min(sizes, default=0) < 0:
            raise self.fail("E202", shape, "a size is negative")
        if cast("Tree[Token]", tree).data == "tensor":
            return TensorType(format, sizes)
        if len(sizes) != 2 or "f" in str(form):
            raise self.fail("E202", tree, "a stream is an integer format with [positions, elements]")
        values = {str(o.children[0]): self.typed(o.children[1], int) for o in options}
        found = StreamType(cast(Any, format), *sizes, **values)
        least = min(found.positions, found.elements, found.lanes, found.repeat, found.depth)
        if least < 1 or found.elements % found.lanes:
            raise self.fail("E202", tree, f"'{found}' has a number below 1, or lanes that do not divide the elements")
        return found

    def read_input(self, name: Syntax, type: Syntax, *options: Syntax) -> None:
        found = self.type(type)
        self.inputs.append(self.port(Port(self.define(name, found), found), options))

    def read_output(self, name: Syntax, value: Syntax, *options: Syntax) -> None:
        shown = self.used(value)
        self.outputs.append(self.port(Port(self.name(name), self.types[shown], shown), options))

    def port(self, port: Port, options: tuple[Syntax, ...]) -> Port:
        found: dict[str, Any] = {}
        wanted = {"scale": tuple[float, ...], "zero": int | float, "axis": int, "rounding": str,
                  "order": tuple[int, ...]}
        for option in options:
            key, value = cast("Any", option).children
            if (key == "tensor") != (value.data == "tensor"):
                raise self.fail("E202", value, "tensor, and only tensor, takes a type such as f32[1, 10]")
            found[str(key)] = self.type(value) if key == "tensor" else self.typed(value, wanted[key])
        encoding = {key: found[key] for key in ("scale", "zero", "axis", "rounding") if key in found}
        if encoding and "scale" not in encoding:
            raise self.fail("E202", options[0], "an encoding has a scale")
        return dataclasses.replace(port, encoding=Encoding(**encoding) if encoding else None,
                                   tensor=found.get("tensor"), order=found.get("order", ()))

    def read_constant(self, name: Syntax, type: Syntax, value: Syntax) -> None:
        found = self.type(type)
        if not isinstance(found, TensorType):
            raise self.fail("E202", type, "a constant is a tensor, not a stream")
        data = self.array(value)
        if data.size != found.size:
            raise self.fail("E202", value, f"{data.size} elements do not fill {found}")
        if not _fits(data, found.format):
            raise self.fail("E202", value, f"the constant has values outside its format {found.format}")
        title = self.define(name, found)
        self.constants[title] = Constant(title, found, data)

    def array(self, tree: Syntax) -> Array:
        value = self.plain(tree)
        if isinstance(value, str):
            if value not in self.data:
                raise self.fail("E202", tree, f"no data for '{value}'", did_you_mean(value, self.data))
            return self.data[value]
        try:
            data = np.array(value)
        except (ValueError, OverflowError):
            data = np.array(None)
        if data.dtype.kind not in "iuf":
            raise self.fail("E202", tree, "a constant is a number, nested lists of numbers, or a key")
        return data

    def read_node(self, names: Syntax, types: Syntax, op: Syntax, *rest: Syntax) -> None:
        origin = self.string(rest[-1]) if rest and not hasattr(rest[-1], "data") else ""
        arguments = [cast("Any", tree) for tree in rest if hasattr(tree, "data")]
        attributes = [tree for tree in arguments if tree.data == "attribute"]
        operands = tuple(self.operand(tree) for tree in arguments if tree.data == "name")
        declared = tuple(self.type(tree) for tree in cast("Any", types).children)
        results = cast("Any", names).children
        if len(results) != len(declared):
            raise self.fail("E202", types, f"{len(results)} results have {len(declared)} types")
        made = self.op(op, attributes)
        results = tuple(self.define(tree, type) for tree, type in zip(results, declared, strict=True))
        self.nodes.append(Node(results, made, operands, declared, origin))

    def op(self, token: Syntax, attributes: list[Any]) -> Op:
        try:
            cls = find_operation(str(token))
        except IrcError as problem:
            raise at(problem, self.file, *_position(token)) from None
        fields, hints = {field.name: field for field in cls.attributes()}, field_types(cast(Any, cls))
        values: dict[str, Any] = {}
        for attribute in attributes:
            key, value = attribute.children
            if key not in fields:
                remedy = did_you_mean(key, fields)
                raise self.fail("E202", key, f"{cls.name} has no attribute '{key}'", remedy)
            if key in values:
                raise self.fail("E202", key, f"attribute '{key}' is given twice")
            values[str(key)] = self.typed(value, hints[key])
        missing = [name for name, field in fields.items() if is_required(field) and name not in values]
        if missing:
            raise self.fail("E202", token, f"{cls.name} needs {', '.join(missing)}")
        return cls(**values)


def _fits(data: Array, form: Format) -> bool:
    return isinstance(form, Float) or not data.size or (data.dtype.kind != "f" and form.holds(data))


def _position(where: Syntax) -> tuple[int, int]:
    meta = cast("Any", where.meta if hasattr(where, "meta") else where)
    return meta.line, meta.column


