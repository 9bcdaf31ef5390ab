"""Sums, and products with constants, at integer level: scales and shifts move along, exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import numpy as np

from irc.graph import Graph, Node
from irc.ops.elementwise import Mul, Sub
from irc.ops.linear import Conv, MatMul
from irc.ops.quantization import Dequantize
from irc.types import Array, Float, IntArray, TensorType, smallest_integer
from passes.lower.integer_shapes import ShapeLowering
from passes.lower.quantity import Quantity, Scale, common_step, exact, lifted

_CLOSE = Fraction(1, 1 << 22)  # two roundings of a product to float32
_WIDEST = 1 << 60


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution or matrix product that has been lowered: its op, operand, weight, and the axis of its channels."""

    op: Conv | MatMul
    x: Quantity
    weight: str
    axis: int


class AffineLowering(ShapeLowering):
    """Lowers `add` and `mul`. Constants cost nothing until something needs the value."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.products: dict[str, Product] = {}

    def sum(self, node: Node) -> Quantity:
        """A bias joins the pending offset or shift; two activations add their integers."""
        fixed = [o for o in node.operands if o in self.static]
        negative = isinstance(node.op, Sub)
        if negative and fixed != [node.operands[1]]:
            raise self.refused(node, "sub has an integer form only where a constant is taken away",
                               "write it as an add")
        if not fixed:
            return self._joined(node)
        return self.biased(node, self._variable(node), fixed[0], None, -1 if negative else 1)

    def _variable(self, node: Node) -> Quantity:
        """The operand that is no constant, without bounds."""
        other = next(o for o in node.operands if o not in self.static)
        if other not in self.known:
            raise self.refused(node, f"operand '{other}' of {node.op.name} is not quantized")
        x = self.known[other]
        x = self.settled(other, node) if x.bounded else x
        if cast(TensorType, node.type).shape != x.type.shape:
            raise self.refused(node, f"{node.op.name} of a constant makes the tensor larger",
                               "expand the operand before")
        return x

    def biased(self, node: Node, x: Quantity, name: str, shape: tuple[int, ...] | None, sign: int = 1) -> Quantity:
        """x + sign * the constant `name`: integers where it is stored in steps of x (or half steps), else rationals."""
        maker = self.graph.producers.get(name)
        if maker is not None and isinstance(maker.op, Dequantize):
            _, data, scale = self.source(node, name)
            if _same_scales(x.scale, tuple(2 * s for s in scale)):
                x = self._doubled(node, x)
            if _same_scales(x.scale, scale):
                bias = sign * (lifted(data, len(x.type.shape)) if shape is None else data.reshape(shape))
                return replace(x, offset=bias if x.offset is None else x.offset + bias)
        reals = self._reals(node, name)
        reals = sign * (lifted(reals, len(x.type.shape)) if shape is None else reals.reshape(shape))
        return replace(x, shift=reals if x.shift is None else x.shift + reals).whole()

    def _reals(self, node: Node, name: str) -> Array:
        """A constant as exact rationals."""
        constant = self.graph.constants.get(name)
        if constant is not None and isinstance(constant.type.format, Float):
            return exact(constant.data)
        _, data, scale = self.source(node, name)
        maker = self.graph.producers[name]
        assert isinstance(maker.op, Dequantize)
        shape = [1] * data.ndim
        if len(scale) > 1:
            shape[maker.op.axis] = len(scale)
        return np.asarray(data.astype(object) * np.array(scale, object).reshape(shape))

    def _doubled(self, node: Node, x: Quantity) -> Quantity:
        """The same value in half units, in which quantize states biases that keep ties away."""
        two = self.constant(f"{node.name}_two", np.full((1,) * len(x.type.shape), 2))
        twice = self.emit(node, Mul(), x, two, stem=f"{node.name}_twice")
        offset = None if x.offset is None else 2 * x.offset
        return replace(x, name=twice.name, type=twice.type, scale=tuple(s / 2 for s in x.scale), zero=2 * x.zero,
                       offset=offset)

    def _joined(self, node: Node) -> Quantity:
        """Two activations: both in steps of which either scale is a multiple."""
        a, b = self.operand(node, 0), self.operand(node, 1)
        if len(a.scale) > 1 and len(b.scale) > 1 and a.axis != b.axis:
            raise self.refused(node, "the scales of the operands of add run along different axes")
        count, axis = max(len(a.scale), len(b.scale)), a.axis if len(a.scale) > 1 else b.axis
        if a.type.shape != b.type.shape and count > 1:
            raise self.refused(node, "an add that broadcasts has operands with one scale a channel",
                               "quantize with one scale for the whole tensor")
        pairs = list(zip(_spread(a.scale, count), _spread(b.scale, count), strict=True))
        steps = tuple(common_step(*pair) for pair in pairs)
        left = self._multiple(node, a, [p / s for (p, _), s in zip(pairs, steps, strict=True)], axis)
        right = self._multiple(node, b, [q / s for (_, q), s in zip(pairs, steps, strict=True)], axis)
        made = self.emit(node, node.op, left, right)
        zero = [q.offset for q in (left, right) if q.offset is not None]
        total = sum(zero[1:], start=zero[0]) if zero else None
        flat = total is None or total.size == 1
        return replace(made, scale=steps, axis=axis, zero=-int(total.flat[0]) if flat and total is not None else 0,
                       offset=None if flat else total)

    def _multiple(self, node: Node, x: Quantity, factors: list[Fraction], axis: int) -> Quantity:
        """x times whole numbers along `axis`, with its zero point as offset."""
        shape = [1] * len(x.type.shape)
        if len(factors) > 1:
            shape[axis] = len(factors)
        whole = np.array([int(f) for f in factors], object).reshape(shape)
        if max(whole.flat) * max(-x.format.minimum, x.format.maximum, abs(x.zero)) > _WIDEST:
            raise self.refused(node, "the scales of the operands of add have no common step within 60 bits",
                               "use scales of fewer significant bits; those of quantize{...} have 16")
        data = whole.astype(np.int64)
        made = x if (data == 1).all() else self.emit(node, Mul(), x, self.constant(f"{node.name}_{x.name}_steps", data),
                                                     stem=f"{node.name}_{x.name}")
        return replace(made, offset=-data * x.zero if x.zero else None)

    def multiplied(self, node: Node) -> Quantity:
        """A constant factor joins the scale. Where it is negative, the weights of the layer before it change sign."""
        fixed = [o for o in node.operands if o in self.static]
        if len(fixed) != 1:
            raise self.refused(node, "mul of two activations has no integer form", "keep it off the chip")
        x = self._variable(node)
        factors = lifted(self._reals(node, fixed[0]), len(x.type.shape))
        axes = [i for i, n in enumerate(factors.shape) if n > 1]
        if len(axes) > 1 or (axes and len(x.scale) > 1 and x.axis != axes[0]):
            raise self.refused(node, "a factor differs between positions, or along another axis than the scale",
                               "fold it into the weights")
        axis, count = axes[0] if axes else x.axis, max(len(x.scale), factors.size)
        scale = tuple(s * f for s, f in zip(_spread(x.scale, count), _spread(tuple(factors.flat), count), strict=True))
        shift = None if x.shift is None else np.asarray(x.shift * factors)
        found = replace(x, scale=scale, axis=axis, shift=shift)
        return (self._upright(node, found) if min(scale) < 0 else found).whole()

    def _upright(self, node: Node, x: Quantity) -> Quantity:
        """The same with positive scales: channels of negative scale come from weights of the opposite sign."""
        product = self.products.get(x.name)
        if product is None or (len(x.scale) > 1 and x.axis != product.axis):
            raise self.refused(node, "a negative factor does not stand behind a layer", "fold it into the weights")
        signs = np.array([-1 if s < 0 else 1 for s in x.scale], np.int64)
        weight, data, _ = self.source(node, product.weight)
        shape = (-1, *(1,) * (data.ndim - 1)) if isinstance(product.op, Conv) else (-1,)
        turned = self._constant_like(f"{weight.name}_turned", data * signs.reshape(shape), weight)
        made = self.emit(node, product.op, product.x, turned, stem=f"{x.name}_turned")
        along = tuple(-1 if i == product.axis else 1 for i in range(len(x.type.shape)))
        offset = None if x.offset is None else x.offset * signs.reshape(along)
        self.products[made.name] = product
        return replace(x, name=made.name, type=made.type, scale=tuple(map(abs, x.scale)), axis=product.axis,
                       offset=offset)

    def _constant_like(self, stem: str, data: IntArray, like: Quantity) -> Quantity:
        """A constant in the format of another one, or in a wider one if it must."""
        form = like.type.format
        fits = not isinstance(form, Float) and form.holds(data)
        kind = TensorType(form if fits else smallest_integer(int(data.min()), int(data.max())), data.shape)
        return Quantity(self.edit.constant(stem, kind, data), kind)


def _spread(scale: Scale, count: int) -> Scale:
    return scale * (count // len(scale))


def _same_scales(a: Scale, b: Scale) -> bool:
    """Whether scales are equal up to float32 rounding; one may be given for the tensor, the other by channel."""
    count = max(len(a), len(b))
    return all(abs(p - q) <= abs(p) * _CLOSE for p, q in zip(_spread(a, count), _spread(b, count), strict=True))


