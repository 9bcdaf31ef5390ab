"""Small random networks with each structure that channels can run through, for tests of channel pruning."""

from __future__ import annotations

from networks import Network, conv
from residual_networks import basic, layer, projection

from irc.graph import Graph
from irc.ops.activation import Sigmoid
from irc.ops.elementwise import Add, Clip, Mul, Relu, Sub
from irc.ops.linear import Conv, MatMul
from irc.ops.pooling import AvgPool, MaxPool, ReduceMean
from irc.ops.rectifier import LeakyRelu
from irc.ops.shape import Concat, Pad, Reshape, Slice, Transpose


def begun(channels: int = 6) -> tuple[Network, str]:
    """A first layer, rectified."""
    net = Network(3)
    return net, net.op("r0", Relu(), layer(net, "c0", net.input("x", (1, 2, 6, 6)), channels))


def ended(net: Network, h: str) -> Graph:
    """A classifier behind a mean over space."""
    channels = net.types[h].shape[1]
    mean = net.op("mean", ReduceMean((2, 3), False), h)
    return net.graph(net.op("y", Add(), net.op("fc", MatMul(), mean, net.weight("fc_w", channels, 3)),
                            net.weight("fc_b", 3)))


def chain() -> Graph:
    net, h = begun()
    return ended(net, net.op("r1", Relu(), layer(net, "c1", h, 5)))


def residual() -> Graph:
    net, h = begun()
    return ended(net, basic(net, "b1", basic(net, "b0", h)))


def shortcut() -> Graph:
    """A residual network that halves the size: a strided slice and new channels of zeros."""
    net, h = begun()
    return ended(net, basic(net, "b1", projection(net, "p", h)))


def difference() -> Graph:
    net, h = begun()
    return ended(net, net.op("d", Sub(), layer(net, "c1", h, 4), layer(net, "c2", h, 4)))


def gate() -> Graph:
    """Each channel scaled by a factor that another layer computes."""
    net, h = begun()
    mean = net.op("squeezed", ReduceMean((2, 3), True), h)
    factor = net.op("g", Sigmoid(), layer(net, "c1", mean, 6, kernel=1))
    return ended(net, layer(net, "c2", net.op("m", Mul(), h, factor), 4))


def concat() -> Graph:
    net, h = begun()
    parts = [net.op(f"r{i}", LeakyRelu(0.1), layer(net, f"c{i}", h, 2 + i)) for i in (1, 2)]
    return ended(net, layer(net, "c3", net.op("cat", Concat(1), *parts, h), 4))


def split() -> Graph:
    """The channels cut into two halves, which go different ways."""
    net, h = begun(8)
    first, second = (net.op(f"from_{at}", Slice((0, at, 0, 0), (1, 4, 6, 6), (1, 1, 1, 1)), h) for at in (0, 4))
    return ended(net, net.op("cat", Concat(1), layer(net, "c1", first, 5), second))


def every_second() -> Graph:
    """A slice with a step along the channels: they stay."""
    net, h = begun(8)
    thinned = net.op("s", Slice((0, 1, 0, 0), (1, 4, 6, 6), (1, 2, 1, 1)), layer(net, "c1", h, 8))
    return ended(net, thinned)


def padded() -> Graph:
    """New channels of a constant that is not zero, read by a layer without padding."""
    net, h = begun()
    wide = net.op("p", Pad((0, 1, 0, 0, 0, 2, 0, 0), 0.5), h)
    return ended(net, net.op("c1", conv(), wide, net.weight("c1_w", 4, 9, 3, 3)))


def flattened() -> Graph:
    net, h = begun()
    pooled = net.op("pool", MaxPool((2, 2), (2, 2), (0,) * 4, (1, 1)), h)
    hidden = net.op("m1", MatMul(), net.op("flat", Reshape((1, 54)), pooled), net.weight("w1", 54, 7))
    return net.graph(net.op("y", MatMul(), net.op("r1", Relu(), hidden), net.weight("w2", 7, 3)))


def flattened_channels_last() -> Graph:
    net, h = begun()
    pooled = net.op("pool", AvgPool((2, 2), (2, 2), (0,) * 4, (1, 1)), h)
    flat = net.op("flat", Reshape((1, 54)), net.op("turned", Transpose((0, 2, 3, 1)), pooled))
    return net.graph(net.op("y", MatMul(), flat, net.weight("w1", 54, 3)))


def unflattened() -> Graph:
    """A dense layer whose results become an image."""
    net = Network(3)
    dense = net.op("m", MatMul(), net.input("x", (1, 5)), net.weight("w", 5, 24))
    return ended(net, layer(net, "c1", net.op("image", Reshape((1, 6, 2, 2)), dense), 4))


def depthwise(multiplier: int = 1) -> Graph:
    net, h = begun()
    wide = net.op("d", conv(pads=1, group=6), h, net.weight("d_w", 6 * multiplier, 1, 3, 3),
                  net.weight("d_b", 6 * multiplier))
    return ended(net, layer(net, "c1", net.op("r1", Clip(0.0, 6.0), wide), 5, kernel=1))


def depthwise_twice() -> Graph:
    return depthwise(2)


def grouped() -> Graph:
    net, h = begun(8)
    both = net.op("g", conv(pads=1, group=2), h, net.weight("g_w", 6, 4, 3, 3), net.weight("g_b", 6))
    return ended(net, layer(net, "c1", net.op("r1", Relu(), both), 5))


def normalized() -> Graph:
    """A batch norm that was not folded: factors and constants of each channel."""
    net, h = begun()
    scaled = net.op("n0", Mul(), layer(net, "c1", h, 5), net.weight("gain", 1, 5, 1, 1))
    moved = net.op("n1", Sub(), scaled, net.weight("offset", 5, 1, 1))
    return ended(net, layer(net, "c2", net.op("r1", Relu(), moved), 4))


def shared() -> Graph:
    """One filter bank used twice."""
    net, h = begun()
    weight = net.weight("both_w", 6, 6, 3, 3)
    first = net.op("r1", Relu(), net.op("c1", conv(pads=1), h, weight))
    return ended(net, net.op("c2", conv(pads=1), first, weight))


def heads() -> Graph:
    """Attention: the heads are channels, positions are not."""
    net = Network(3)
    x = net.input("x", (1, 5, 6))
    q, k, v = (net.op(f"{n}t", Transpose((0, 2, 1, 3)), net.op(f"{n}r", Reshape((1, 5, 4, 3)), net.op(
        n, MatMul(), x, net.weight(f"{n}_w", 6, 12)))) for n in "qkv")
    scores = net.op("scores", MatMul(), q, net.op("turned", Transpose((0, 1, 3, 2)), k))
    mixed = net.op("back", Transpose((0, 2, 1, 3)), net.op("mixed", MatMul(), net.op("p", Sigmoid(), scores), v))
    return net.graph(net.op("y", MatMul(), net.op("merged", Reshape((1, 5, 12)), mixed), net.weight("o", 12, 6)))


def strided() -> Graph:
    net, h = begun()
    return ended(net, net.op("c1", Conv((2, 2), (0,) * 4, (1, 1)), h, net.weight("c1_w", 5, 6, 2, 2)))


STRUCTURES = (chain, residual, shortcut, difference, gate, concat, split, padded, flattened, flattened_channels_last,
              unflattened, depthwise, depthwise_twice, grouped, normalized, shared, heads, strided)
