"""Dataflow graphs built by hand, for tests of timing and of the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from irc.graph import Constant, Graph, Node, Port
from irc.operation import Op
from irc.ops.matvec import MatVec
from irc.ops.stream_map import MapScale
from irc.ops.stream_reduce import Reduce, StreamArgMax
from irc.ops.window import Window
from irc.types import Array, Encoding, Format, Integer, Level, StreamType, TensorType

U8, S8 = Integer(False, 8), Integer(True, 8)


class Builder:
    """Collects actors; `graph` ends it."""

    def __init__(self, name: str = "net", seed: int = 0) -> None:
        self.name, self.rng = name, np.random.default_rng(seed)
        self.inputs: list[Port] = []
        self.constants: dict[str, Constant] = {}
        self.nodes: list[Node] = []
        self.types: dict[str, StreamType | TensorType] = {}

    def input(self, name: str, type: StreamType, tensor: TensorType | None = None, order: tuple[int, ...] = (),
              encoding: Encoding | None = None) -> str:
        self.inputs.append(Port(name, type, "", encoding, tensor, order))
        self.types[name] = type
        return name

    def rom(self, name: str, form: Format, data: Array) -> str:
        self.types[name] = TensorType(form, data.shape)
        self.constants[name] = Constant(name, TensorType(form, data.shape), data)
        return name

    def actor(self, name: str, op: Op, *operands: str, depth: int = 8) -> str:
        made = op.result_types([self.types[o] for o in operands])
        names = (name, *(f"{name}_{i}" for i in range(1, len(made))))
        types = tuple(replace(t, depth=depth) for t in made)
        self.nodes.append(Node(names, op, operands, types))
        self.types.update(zip(names, types, strict=True))
        return name

    def requantize(self, name: str, x: str, channels: int) -> str:
        """To u8; the constants are such that neither clipping nor rounding hides mistakes."""
        scale = self.rom(f"{name}_multiplier", U8, self.rng.integers(1, 100, channels))
        offset = self.rom(f"{name}_offset", Integer(True, 16), self.rng.integers(-2000, 2000, channels))
        return self.actor(name, MapScale(channels, U8, 14), x, scale, offset)

    def layer(self, name: str, x: str, rows: int, pe: int, form: Integer = S8) -> str:
        columns = self.types[x].elements
        weight = self.rom(f"{name}_weight", form, self.rng.integers(form.minimum, form.maximum + 1, (rows, columns)))
        return self.actor(name, MatVec(pe), x, weight)

    def graph(self, *outputs: str) -> Graph:
        ports = tuple(Port(f"out{i}", self.types[o], o) for i, o in enumerate(outputs))
        graph = Graph(self.name, Level.DATAFLOW, tuple(self.inputs), ports, self.constants, tuple(self.nodes))
        graph.verify()
        return graph


def lenet(simd: Sequence[int] = (1, 2, 16, 4, 1), pe: Sequence[int] = (1, 2, 4, 1, 1), depth: int = 8) -> Graph:
    """LeNet-5 on 28 x 28 pixels: two convolutions with pooling, three dense layers, argmax."""
    net = Builder("lenet")
    pixels = StreamType(U8, 784, 1, depth=200)
    x = net.input("image", pixels, TensorType(U8, (1, 1, 28, 28)), (0, 2, 3, 1), Encoding((1 / 255,)))
    x = conv_pool(net, "conv1", x, (28, 1, 6, 2), pe[0], depth)
    x = conv_pool(net, "conv2", x, (14, 6, 16, 0), pe[1], depth)
    for k, rows in ((3, 120), (4, 84), (5, 10)):
        x = dense(net, f"dense{k}", x, rows, simd[k - 1], pe[k - 1], depth)
    x = net.actor("digit", StreamArgMax(10), narrow(net, "logits_width", x, 1, depth))
    return net.graph(x)


def narrow(net: Builder, name: str, x: str, lanes: int, depth: int) -> str:
    from irc.ops.routing import Width

    return x if net.types[x].lanes == lanes else net.actor(name, Width(lanes), x, depth=depth)


def conv_pool(net: Builder, name: str, x: str, shape: tuple[int, int, int, int], pe: int, depth: int) -> str:
    """5 x 5 convolution, 2 x 2 pooling, requantization."""
    size, channels, rows, pad = shape
    lanes = 1 if channels == 1 else 2
    x = narrow(net, f"{name}_width", x, lanes, depth)
    window = Window((size, size), channels, (5, 5), pads=(pad,) * 4, repeat=rows // pe)
    grow(net, x, (5 * size + 5) * channels // net.types[x].lanes + 8)
    x = net.layer(name, net.actor(f"{name}_window", window, x, depth=depth), rows, pe)
    out = size + 2 * pad - 4
    grow(net, x, (2 * out + 2) * rows // pe + 8)
    x = net.actor(f"{name}_pool_window", Window((out, out), rows, (2, 2), (2, 2), block=pe), x, depth=depth)
    return net.requantize(f"{name}_act", net.actor(f"{name}_pool", Reduce(4, pe), x, depth=depth), rows)


def dense(net: Builder, name: str, x: str, rows: int, simd: int, pe: int, depth: int) -> str:
    total = net.types[x].positions * net.types[x].elements
    last = name == "dense5"
    x = narrow(net, f"{name}_width", x, simd, depth)
    grow(net, x, 2 * total // simd)
    again = Window((1, 1), total, (1, 1), repeat=rows // pe)
    x = net.layer(name, net.actor(f"{name}_again", again, x, depth=depth), rows, pe)
    return x if last else net.requantize(f"{name}_act", x, rows)


def grow(net: Builder, name: str, depth: int) -> None:
    """Give a channel made before a deeper FIFO."""
    net.types[name] = replace(net.types[name], depth=depth)
    net.inputs = [replace(p, type=net.types[name]) if p.name == name else p for p in net.inputs]
    net.nodes = [replace(n, types=tuple(net.types[r] for r in n.results)) for n in net.nodes]


def with_depths(graph: Graph, depths: Mapping[str, int]) -> Graph:
    """The same graph with other FIFOs."""
    inputs = tuple(replace(p, type=replace(p.type, depth=depths.get(p.name, p.type.depth))) for p in graph.inputs)
    nodes = tuple(replace(n, types=tuple(replace(t, depth=depths.get(r, t.depth))
                                         for r, t in zip(n.results, n.types, strict=True))) for n in graph.nodes)
    changed = replace(graph, inputs=inputs, nodes=nodes)
    return replace(changed, outputs=tuple(replace(p, type=changed.types[p.value]) for p in graph.outputs))


def random_feeds(graph: Graph, samples: int, seed: int = 1) -> dict[str, Array]:
    """Random value arrays for every input port."""
    rng = np.random.default_rng(seed)
    shapes = {p.name: (samples, p.type.positions, p.type.elements) for p in graph.inputs}
    forms = {p.name: p.type.format for p in graph.inputs}
    return {n: rng.integers(forms[n].minimum, forms[n].maximum + 1, s) for n, s in shapes.items()}
