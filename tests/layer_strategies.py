"""How random models grow by layers: windows in one to three dimensions, norms, dense, recurrent, quantized ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from growing_models import SMALL, Growing, Shape, step
from hypothesis import strategies as st
from onnx_models import sample

EPSILON = 0.1  # of norms: small ones make float32 differ from float64 where the values are all alike
SCALES = (0.013, 0.029, 0.053, 0.11)  # none is an odd half of another: no ties, which float32 rounds either way


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


def filters_of(g: Growing) -> tuple[int, int]:
    """Groups and filters of a convolution."""
    channels = g.shape[1]
    group = g.one_of(*(n for n in (1, 2, channels) if channels % n == 0))
    return group, group * g.draw(SMALL)


@step(3, 5)
def convolve(g: Growing) -> None:
    sizes, window = geometry(g, dilated=True)
    group, filters = filters_of(g)
    bias = (g.weight(filters),) if g.chance() else ()
    kernel = g.weight(filters, g.shape[1] // group, *window["kernel_shape"])
    g.node("Conv", (1, filters, *sizes), kernel, *bias, group=group, **window)


@step(3, 5)
def convolve_same(g: Growing) -> None:
    stride, kernel = g.draw(SMALL), g.draw(SMALL)
    dims = g.rank - 2
    sizes = tuple(-(-n // stride) for n in g.shape[2:])
    g.node("Conv", (1, 2, *sizes), g.weight(2, g.shape[1], *(kernel,) * dims), strides=[stride] * dims,
           auto_pad=g.one_of("SAME_UPPER", "SAME_LOWER"))


@step(3, 5)
def transposed(g: Growing) -> None:
    """Transposed convolution with groups, strides, pads and output padding."""
    group, filters = filters_of(g)
    dims = g.rank - 2
    kernel, stride = g.within(2, 3), g.draw(SMALL)
    pad, more = g.within(0, 1), g.within(0, stride - 1)
    sizes = tuple((n - 1) * stride + kernel - 2 * pad + more for n in g.shape[2:])
    if min(sizes) > 0 and max(sizes) < 30:
        bias = (g.weight(filters),) if g.chance() else ()
        g.node("ConvTranspose", (1, filters, *sizes), g.weight(g.shape[1], filters // group, *(kernel,) * dims), *bias,
               group=group, strides=[stride] * dims, pads=[pad] * 2 * dims, output_padding=[more] * dims)


@step(3, 5)
def pool(g: Growing) -> None:
    op = g.one_of("MaxPool", "AveragePool", "LpPool")
    sizes, window = geometry(g, dilated=False)
    more = {"count_include_pad": g.within(0, 1)} if op == "AveragePool" else {}
    g.node(op, (*g.shape[:2], *sizes), **window, **more)


@step(3, 5, since=10)
def pool_rounded_up(g: Growing) -> None:
    """The last window may hang over. It does not start behind the data: there ONNX's shape inference is wrong."""
    kernel, stride = g.within(1, min(3, *g.shape[2:])), g.draw(SMALL)
    dims = g.rank - 2
    sizes = tuple(-(-(n - kernel) // stride) + 1 for n in g.shape[2:])
    if all((size - 1) * stride < n for size, n in zip(sizes, g.shape[2:], strict=True)):
        g.node(g.one_of("MaxPool", "AveragePool"), (*g.shape[:2], *sizes), ceil_mode=1, kernel_shape=[kernel] * dims,
               strides=[stride] * dims)


@step(3, 5)
def spread(g: Growing) -> None:
    known = ("GlobalLpPool",) if g.opset < 22 else ()  # ONNX Runtime has no newer one
    g.node(g.one_of("GlobalAveragePool", "GlobalMaxPool", *known), (*g.shape[:2], *(1,) * (g.rank - 2)))


@step(3, 5)
def normalize(g: Growing) -> None:
    scale, shift, mean = (g.weight(g.shape[1]) for _ in range(3))
    variance = g.stored(np.abs(sample((g.shape[1],), 9)) + np.float32(0.1))
    g.node("BatchNormalization", g.shape, scale, shift, mean, variance)


@step(3, 5)
def normalize_instances(g: Growing) -> None:
    g.node("InstanceNormalization", g.shape, g.weight(g.shape[1]), g.weight(g.shape[1]), epsilon=EPSILON)


@step(2, 5, since=17)
def normalize_layer(g: Growing) -> None:
    axis = g.axis()
    bias = (g.weight(*g.shape[axis:]),) if g.chance() else ()
    g.node("LayerNormalization", g.shape, g.weight(*g.shape[axis:]), *bias, axis=axis, epsilon=EPSILON)


@step(3, 5, since=21)
def normalize_groups(g: Growing) -> None:
    groups = g.one_of(*(n for n in (1, 2, g.shape[1]) if g.shape[1] % n == 0))
    g.node("GroupNormalization", g.shape, g.weight(g.shape[1]), g.weight(g.shape[1]), num_groups=groups,
           epsilon=EPSILON)


@step(3, 5)
def normalize_locally(g: Growing) -> None:
    if g.rank == 4:
        g.node("LRN", g.shape, size=g.one_of(1, 3, 5), alpha=0.1, beta=0.5, bias=1.0)


@step(2, 5)
def dense(g: Growing) -> None:
    columns = g.within(1, 6)
    if g.rank == 2 and g.chance():
        bias = (g.weight(columns),) if g.opset >= 11 or g.chance() else (g.weight(1, columns),)
        g.node("Gemm", (1, columns), g.weight(columns, g.shape[1]), *bias, transB=1, alpha=g.one_of(1.0, 0.5))
    else:
        g.node("MatMul", (*g.shape[:-1], columns), g.weight(g.shape[-1], columns))


@step(3, 3)
def recur(g: Growing) -> None:
    """[1, channels, length] as a sequence of `channels` vectors, forwards, backwards or both ways."""
    _, time, size = g.shape
    kind, hidden = g.one_of("RNN", "GRU", "LSTM"), g.within(1, 3)
    direction = g.one_of("forward", "reverse", "bidirectional")
    gates, ways = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind], 1 + (direction == "bidirectional")
    bias = (g.weight(ways, 2 * gates * hidden),) if g.chance() else ()
    more = {"linear_before_reset": g.within(0, 1)} if kind == "GRU" else {}
    operands = g.weight(ways, gates * hidden, size), g.weight(ways, gates * hidden, hidden), *bias
    g.node("Transpose", (time, 1, size), perm=[1, 0, 2])
    if g.chance():  # the states of all time steps
        g.node(kind, (time, ways, 1, hidden), *operands, hidden_size=hidden, direction=direction, **more)
        g.node("Transpose", (1, time, ways, hidden), perm=[2, 0, 1, 3])
        g.node("Reshape", (1, time, ways * hidden), g.integers(1, time, ways * hidden))
        return
    g.emit(kind, [g.last, *operands], (ways, 1, hidden), 1, hidden_size=hidden, direction=direction, **more)
    g.node("Transpose", (1, ways, hidden), perm=[1, 0, 2])


def scale_of(g: Growing) -> np.float32:
    return np.float32(g.one_of(*SCALES))


@step(2, 5, since=10)
def quantize(g: Growing) -> None:
    """To 8 bits and back."""
    kind = g.one_of(np.uint8, np.int8)
    scale, zero = g.stored(np.array(scale_of(g))), g.stored(np.array(g.within(0, 100), kind))
    (stored,) = g.aside("QuantizeLinear", [g.last, scale, zero])
    g.emit("DequantizeLinear", [stored, scale, zero], g.shape)


@step(3, 5, since=13)
def convolve_quantized(g: Growing) -> None:
    """Weights in 8 bits with a scale a filter."""
    filters, (sizes, window) = g.draw(SMALL), geometry(g, dilated=False)
    shape = (filters, g.shape[1], *window["kernel_shape"])
    kernel = np.random.default_rng(len(g.nodes)).integers(-127, 128, shape).astype(np.int8)
    scales = g.stored(np.array([scale_of(g) for _ in range(filters)]))
    (real,) = g.aside("DequantizeLinear", [g.stored(kernel), scales, g.stored(np.zeros(filters, np.int8))], axis=0)
    g.node("Conv", (1, filters, *sizes), real, **window)


@step(2, 5, since=10)
def dense_quantized(g: Growing) -> None:
    columns = g.within(1, 4)
    weight = np.random.default_rng(len(g.nodes)).integers(-127, 128, (g.shape[-1], columns)).astype(np.int8)
    (real,) = g.aside("DequantizeLinear", [g.stored(weight), g.stored(np.array(scale_of(g)))])
    g.node("MatMul", (*g.shape[:-1], columns), real)
