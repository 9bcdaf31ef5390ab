"""Quantizers at integer level: a requantization by the exact ratio of scales, or thresholds for everything else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import cast

import numpy as np

from irc.graph import Node
from irc.ops.elementwise import Clip
from irc.ops.quantization import Dequantize, Requantize, Threshold
from irc.ops.quantization import Quantize as QuantizeOp
from irc.rounding import HALF_EVEN, edge
from irc.types import Integer, smallest_integer
from passes.lower.integer_affine import AffineLowering
from passes.lower.quantity import ONE, Quantity, Scale, fractions
from passes.lower.staircase import MOST_STEPS, Affine, Steps

_S64 = Integer(True, 64)
_SIGN = Steps(-1, 1, ((Fraction(0), True),) * 2)  # from -1 to 1 at once
_FEW_BITS = 4  # up to here thresholds are what hardware wants anyway


class QuantizeLowering(AffineLowering):
    """Lowers `quantize`, `bipolar` and `dequantize`."""

    def dequantized(self, node: Node, op: Dequantize) -> Quantity:
        x = self.known.get(node.operands[0])
        scale = self.graph.constants.get(node.operands[1])
        if x is None or scale is None:
            raise self.refused(node, "the scale of a dequantize must be a constant", "add fold before integer")
        return replace(x, scale=fractions(scale.data), axis=op.axis, zero=self._zero(node))

    def _zero(self, node: Node) -> int:
        """The zero point of a quantize or dequantize: one for the whole tensor."""
        zero = self.graph.constants.get(node.operands[2]) if len(node.operands) > 2 else None
        if zero is None:
            return 0
        if (zero.data != zero.data.flat[0]).any():
            raise self.refused(node, "the zero point differs from channel to channel", "use one for the whole tensor")
        return int(zero.data.flat[0])

    def quantized(self, node: Node, op: QuantizeOp) -> Quantity:
        """Requantize by the exact ratio of the scales; pending offset, shift and bounds are absorbed."""
        x, scale = self.known.get(node.operands[0]), self.graph.constants.get(node.operands[1])
        if x is None or scale is None:
            raise self.refused(node, f"operand '{node.operands[0]}' of quantize does not come from quantized layers")
        zero, step = self._zero(node), fractions(scale.data)
        ratio, axis = self._ratio(node, x, step, op.axis)
        if x.bounded and len(step) > 1 and (x.high is not None or x.low != 0):
            raise self.refused(node, "a clip stands before a quantize with one scale a channel",
                               "quantize with one scale for the whole tensor")
        plain = x.shift is None and not x.bounded
        if ratio == ONE and plain and not np.any(x.zero - zero if x.offset is None else x.offset - x.zero + zero):
            return self._taken_over(node, x, op.limits)
        exact = max(max(r.numerator, r.denominator) for r in ratio) <= _S64.maximum and min(ratio) > 0
        if op.rounding == HALF_EVEN and x.shift is None and exact and not (op.narrow and op.to.bits <= _FEW_BITS):
            return self._requantized(node, x, op, ratio, axis)
        if not exact and op.to.bits > _FEW_BITS and x.shift is None:
            raise self.refused(node, "the ratio of the scales does not fit a fraction of 63-bit integers",
                               "use scales of fewer significant bits; those of quantize{...} have 16")
        return self._staircase(node, x, op, ratio, axis)

    def _taken_over(self, node: Node, x: Quantity, limits: tuple[int, int]) -> Quantity:
        """The integers are those of the quantizer already; its limits may be narrower."""
        plain = Quantity(x.name, x.type)
        if limits[0] <= x.format.minimum and x.format.maximum <= limits[1]:
            return plain
        return self.emit(node, Clip(*limits), plain)

    def _ratio(self, node: Node, x: Quantity, step: Scale, axis: int) -> tuple[Scale, int]:
        """Scale before over scale after, and the axis along which it varies."""
        if len(x.scale) > 1 and len(step) > 1 and x.axis != axis:
            raise self.refused(node, "scales before and after a quantize run along different axes")
        count = max(len(x.scale), len(step))
        pairs = zip(itertools.islice(itertools.cycle(x.scale), count), itertools.cycle(step), strict=False)
        ratio = tuple(a / b for a, b in pairs)
        return ratio, x.axis if len(x.scale) > 1 else axis

    def _requantized(self, node: Node, x: Quantity, op: QuantizeOp, ratio: Scale, axis: int) -> Quantity:
        zero, step = self._zero(node), fractions(self.graph.constants[node.operands[1]].data)
        shift = np.zeros((1,) * len(x.type.shape), np.int64) if x.offset is None else x.offset
        whole = self.added(replace(x, offset=shift - x.zero), node, node.operands[0])
        done = self._requantize(node, whole, ratio, Requantize(cast(Integer, op.to), zero, axis))
        low, high = (None if b is None else Fraction(round(b / step[0]) + zero) for b in (x.low, x.high))
        if op.narrow:
            low = max(low, Fraction(op.limits[0])) if low is not None else Fraction(op.limits[0])
            high = min(high, Fraction(op.limits[1])) if high is not None else Fraction(op.limits[1])
        return self.limited(replace(done, low=low, high=high), node, node.name)

    def _requantize(self, node: Node, x: Quantity, ratio: Scale, op: Requantize) -> Quantity:
        top, bottom = [r.numerator for r in ratio], [r.denominator for r in ratio]
        shape = (len(ratio),) if len(ratio) > 1 else ()
        numerator = self.constant(f"{node.name}_numerator", np.array(top, np.int64).reshape(shape), _S64)
        denominator = self.constant(f"{node.name}_denominator", np.array(bottom, np.int64).reshape(shape), _S64)
        return self.emit(node, op, x, numerator, denominator)

    def _staircase(self, node: Node, x: Quantity, op: QuantizeOp, ratio: Scale, axis: int) -> Quantity:
        """Thresholds for any rounding and any affine map per channel."""
        zero, step = self._zero(node), fractions(self.graph.constants[node.operands[1]].data)
        low, high = op.limits
        if x.low is not None:
            low = max(low, _rounded(op.rounding, x.low / step[0]) + zero)
        if x.high is not None:
            high = max(low, min(high, _rounded(op.rounding, x.high / step[0]) + zero))
        if high - low > MOST_STEPS:
            raise self.refused(node, f"a quantizer to {op.to} behind real constants needs {high - low} thresholds",
                               "quantize the biases to the product of the scales, or to fewer bits")
        steps = Steps(low, high, tuple(edge(op.rounding, j - zero) for j in range(low + 1, high + 1)))
        return self._thresholds(node, x, [steps], cast(Integer, op.to), (step, axis))

    def bipolar(self, node: Node) -> Quantity:
        """The sign of an affine function of an integer: one threshold, met twice."""
        if node.operands[0] not in self.known:
            raise self.refused(node, f"operand '{node.operands[0]}' of bipolar does not come from quantized layers")
        x = self.known[node.operands[0]]
        x = self.settled(node.operands[0], node) if x.bounded else x
        return self._thresholds(node, x, [_SIGN], Integer(True, 2), (ONE, x.axis))

    def stepped(self, node: Node, op: Threshold) -> Quantity:
        """Thresholds on reals become thresholds on the integers that stand for them."""
        table = self.graph.constants.get(node.operands[1])
        if node.operands[0] not in self.known or table is None:
            raise self.refused(node, f"operand '{node.operands[0]}' of threshold does not come from quantized layers")
        x = self.known[node.operands[0]]
        x = self.settled(node.operands[0], node) if x.bounded else x
        steps = [Steps(op.low, op.low + len(row), tuple((Fraction(t), True) for t in row))
                 for row in table.data.astype(np.float64).tolist()]
        return self._thresholds(node, x, steps, op.to, (ONE, op.axis))

    def _thresholds(self, node: Node, x: Quantity, steps: Sequence[Steps], to: Integer,
                    unit: tuple[Scale, int]) -> Quantity:
        """The threshold node of a step function of x, or of one for each channel, in units given per tensor or along
        an axis."""
        lines, axis = self._lines(node, x, *unit)
        if len(steps) > 1 and len(lines) > 1 and axis != unit[1]:
            raise self.refused(node, "scales and thresholds run along different axes")
        if len(steps) == 1:
            rows = steps[0].thresholds(lines, x.format)
        else:
            pairs = zip(steps, itertools.cycle(lines), strict=False)
            rows = np.concatenate([channel.thresholds([line], x.format) for channel, line in pairs])
        rows = rows if (rows != rows[:1]).any() else rows[:1]
        form = smallest_integer(int(rows.min()), int(rows.max()))
        table = self.constant(f"{node.name}_thresholds", rows, form)
        return self.emit(node, Threshold(to, steps[0].low, axis), Quantity(x.name, x.type), table)

    def _lines(self, node: Node, x: Quantity, unit: Scale, axis: int) -> tuple[list[Affine], int]:
        """Every channel of x as an affine function of its integer, in units of the quantizer; and their axis."""
        shape = [1] * len(x.type.shape)
        if len(unit) > 1:
            shape[axis] = len(unit)
        scales, units = x.scales(), np.array(unit, object).reshape(shape)
        shift = np.full(shape, Fraction(0)) if x.shift is None else x.shift
        if x.offset is not None or x.zero:
            shift = shift + ((0 if x.offset is None else x.offset.astype(object)) - x.zero) * scales
        slopes, shifts = np.broadcast_arrays(scales / units, shift / units)
        axes = [i for i, n in enumerate(slopes.shape) if n > 1]
        if len(axes) > 1:
            raise self.refused(node, "a constant before a quantize differs between positions",
                               "quantize it to the product of the scales")
        pairs = zip(slopes.flat, shifts.flat, strict=True)
        return [Affine(slope, shift) for slope, shift in pairs], axes[0] if axes else axis


def _rounded(mode: str, real: Fraction) -> int:
    """Exactly: the largest j that `real` reaches."""
    guess = round(real)
    reached = [j for j in (guess - 1, guess, guess + 1) if real > edge(mode, j)[0] or edge(mode, j) == (real, True)]
    return max(reached)
