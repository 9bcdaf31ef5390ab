"""Small random networks at model level, for tests of passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from irc.graph import Constant, Graph, Node, Port
from irc.operation import Op
from irc.ops.elementwise import Add, Relu
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import MaxPool
from irc.ops.shape import Concat, Gather, Reshape, Transpose
from irc.types import Array, Float, Format, Integer, Level, TensorType

F32 = Float(32)


class Network:
    """Collects nodes; `graph` ends it."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Port] = []
        self.constants: dict[str, Constant] = {}
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}

    def input(self, name: str, shape: Sequence[int], form: Format = F32) -> str:
        self.types[name] = TensorType(form, tuple(shape))
        self.inputs.append(Port(name, self.types[name]))
        return name

    def constant(self, name: str, data: Array, form: Format = F32) -> str:
        self.types[name] = TensorType(form, data.shape)
        self.constants[name] = Constant(name, self.types[name], data)
        return name

    def weight(self, name: str, *shape: int) -> str:
        spread = self.rng.uniform(0.2, 1.0, (shape[0], *(1,) * (len(shape) - 1)))
        return self.constant(name, self.rng.normal(size=shape) * spread)

    def op(self, name: str, op: Op, *operands: str) -> str:
        self.types[name] = cast(TensorType, op.result_types([self.types[o] for o in operands])[0])
        self.nodes.append(Node((name,), op, operands, (self.types[name],)))
        return name

    def graph(self, *outputs: str, level: Level = Level.MODEL) -> Graph:
        ports = tuple(Port(f"out_{o}", self.types[o], o) for o in outputs)
        graph = Graph("net", level, tuple(self.inputs), ports, self.constants, tuple(self.nodes))
        graph.verify()
        return graph


def conv(pads: int = 0, group: int = 1) -> Conv:
    return Conv((1, 1), (pads,) * 4, (1, 1), group)


def small_cnn(seed: int = 0) -> Graph:
    """conv (padded, with bias), relu, max pooling, conv, relu, dense."""
    net = Network(seed)
    x = net.input("x", (1, 2, 8, 8))
    h = net.op("h", conv(pads=1), x, net.weight("w1", 4, 2, 3, 3), net.weight("b1", 4))
    p = net.op("p", MaxPool((2, 2), (2, 2), (0,) * 4, (1, 1)), net.op("r", Relu(), h))
    g = net.op("r2", Relu(), net.op("g", conv(), p, net.weight("w2", 3, 4, 3, 3)))
    flat = net.op("flat", Reshape((1, 12)), g)
    dense = net.op("dense", MatMul(), flat, net.weight("w3", 12, 5))
    return net.graph(net.op("y", Add(), dense, net.weight("b3", 1, 5)))


def branches(seed: int = 0) -> Graph:
    """Two convolutions of one input, joined by a concat, then a dense layer."""
    net = Network(seed)
    x = net.input("x", (1, 2, 4, 4))
    parts = [net.op(f"r{i}", Relu(), net.op(f"c{i}", conv(), x, net.weight(f"w{i}", 2 + i, 2, 3, 3))) for i in range(2)]
    flat = net.op("flat", Reshape((1, 20)), net.op("cat", Concat(1), *parts))
    return net.graph(net.op("y", MatMul(), flat, net.weight("wd", 20, 3)))


def residual(seed: int = 0) -> Graph:
    """A layer whose result is added to its input."""
    net = Network(seed)
    x = net.input("x", (1, 2, 4, 4))
    h = net.op("h", conv(pads=1), x, net.weight("w", 2, 2, 3, 3), net.weight("b", 2))
    r = net.op("r", Relu(), net.op("sum", Add(), h, x))
    return net.graph(net.op("y", conv(), r, net.weight("w2", 3, 2, 4, 4)))


def embedding(seed: int = 0) -> Graph:
    """Token ids looked up in a table, then a dense layer on the transposed rows."""
    net = Network(seed)
    ids = net.input("ids", (1, 6), Integer(True, 64))
    rows = net.op("rows", Gather(0), net.weight("table", 20, 4), ids)
    flat = net.op("flat", Reshape((1, 24)), net.op("turned", Transpose((0, 2, 1)), rows))
    return net.graph(net.op("y", MatMul(), flat, net.weight("w", 24, 3)))


def data_for(graph: Graph, count: int = 40, seed: int = 1) -> dict[str, Array]:
    """Random samples for every input."""
    rng = np.random.default_rng(seed)
    made = {}
    for port in graph.inputs:
        shape = (count, *graph.tensor(port.name).shape)
        whole = isinstance(port.type.format, Integer)
        made[port.name] = rng.integers(0, 20, shape) if whole else rng.normal(size=shape)
    return made
