"""Between reals and integers (model level), and between integers of different scale (integer level).

`quantize` and `dequantize` mean what QuantizeLinear and DequantizeLinear of ONNX mean, for any width. The rounding
modes and the narrow range are those of QONNX (Pappalardo et al. 2022).
"""

from __future__ import annotations

from typing import cast

import numpy as np

from irc.operation import ARITHMETIC, INTEGER, MODEL, Op, operation, same_format
from irc.rounding import HALF_EVEN, ROUNDING
from irc.types import Array, Float, Format, IntArray, Integer, PowerOfTwo, TensorType


def along(parameter: Array, axis: int, rank: int) -> Array:
    """A per-tensor ([1] or [1, 1]) or per-channel ([1, n]) parameter, shaped to broadcast over `rank` axes."""
    if parameter.size == len(parameter):
        return parameter.reshape(-1, *(1,) * rank)
    return parameter.reshape(len(parameter), *(-1 if i == axis else 1 for i in range(rank)))


def check_parameter(parameter: TensorType, x: TensorType, axis: int) -> None:
    """Raise TypeError unless the parameter is a scalar or has one entry for each index of `axis`."""
    if parameter.size != 1 and (not 0 <= axis < len(x.shape) or parameter.shape != (x.shape[axis],)):
        raise TypeError(f"a parameter of shape {list(parameter.shape)} fits neither {x} nor its axis {axis}")


