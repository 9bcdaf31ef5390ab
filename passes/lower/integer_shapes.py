"""Ops that move, compare or sum numbers, at integer level."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import cast

import numpy as np

from irc.graph import Node
from irc.ops.linear import Conv
from irc.ops.pooling import AvgPool, MaxPool, ReduceMax, ReduceMean, ReduceSum
from irc.ops.shape import Concat, Pad, Slice, Transpose
from irc.types import TensorType
from passes.lower.integer_builder import IntegerBuilder
from passes.lower.quantity import ONE, Quantity, Scale


class ShapeLowering(IntegerBuilder):
    """Lowers what needs no weights. A mean is a sum with a smaller scale, so it is exact too."""

    def carried(self, node: Node) -> Quantity:
        """Ops that mean the same on integers and keep the encoding."""
        x = self.operand(node, 0)
        done = self.emit(node, node.op, x)
        return replace(done, scale=x.scale, zero=x.zero, axis=self.moved_axis(node, x))

    def moved_axis(self, node: Node, x: Quantity) -> int:
        """Where the channels of a per-channel scale lie after a carried op."""
        if len(x.scale) == 1:
            return 1
        shape, op = x.type.shape, node.op
        if isinstance(op, Transpose):
            return op.perm.index(x.axis)
        if isinstance(op, ReduceMax) and x.axis not in op.axes:
            return x.axis - (0 if op.keepdims else sum(a < x.axis for a in op.axes))
        before = int(np.prod(shape[: x.axis]))
        if isinstance(op, MaxPool | Slice) and cast(TensorType, node.type).shape[x.axis] == shape[x.axis]:
            return x.axis
        places = [i for i, n in enumerate(cast(TensorType, node.type).shape) if n == shape[x.axis]]
        kept = [i for i in places if int(np.prod(cast(TensorType, node.type).shape[:i])) == before]
        if isinstance(op, ReduceMax | Slice) or not kept:
            raise self.refused(node, f"{op.name} mixes channels of different scale", "add a quantize before it")
        return kept[0]

    def joined(self, node: Node) -> Quantity:
        parts = [self.operand(node, i, channels=cast(Concat, node.op).axis) for i in range(len(node.operands))]
        if len({(p.scale, p.axis, p.zero) if len(p.scale) > 1 else (p.scale, p.zero) for p in parts}) > 1:
            raise self.refused(node, "the operands of concat have different scales or zero points",
                                "quantize them with one scale: quantize{...}")
        if len({p.type.format for p in parts}) > 1:
            raise self.refused(node, "the operands of concat have different formats", "quantize them to one format")
        return replace(self.emit(node, node.op, *parts), scale=parts[0].scale, axis=parts[0].axis, zero=parts[0].zero)

    def gathered(self, node: Node) -> Quantity:
        table, indices = node.operands
        scale: Scale = ONE
        zero = 0
        if table in self.static:
            data, _, scale = self.source(node, table)
        else:
            data = self.operand(node, 0, channels=-1)
            scale, zero = data.scale, data.zero
        if len(scale) > 1:
            raise self.refused(node, "the table has one scale a row or column", "quantize it with a single scale")
        constant = self.graph.constants.get(indices)
        index = self.shared(indices, constant.type, constant.data) if constant else self.operand(node, 1)
        return replace(self.emit(node, node.op, data, index), scale=scale, zero=zero)

    def summed(self, node: Node, op: ReduceSum | ReduceMean) -> Quantity:
        """n numbers with zero point z sum up to zero point n * z; their mean has a scale n times smaller."""
        x = self.operand(node, 0, channels=-1)
        terms = math.prod(x.type.shape[a] for a in op.axes)
        scale = tuple(s / terms for s in x.scale) if isinstance(op, ReduceMean) else x.scale
        done = self.emit(node, ReduceSum(op.axes, op.keepdims), x)
        return replace(done, scale=scale, zero=x.zero * terms)

    def averaged(self, node: Node, op: AvgPool) -> Quantity:
        """A mean over windows of one size is a convolution of each channel with ones."""
        x = self.operand(node, 0, channels=-1)
        if any(op.pads) and not op.count_include_pad:
            raise self.refused(node, "windows at the border average fewer numbers than others",
                               "use an average pooling without padding, or one that counts it")
        channels, terms = x.type.shape[1], math.prod(op.kernel)
        ones = self.constant(f"{node.name}_ones", np.ones((channels, 1, *op.kernel), np.int64))
        done = self.emit(node, Conv(op.strides, op.pads, op.dilations, channels, x.zero), x, ones)
        return replace(done, scale=tuple(s / terms for s in x.scale), zero=x.zero * terms)

    def padded(self, node: Node, op: Pad) -> Quantity:
        """Padding with a whole number of steps."""
        x = self.operand(node, 0, channels=-1)
        steps = Fraction(op.value) / x.scale[0] + x.zero
        if steps.denominator != 1 or not x.format.minimum <= steps <= x.format.maximum:
            raise self.refused(node, f"padding with {op.value:g} is not a whole number of steps", "pad with 0")
        done = self.emit(node, replace(op, value=int(steps)), x)
        return replace(done, scale=x.scale, zero=x.zero)
