"""Small random residual networks, for tests of passes that look for blocks."""

from __future__ import annotations

import numpy as np
from networks import Network, conv

from irc.graph import Graph
from irc.ops.elementwise import Add, Mul, Relu
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import ReduceMean
from irc.ops.shape import Pad, Reshape, Slice

STRIDED = Conv((2, 2), (1, 1, 1, 1), (1, 1))


def layer(net: Network, name: str, x: str, channels: int, op: Conv | None = None, kernel: int = 3,
          size: float = 1.0) -> str:
    """A convolution with bias, of `size` relative to what keeps the variance."""
    taps = net.types[x].shape[1] * kernel * kernel
    weight = net.constant(f"{name}_w", net.rng.normal(size=(channels, taps // kernel**2, kernel, kernel))
                          * size / np.sqrt(taps))
    bias = net.constant(f"{name}_b", 0.1 * size * net.rng.normal(size=channels))
    return net.op(name, op or conv(pads=kernel // 2), x, weight, bias)


def basic(net: Network, name: str, x: str, size: float = 0.5) -> str:
    """relu(x + conv(relu(conv(x))))."""
    channels = net.types[x].shape[1]
    inner = net.op(f"{name}_relu", Relu(), layer(net, f"{name}_conv1", x, channels))
    branch = layer(net, f"{name}_conv2", inner, channels, size=size)
    return net.op(f"{name}_out", Relu(), net.op(f"{name}_add", Add(), branch, x))


def bottleneck(net: Network, name: str, x: str) -> str:
    """relu(x + 1x1(3x3(1x1(x))))."""
    channels, h = net.types[x].shape[1], x
    for i, (width, kernel) in enumerate(((channels // 2, 1), (channels // 2, 3), (channels, 1))):
        h = layer(net, f"{name}_conv{i}", h, width, kernel=kernel)
        h = net.op(f"{name}_relu{i}", Relu(), h) if i < 2 else h
    return net.op(f"{name}_out", Relu(), net.op(f"{name}_add", Add(), x, h))


def preactivated(net: Network, name: str, x: str, size: float = 0.5) -> str:
    """x + conv(relu(x * scale))."""
    scale = net.constant(f"{name}_scale", net.rng.uniform(0.5, 1.0, (net.types[x].shape[1], 1, 1)))
    inner = net.op(f"{name}_relu", Relu(), net.op(f"{name}_norm", Mul(), x, scale))
    return net.op(f"{name}_add", Add(), x, layer(net, f"{name}_conv", inner, net.types[x].shape[1], size=size))


def projection(net: Network, name: str, x: str) -> str:
    """A block that halves the sizes and doubles the channels; its skip is a strided slice, padded."""
    shape = net.types[x].shape
    inner = net.op(f"{name}_relu", Relu(), layer(net, f"{name}_conv1", x, 2 * shape[1], STRIDED))
    branch = layer(net, f"{name}_conv2", inner, 2 * shape[1], size=0.5)
    every = Slice((0, 0, 0, 0), (1, shape[1], shape[2] // 2, shape[3] // 2), (1, 1, 2, 2))
    skip = net.op(f"{name}_pad", Pad((0, 0, 0, 0, 0, shape[1], 0, 0)), net.op(f"{name}_slice", every, x))
    return net.op(f"{name}_out", Relu(), net.op(f"{name}_add", Add(), branch, skip))


def classified(net: Network, x: str, classes: int = 5) -> Graph:
    """The mean of each channel and a dense layer."""
    channels = net.types[x].shape[1]
    flat = net.op("flat", Reshape((1, channels)), net.op("pooled", ReduceMean((2, 3)), x))
    return net.graph(net.op("logits", MatMul(), flat, net.weight("head", channels, classes)))


def resnet(sizes: tuple[float, ...] = (0.5, 0.05, 0.4), deep: int = 2, seed: int = 0) -> Graph:
    """A stem, one basic block for each of `sizes`, a projection, `deep` more blocks."""
    net = Network(seed)
    x = net.op("stem_relu", Relu(), layer(net, "stem", net.input("x", (1, 3, 8, 8)), 4))
    for i, size in enumerate(sizes):
        x = basic(net, f"a{i}", x, size)
    x = projection(net, "p", x)
    for i in range(deep):
        x = basic(net, f"b{i}", x)
    return classified(net, x)
