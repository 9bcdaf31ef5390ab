"""Random valid ONNX models, as hypothesis strategies: they shrink to the smallest model that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, helper
from onnx_models import build, ints, sample

Draw = Callable[[st.SearchStrategy[Any]], Any]
Shape = tuple[int, ...]
SMALL = st.integers(1, 3)
PLAIN = ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "HardSigmoid", "Softplus", "Neg", "Abs", "Erf", "Identity")


@dataclass(slots=True)
class Growing:
    """A model under construction: values with their shapes, the last one is what the next node reads."""

    draw: Draw
    shapes: dict[str, Shape]
    nodes: list[NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def last(self) -> str:
        return next(reversed(self.shapes))

    @property
    def shape(self) -> Shape:
        return self.shapes[self.last]

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = sample(shape, len(self.weights))
        return name

    def stored(self, data: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = data
        return name

    def node(self, op: str, shape: Shape, *more: str, **attributes: Any) -> None:
        result = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.last, *more], [result], **attributes))
        self.shapes[result] = shape

    def model(self) -> ModelProto:
        return build(self.nodes, {"x": self.shapes["x"]}, self.weights, outputs=[self.last])


def slide(n: int, kernel: int, stride: int, pads: tuple[int, int], dilation: int = 1) -> int:
    return (n + sum(pads) - dilation * (kernel - 1) - 1) // stride + 1


def geometry(g: Growing, *, dilated: bool) -> tuple[Shape, dict[str, Any]]:
    """Windows that fit; pads are smaller than the kernel, as pooling demands."""
    sizes, window = [], list[tuple[int, int, int, int, int]]()
    for n in g.shape[2:]:
        kernel = g.draw(st.integers(1, min(3, n)))
        dilation = g.draw(st.integers(1, 2)) if dilated and 2 * (kernel - 1) < n else 1
        stride, low, high = g.draw(SMALL), *(g.draw(st.integers(0, kernel - 1)) for _ in range(2))
        window.append((kernel, stride, low, high, dilation))
        sizes.append(slide(n, kernel, stride, (low, high), dilation))
    kernels, strides, lows, highs, dilations = (list(column) for column in zip(*window, strict=True))
    more = {"dilations": dilations} if dilated else {}
    return tuple(sizes), {"kernel_shape": kernels, "strides": strides, "pads": [*lows, *highs], **more}


def convolve(g: Growing) -> None:
    channels, (sizes, window) = g.shape[1], geometry(g, dilated=True)
    group = g.draw(st.sampled_from([n for n in (1, 2, channels) if channels % n == 0]))
    filters = group * g.draw(SMALL)
    bias = (g.weight(filters),) if g.draw(st.booleans()) else ()
    kernel = g.weight(filters, channels // group, *window["kernel_shape"])
    g.node("Conv", (1, filters, *sizes), kernel, *bias, group=group, **window)


def pool(g: Growing) -> None:
    op = g.draw(st.sampled_from(("MaxPool", "AveragePool")))
    sizes, window = geometry(g, dilated=False)
    more = {"count_include_pad": g.draw(st.integers(0, 1))} if op == "AveragePool" else {}
    g.node(op, (*g.shape[:2], *sizes), **window, **more)


def normalize(g: Growing) -> None:
    channels = g.shape[1]
    scale, shift, mean = (g.weight(channels) for _ in range(3))
    variance = g.stored(np.abs(sample((channels,), 9)) + np.float32(0.1))
    g.node("BatchNormalization", g.shape, scale, shift, mean, variance)


def spread(g: Growing) -> None:
    g.node(g.draw(st.sampled_from(("GlobalAveragePool", "GlobalMaxPool"))), (*g.shape[:2], 1, 1))


def activate(g: Growing) -> None:
    g.node(g.draw(st.sampled_from(PLAIN)), g.shape)


def soften(g: Growing) -> None:
    g.node("Softmax", g.shape, axis=g.draw(st.integers(-1, len(g.shape) - 1)))


def combine(g: Growing) -> None:
    """With an earlier value of the same shape, or with a constant that is broadcast."""
    op = g.draw(st.sampled_from(("Add", "Sub", "Mul", "Max", "Min")))
    same = [name for name, shape in g.shapes.items() if shape == g.shape]
    narrow = tuple(n if g.draw(st.booleans()) else 1 for n in g.shape)
    g.node(op, g.shape, g.draw(st.sampled_from(same)) if g.draw(st.booleans()) else g.weight(*narrow))


def join(g: Growing) -> None:
    axis = g.draw(st.integers(1, len(g.shape) - 1))
    fitting = [name for name, shape in g.shapes.items() if len(shape) == len(g.shape)
               and all(i == axis or a == b for i, (a, b) in enumerate(zip(shape, g.shape, strict=True)))]
    other = g.draw(st.sampled_from(fitting))
    total = g.shape[axis] + g.shapes[other][axis]
    g.node("Concat", (*g.shape[:axis], total, *g.shape[axis + 1 :]), other, axis=axis)


def turn(g: Growing) -> None:
    perm = [0, *g.draw(st.permutations(range(1, len(g.shape))))]
    g.node("Transpose", tuple(g.shape[p] for p in perm), perm=perm)


def cut(g: Growing) -> None:
    axis = g.draw(st.integers(1, len(g.shape) - 1))
    start = g.draw(st.integers(0, g.shape[axis] - 1))
    end, step = g.draw(st.integers(start + 1, g.shape[axis])), g.draw(SMALL)
    size = len(range(start, end, step))
    g.node("Slice", (*g.shape[:axis], size, *g.shape[axis + 1 :]),
           *(g.stored(ints(v)) for v in (start, end, axis, step)))


def surround(g: Growing) -> None:
    pads = [0, *(g.draw(st.integers(0, 2)) for _ in g.shape[1:])] * 2
    mode = g.draw(st.sampled_from(("constant", "edge")))
    grown = tuple(n + 2 * p for n, p in zip(g.shape, pads, strict=False))
    g.node("Pad", grown, g.stored(ints(*pads)), mode=mode)


def reduce(g: Growing) -> None:
    axis = g.draw(st.integers(1, len(g.shape) - 1))
    op = g.draw(st.sampled_from(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2")))
    g.node(op, (*g.shape[:axis], 1, *g.shape[axis + 1 :]), axes=[axis], keepdims=1)


def flatten(g: Growing) -> None:
    g.node("Flatten", (1, int(np.prod(g.shape[1:]))))


def dense(g: Growing) -> None:
    columns = g.draw(st.integers(1, 6))
    if len(g.shape) == 2 and g.draw(st.booleans()):
        g.node("Gemm", (1, columns), g.weight(columns, g.shape[1]), g.weight(columns), transB=1)
    else:
        g.node("MatMul", (*g.shape[:-1], columns), g.weight(g.shape[-1], columns))


ANY = (activate, soften, combine, join, turn, cut, surround, reduce, dense)
IMAGES = (convolve, convolve, pool, normalize, spread, flatten)
LARGEST = 5_000  # elements of a value


@st.composite
def models(draw: Draw, longest: int = 8) -> ModelProto:
    """A model of one input `x`, [1, channels, rows, columns] or [1, columns]."""
    image = draw(st.booleans())
    shape = (1, draw(st.integers(1, 4)), *(draw(st.integers(1, 9)) for _ in range(2 if image else 0)))
    g = Growing(draw, {"x": shape})
    for _ in range(draw(st.integers(1, longest))):
        steps = (*ANY, *(IMAGES if len(g.shape) == 4 else ()))
        if np.prod(g.shape) < LARGEST:
            draw(st.sampled_from(steps))(g)
    return g.model()


@st.composite
def networks(draw: Draw) -> ModelProto:
    """What becomes hardware: convolutions, rectifiers, pooling, then a dense layer."""
    shape = (1, draw(st.integers(1, 3)), draw(st.integers(3, 8)), draw(st.integers(3, 8)))
    g = Growing(draw, {"x": shape})
    for _ in range(draw(st.integers(1, 3))):
        sizes, window = geometry(g, dilated=False)
        filters = draw(st.integers(1, 4))
        kernel = g.weight(filters, g.shape[1], *window["kernel_shape"])
        g.node("Conv", (1, filters, *sizes), kernel, g.weight(filters), **window)
        g.node("Relu", g.shape)
    flatten(g)
    g.node("Gemm", (1, 3), g.weight(3, g.shape[1]), g.weight(3), transB=1)
    return g.model()
