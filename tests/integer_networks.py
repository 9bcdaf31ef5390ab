"""Random integer-level networks: convolutions of any stride and padding, depthwise and residual ones, pools, dense."""

from __future__ import annotations

import numpy as np

from irc.graph import Constant, Graph, Node, Port
from irc.operation import Op
from irc.ops.elementwise import Add
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import MaxPool
from irc.ops.quantization import MultiplyShift, Threshold
from irc.ops.shape import Concat, Reshape
from irc.types import Array, Encoding, Format, Integer, Level, PowerOfTwo, TensorType

U8, S5 = Integer(False, 8), Integer(True, 5)


class Sketch:
    """A graph at integer level, written one value after the other."""

    def __init__(self, seed: int, image: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(seed)
        self.types: dict[str, TensorType] = {"image": TensorType(U8, (1, *image))}
        self.constants: dict[str, Constant] = {}
        self.nodes: list[Node] = []

    def constant(self, name: str, form: Format, data: Array) -> str:
        self.constants[name] = Constant(name, TensorType(form, data.shape), data)
        self.types[name] = self.constants[name].type
        return name

    def value(self, name: str, op: Op, *operands: str) -> str:
        (made,) = op.result_types([self.types[o] for o in operands])
        assert isinstance(made, TensorType)
        self.types[name] = made
        self.nodes.append(Node((name,), op, operands, (made,), f"onnx:/{name}"))
        return name

    def weights(self, name: str, form: Integer | PowerOfTwo, shape: tuple[int, ...]) -> str:
        choices = form.values() if isinstance(form, PowerOfTwo) else np.arange(form.minimum, form.maximum + 1)
        return self.constant(name, form, self.rng.choice(choices, shape))

    def requantized(self, name: str, x: str) -> str:
        """To u8 by multiply_shift; neither clipping nor rounding hides mistakes."""
        channels, high = self.types[x].shape[1], self.types[x].format
        shift = 8 + (0 if not isinstance(high, Integer) else high.bits - 8)
        scale = self.constant(f"{name}_m", U8, self.rng.integers(60, 256, channels))
        offset = self.constant(f"{name}_o", Integer(True, 24), self.rng.integers(-5000, 5000, channels))
        return self.value(name, MultiplyShift(U8, shift), x, scale, offset)

    def thresholded(self, name: str, x: str) -> str:
        """To u2 by thresholds."""
        table = np.sort(self.rng.integers(-2000, 2000, (self.types[x].shape[1], 3)), axis=1)
        rom = self.constant(f"{name}_t", Integer(True, 12), table)
        return self.value(name, Threshold(Integer(False, 2), 0), x, rom)

    def dense(self, name: str, x: str, columns: int, form: Integer | PowerOfTwo = S5) -> str:
        flat = self.value(f"{name}_flat", Reshape((1, self.types[x].size)), x)
        return self.value(name, MatMul(), flat, self.weights(f"{name}_w", form, (self.types[flat].shape[1], columns)))

    def graph(self, output: str) -> Graph:
        ports = Port("image", self.types["image"], encoding=Encoding((1 / 255,)))
        shown = Port("logits", self.types[output], output, Encoding((0.5,)))
        graph = Graph("net", Level.INTEGER, (ports,), (shown,), self.constants, tuple(self.nodes))
        graph.verify()
        return graph


def convolutional(seed: int, form: Integer | PowerOfTwo = S5) -> Graph:
    """image -> conv -> requantize -> max pool -> conv -> threshold -> dense + bias, geometry drawn from the seed."""
    rng = np.random.default_rng(seed)
    channels, rows, columns, filters = (int(rng.integers(*r)) for r in ((1, 4), (7, 11), (7, 11), (2, 7)))
    s = Sketch(seed, (channels, rows, columns))
    kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
    conv = Conv(_pair(rng, 1, 3), _pads(rng), _pair(rng, 1, 3), pad_value=int(rng.integers(0, 9)))
    c1 = s.value("c1", conv, "image", s.weights("w1", form, (filters, channels, *kernel)))
    pool = MaxPool((2, 2), _pair(rng, 1, 3), (0, 0, 1, 0), (1, 1))
    p1 = s.value("p1", pool, s.requantized("q1", c1))
    c2 = s.value("c2", Conv((1, 1), (1, 1, 1, 1), (1, 1)), p1, s.weights("w2", form, (4, filters, 2, 3)))
    out = s.dense("f", s.thresholded("q2", c2), 6, form)
    bias = s.constant("b", Integer(True, 9), s.rng.integers(-200, 200, (1, 6)))
    return s.graph(s.value("y", Add(), out, bias))


def branching(seed: int) -> Graph:
    """Two convolutions of one image, joined by channel, pooled by a dense layer."""
    s = Sketch(seed, (2, 6, 5))
    parts = []
    for i, kernel in enumerate((1, 3)):
        pads = (kernel // 2,) * 4
        weights = s.weights(f"w{i}", S5, (2 + 2 * i, 2, kernel, kernel))
        c = s.value(f"c{i}", Conv((1, 1), pads, (1, 1)), "image", weights)
        parts.append(s.requantized(f"q{i}", c))
    return s.graph(s.dense("f", s.value("joined", Concat(1), *parts), 5))


def varied(seed: int) -> Graph:
    """Two or three blocks drawn from convolution, depthwise layer, residual addition and pooling; a dense layer."""
    rng = np.random.default_rng(seed)
    s = Sketch(seed, tuple(int(n) for n in (rng.integers(2, 5), *rng.integers(6, 9, 2))))
    x = "image"
    for i, block in enumerate(rng.choice(["dense", "depthwise", "residual", "pool"], int(rng.integers(2, 4)))):
        x = _block(s, rng, block, f"b{i}", x)
    return s.graph(s.dense("f", x, 3))


def _block(s: Sketch, rng: np.random.Generator, block: str, name: str, x: str) -> str:
    channels = s.types[x].shape[1]
    match block:
        case "pool":
            return s.value(name, MaxPool((2, 2), (1, int(rng.integers(1, 3))), (0,) * 4, (1, 1)), x)
        case "depthwise":
            deep = Conv((1, 1), (1, 0, 1, 1), (1, 1), group=channels, pad_value=int(rng.integers(0, 9)))
            return s.requantized(f"{name}_q", s.value(name, deep, x, s.weights(f"{name}_w", S5, (channels, 1, 2, 3))))
        case "residual":
            weights = s.weights(f"{name}_w", S5, (channels, channels, 3, 3))
            layer = s.requantized(f"{name}_q", s.value(name, Conv((1, 1), (1,) * 4, (1, 1)), x, weights))
            return s.requantized(f"{name}_r", s.value(f"{name}_sum", Add(), layer, x))
        case _:
            weights = s.weights(f"{name}_w", S5, (int(rng.integers(2, 5)), channels, 2, 2))
            return s.requantized(f"{name}_q", s.value(name, Conv(_pair(rng, 1, 3), _pads(rng), (1, 1)), x, weights))


def _pair(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    a, b = rng.integers(low, high, 2).tolist()
    return a, b


def _pads(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.integers(0, 3, 4).tolist())


def images(graph: Graph, count: int, seed: int = 0) -> Array:
    """Random user tensors [count, *shape] for the input at integer level."""
    shape = graph.tensor("image").shape
    return np.random.default_rng(seed).integers(0, 256, (count, *shape))


__all__ = ["Sketch", "branching", "convolutional", "images", "varied"]
