"""The state of a lowering to streams, and the table of rules that it follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np

from irc.diagnostics import Diagnostic, IrcError, error
from irc.graph import Constant, Graph, Node, Port
from irc.operation import Op
from irc.ops.linear import Conv
from irc.ops.pooling import MaxPool
from irc.ops.shape import Transpose
from irc.types import Array, Integer, Level, StreamType, TensorType, Type
from passes.lower.streams.layout import Layout, axes_of, channels_last, raster

R = TypeVar("R", bound=Op)
Rule: TypeAlias = "Callable[[Lowering, Node, Any], None]"
RULES: dict[type[Op], Rule] = {}


def lowers(kind: type[R]) -> Callable[[Callable[[Lowering, Node, R], None]], Callable[[Lowering, Node, R], None]]:
    """Enter the lowering of one op."""

    def enter(rule: Callable[[Lowering, Node, R], None]) -> Callable[[Lowering, Node, R], None]:
        RULES[kind] = rule
        return rule

    return enter


def rule_for(node: Node) -> Rule:
    """The rule of a node's op. Raises E306 for an op without hardware."""
    if type(node.op) not in RULES:
        known = ", ".join(sorted(kind.name for kind in RULES))
        raise error("E306", f"op {node.op.name} has no hardware", node=node.name, operator=node.op.name,
                    remedy=f"These have: {known}.")
    return RULES[type(node.op)]


class Lowering:
    """One run: the graph being built, and where each integer value travels."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layouts: dict[str, Layout] = {}
        self.types: dict[str, Type] = {}
        self.constants: dict[str, Constant] = {}
        self.nodes: list[Node] = []
        self.taken = {p.name for p in graph.inputs}
        self.counts = Counter[str]()  # how often a stem was asked for
        self.node = graph.nodes[0] if graph.nodes else None

    def run(self) -> Graph:
        """The graph of streams; a channel may still have several readers."""
        inputs = [replace(port, **self._input(port.name)) for port in self.graph.inputs]
        problems = [problem for node in self.graph.nodes for problem in self._attempt(node)]
        if problems:
            raise IrcError(*problems)
        outputs = [self._output(port) for port in self.graph.outputs]
        return Graph(self.graph.name, Level.DATAFLOW, tuple(inputs), tuple(outputs), self.constants, tuple(self.nodes))

    def _attempt(self, node: Node) -> tuple[Diagnostic, ...]:
        """Lower one node. What a refused one makes is taken for an input, to find all that is refused."""
        self.node = node
        try:
            rule_for(node)(self, node, node.op)
        except IrcError as refusal:
            self._input(node.name)
            return refusal.diagnostics
        return ()

    def refuse(self, reason: str, remedy: str = "") -> IrcError:
        """E306 blaming the node being lowered."""
        assert self.node is not None
        return error("E306", reason, node=self.node.name, operator=self.node.op.name, remedy=remedy)

    def _input(self, name: str) -> dict[str, Any]:
        """A value that the environment sends: what its port has to say."""
        tensor = self.graph.tensor(name)
        axes = self._travel(name, len(tensor.shape))
        order = raster(tensor.shape).transpose(axes).ravel()
        elements = tensor.shape[axes[-1]] if axes else 1
        channel = StreamType(cast(Integer, tensor.format), tensor.size // elements, elements)
        self.types[name] = channel
        self.layouts[name] = Layout(name, tensor.shape, order)
        return {"type": channel, "tensor": tensor, "order": axes}

    def _travel(self, name: str, rank: int) -> tuple[int, ...]:
        """Axes of an input in the order in which they travel: what is transposed for windows (images with channels
        last) travels as these read it."""
        axes, users = channels_last(rank), self.graph.users[name]
        perms = {user.op.perm if isinstance(user.op, Transpose) else () for user in users}
        readers = [reader.op for user in users for reader in self.graph.users[user.name]]
        if perms in ({()}, set()) or len(perms) > 1 or not all(isinstance(op, Conv | MaxPool) for op in readers):
            return axes
        perm = perms.pop()
        return tuple(perm[axis] for axis in axes)

    def _output(self, port: Port) -> Port:
        layout = self.layout(port.value)
        axes = axes_of(layout)
        if np.array_equal(raster(layout.shape).transpose(axes).ravel(), layout.order):
            tensor = self.graph.tensor(port.value)
            return replace(port, type=self.types[layout.channel], value=layout.channel, tensor=tensor, order=axes)
        raise error("E306", f"output '{port.name}' leaves in an order that no permutation of its axes describes")

    def layout(self, name: str) -> Layout:
        """Where a value travels; E306 for a constant where an actor needs a stream."""
        if name not in self.layouts:
            raise self.refuse(f"'{name}' is a constant, but hardware computes this operand",
                              "run clean and fold before lowering")
        return self.layouts[name]

    def stream(self, name: str) -> StreamType:
        return cast(StreamType, self.types[name])

    def rom(self, name: str) -> Constant:
        """The constant operand `name`; E306 when it is computed."""
        if name not in self.graph.constants:
            raise self.refuse(f"'{name}' is computed, but hardware needs this operand constant")
        return self.graph.constants[name]

    def constant(self, stem: str, type: TensorType, data: Array) -> str:
        name = self.fresh(stem)
        self.constants[name] = Constant(name, type, data)
        self.types[name] = type
        return name

    def fresh(self, stem: str) -> str:
        name, count = stem, self.counts[stem]
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        self.counts[stem] = count
        return name

    def emit(self, stem: str, op: Op, operands: Sequence[str], form: Integer | None = None) -> str:
        """Add an actor; returns its channel. `form` is the range-analysed format of the result."""
        assert self.node is not None
        (made,) = op.result_types([self.types[o] for o in operands])
        channel = cast(StreamType, made)
        channel = channel if form is None else replace(channel, format=form)
        name = self.fresh(stem)
        self.nodes.append(Node((name,), op, tuple(operands), (channel,), self.node.origin))
        self.types[name] = channel
        return name

    def place(self, node: Node, channel: str, order: Array) -> None:
        """Record that the result of `node` travels on `channel` in `order`."""
        shape = self.graph.tensor(node.name).shape
        self.layouts[node.name] = Layout(channel, shape, np.asarray(order, np.int64).ravel())

    def format(self, node: Node) -> Integer:
        return cast(Integer, self.graph.tensor(node.name).format)

    def parameter(self, layout: Layout, value: Array, stem: str, type: TensorType, channels: int) -> str:
        """A constant that broadcasts over a tensor, in stream order: [1, ...] or [channels, ...]."""
        rank = len(layout.shape)
        kinds = value.reshape(*value.shape[:rank], -1)  # the same number stands for the same entries
        first, which = np.unique(kinds.reshape(-1, kinds.shape[-1]), axis=0, return_index=True, return_inverse=True)[1:]
        spread = np.broadcast_to(which.reshape(value.shape[:rank]), layout.shape).ravel()[layout.order]
        rows = spread.reshape(-1, channels)
        if (rows != rows[:1]).any():
            raise self.refuse("a constant differs between positions of the stream", "fold it into the weights")
        used = rows[0] if (rows[0] != rows[0, :1]).any() else rows[0, :1]
        found = value.reshape(-1, *value.shape[rank:])[first[used]]
        return self.constant(stem, TensorType(type.format, found.shape), found)
