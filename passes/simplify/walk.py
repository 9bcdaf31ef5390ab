"""A graph while one walk in topological order rewrites it: the nodes made so far, and who still reads them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from irc.graph import Constant, Graph, Node
from irc.interpreter import computed
from irc.types import Array, TensorType


class Walk:
    """`nodes` are those made so far, `constants` the constants as they are by now, `uses` how often a value is read.

    `exact` has what was computed for a constant before it was rounded to its format: what is merged step by step is
    rounded once."""

    def __init__(self, graph: Graph) -> None:
        self.nodes: dict[str, Node] = {}
        self.constants: dict[str, Constant] = dict(graph.constants)
        self.uses = Counter(o for node in graph.nodes for o in node.operands)
        self.uses.update(port.value for port in graph.outputs)
        self.exact: dict[str, Array] = {}
        self._edit = graph.edit()
        self._originals = graph.producers
        self._types = dict(graph.types)
        self._alias: dict[str, str] = {}
        self._inserted: dict[str, str] = {}  # a value -> the new node behind it that its readers read instead

    def current(self, node: Node) -> Node:
        """The node with its operands as they are called by now."""
        return replace(node, operands=tuple(self._alias.get(o, o) for o in node.operands))

    def put(self, node: Node) -> None:
        """Enter the node, in place of the one of the same name."""
        self.nodes[node.name] = node
        original = self._originals.get(node.name)
        if original is not None and original != node:
            self._edit.replace(original, node)

    def remove(self, node: Node) -> None:
        """Take out a node that nobody reads any more."""
        if node.name in self._originals:
            self._edit.replace(self._originals[node.name])
        else:
            self._inserted.pop(node.operands[0])
        self.nodes.pop(node.name, None)

    def drop(self, node: Node, value: str) -> None:
        """Take out a node; its readers read `value`."""
        self.remove(node)
        self._edit.redirect(node.name, value)
        self._alias[node.name] = value
        self.uses[value] = self.uses[node.name]

    def insert(self, node: Node, operand: str) -> None:
        """Enter a new node behind `operand`; the readers of `operand` read it instead."""
        self.nodes[node.name] = node
        self._inserted[operand] = node.name
        self._alias[operand] = node.name
        self._types[node.name] = node.type
        self.uses[node.name], self.uses[operand] = self.uses[operand], 1

    def evaluated(self, node: Node, data: Array) -> None:
        """A constant takes the place (and the name) of a node."""
        assert isinstance(node.type, TensorType)
        self._edit.replace(self._originals[node.name])
        self._set(node.name, node.type, data)

    def constant(self, old: str, data: Array) -> str:
        """A constant for `data` in place of `old`, under the same name unless others read `old` too."""
        type = TensorType(self._types[old].format, data.shape)
        name = old if self.uses[old] == 1 else self.fresh(old)
        self.uses[name] = 1
        self._set(name, type, data)
        self.exact[name] = data
        return name

    def _set(self, name: str, type: TensorType, data: Array) -> None:
        self.constants[name] = Constant(name, type, data)
        self._edit.set_constant(name, type, self.constants[name].data)
        self._types[name] = type

    def fresh(self, stem: str) -> str:
        return self._edit.fresh(stem)

    def sole(self, name: str) -> Node | None:
        """The node that makes `name`, if its value has a single reader."""
        return self.nodes.get(name) if self.uses[name] == 1 else None

    def data(self, name: str) -> Array | None:
        """A constant's data as the interpreter computes with it; None when `name` is no constant."""
        if name in self.exact:
            return self.exact[name]
        return computed(self.constants[name].data) if name in self.constants else None

    def type(self, name: str) -> TensorType:
        found = self._types[name]
        assert isinstance(found, TensorType)
        return found

    def shape(self, name: str) -> tuple[int, ...]:
        return self.type(name).shape

    def finish(self) -> Graph:
        """The rewritten graph; the very same one when nothing changed."""
        for value, name in self._inserted.items():
            self._edit.insert_after(value, self.nodes[name])
            self._edit.redirect(value, name)
        return self._edit.finish()