@operation("quantize", "x scale zero?", levels=MODEL)
class Quantize(Op):
    """clip(round(x / scale) + zero) to the integer format `to`; scale and zero per tensor or along `axis`.

    `rounding` says where fractions go: half_even (to the nearest, ties to even), half_odd, half_away_from_zero,
    half_toward_zero, floor, ceil, toward_zero or away_from_zero. `narrow` leaves out one value of the format: the
    smallest of a signed one, the largest of an unsigned one.
    """

    to: Format
    axis: int = 1
    rounding: str = HALF_EVEN
    narrow: bool = False

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest result."""
        to = cast(Integer, self.to)
        return to.minimum + (self.narrow and to.signed), to.maximum - (self.narrow and not to.signed)

    def infer(self, x: TensorType, scale: TensorType, zero: TensorType | None = None) -> TensorType:
        if not isinstance(x.format, Float) or not isinstance(scale.format, Float):
            raise TypeError(f"quantize takes a real x and scale, not {x} and {scale}")
        if not isinstance(self.to, Integer):
            raise TypeError(f"quantize makes an integer format, not {self.to}")
        if self.rounding not in ROUNDING:
            raise TypeError(f"there is no rounding '{self.rounding}'; there are {', '.join(ROUNDING)}")
        check_parameter(scale, x, self.axis)
        if zero is not None:
            check_parameter(zero, x, self.axis)
        return TensorType(self.to, x.shape)

    def evaluate(self, x: Array, scale: Array, zero: Array | None = None) -> Array:
        rank = x.ndim - 1
        steps = ROUNDING[self.rounding](x / along(scale, self.axis, rank))
        if zero is not None:
            steps = steps + along(zero, self.axis, rank)
        return np.asarray(np.clip(steps, *self.limits), np.int64)


@operation("bipolar", "x", levels=MODEL)
class Bipolar(Op):
    """1 where x >= 0, else -1: the integers of a binary network, in `s2`; `dequantize` gives them their scale.

    One bit would need the zero point 1/2. Hardware stores no weight in more bits than its constants need, and a
    product with 1 or -1 is an addition or a subtraction.
    """

    def infer(self, x: TensorType) -> TensorType:
        if not isinstance(x.format, Float):
            raise TypeError(f"bipolar takes reals, not {x}")
        return TensorType(Integer(True, 2), x.shape)

    def evaluate(self, x: Array) -> Array:
        return np.where(x >= 0, np.int64(1), np.int64(-1))


@operation("dequantize", "q scale zero?", levels=MODEL)
class Dequantize(Op):
    """scale * (q - zero); scale and zero per tensor or along `axis`. Of a constant: a quantized weight."""

    axis: int = 1

    def infer(self, q: TensorType, scale: TensorType, zero: TensorType | None = None) -> TensorType:
        if isinstance(q.format, Float) or not isinstance(scale.format, Float):
            raise TypeError(f"dequantize takes an integer q and a real scale, not {q} and {scale}")
        check_parameter(scale, q, self.axis)
        if zero is not None:
            check_parameter(zero, q, self.axis)
        return TensorType(Float(32), q.shape)

    def evaluate(self, q: Array, scale: Array, zero: Array | None = None) -> Array:
        rank = q.ndim - 1
        centred = q if zero is None else q - along(zero, self.axis, rank)
        return np.asarray(centred * along(scale, self.axis, rank))


@operation("requantize", "x numerator denominator", levels=INTEGER)
class Requantize(Op):
    """clip(round_half_even(x * numerator / denominator) + zero) to `to`, in exact rational arithmetic.

    Numerator and denominator are s64 constants, positive, per tensor or along `axis`. Hardware never sees this op: the
    `requantize` pass replaces it by `multiply_shift` or `threshold`, proven equal.
    """

    to: Integer
    zero: int = 0
    axis: int = 1

    def infer(self, x: TensorType, numerator: TensorType, denominator: TensorType) -> TensorType:
        check_parameter(numerator, x, self.axis)
        check_parameter(denominator, x, self.axis)
        return TensorType(self.to, x.shape)

    def evaluate(self, x: Array, numerator: Array, denominator: Array) -> Array:
        rank = x.ndim - 1
        top, bottom = along(numerator, self.axis, rank), along(denominator, self.axis, rank)
        exact = x * (top / bottom)
        steps = np.rint(exact)
        # float64 decides all but values next to a tie; those are settled with Python integers
        doubtful = np.abs(np.abs(exact - np.floor(exact)) - 0.5) < 1e-6
        if doubtful.any():
            t, b = (np.broadcast_to(a, x.shape)[doubtful].astype(object) for a in (top, bottom))
            steps[doubtful] = round_half_even(x[doubtful].astype(object) * t, b).astype(np.float64)
        return np.asarray(np.clip(steps + self.zero, self.to.minimum, self.to.maximum), np.int64)


def round_half_even(top: Array, bottom: Array) -> Array:
    """Nearest integer to top / bottom (bottom > 0), ties to even; exact for object arrays of Python integers."""
    down, rest = top // bottom, top % bottom
    up = (2 * rest > bottom) | ((2 * rest == bottom) & (down % 2 == 1))
    return np.asarray(down + up)


@operation("multiply_shift", "x multiplier offset", levels=INTEGER)
class MultiplyShift(Op):
    """clip((x * multiplier + offset) >> shift) to `to`; multiplier and offset integer constants, per tensor or along
    `axis`. The shift rounds to minus infinity, so rounding and zero point live in `offset`."""

    to: Integer
    shift: int
    axis: int = 1

    def infer(self, x: TensorType, multiplier: TensorType, offset: TensorType) -> TensorType:
        check_parameter(multiplier, x, self.axis)
        check_parameter(offset, x, self.axis)
        if not 0 <= self.shift <= 62:
            raise TypeError(f"shift {self.shift} is not within 0 to 62")
        return TensorType(self.to, x.shape)

    def evaluate(self, x: Array, multiplier: Array, offset: Array) -> Array:
        rank = x.ndim - 1
        scaled: IntArray = x * along(multiplier, self.axis, rank) + along(offset, self.axis, rank)
        return np.asarray(np.clip(scaled >> self.shift, self.to.minimum, self.to.maximum))


@operation("threshold", "x thresholds", levels=ARITHMETIC)
class Threshold(Op):
    """low + number of thresholds <= x, an integer. `thresholds` [channels or 1, steps] ascend along the last axis;
    any monotone map to few levels has this form (Umuroglu et al. 2017, FINN)."""

    to: Integer
    low: int
    axis: int = 1

    def infer(self, x: TensorType, thresholds: TensorType) -> TensorType:
        same_format(x, thresholds)
        if len(thresholds.shape) != 2:
            raise TypeError(f"thresholds must be [channels, steps], not {list(thresholds.shape)}")
        check_parameter(TensorType(thresholds.format, thresholds.shape[:1]), x, self.axis)
        return TensorType(self.to, x.shape)

    def evaluate(self, x: Array, thresholds: Array) -> Array:
        table = thresholds[0]
        if len(table) == 1:
            return np.asarray(np.searchsorted(table[0], x, side="right") + self.low)
        moved = np.moveaxis(x, self.axis + 1, 0)
        out = np.stack([np.searchsorted(t, v, side="right") for t, v in zip(table, moved, strict=True)])
        return np.asarray(np.moveaxis(out, 0, self.axis + 1) + self.low)


__all__ = ["Bipolar", "Dequantize", "MultiplyShift", "PowerOfTwo", "Quantize", "Requantize", "Threshold"]
