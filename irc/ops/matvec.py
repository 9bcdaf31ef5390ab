"""Folded matrix-vector product: PE rows by SIMD columns a cycle, weights in ROM or wired into the fabric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from irc import expression as ex
from irc.actor import Actor, Firings
from irc.graph import Constant
from irc.operation import DATAFLOW, operation
from irc.ops.linear import exact_product, product_format
from irc.rom import is_banked
from irc.types import Array, Float, Integer, PowerOfTwo, StreamType, TensorType

NARROW = 40  # bits of one operand times bits of the other up to which a product is built from adders


def layer_product(a: ex.Expression, weight: ex.Expression, form: Integer | PowerOfTwo) -> ex.Expression:
    """`product`, with adders in place of a hard multiplier where both operands are narrow."""
    if isinstance(form, PowerOfTwo) or ex.is_constant(weight) or a.bits * weight.bits > NARROW:
        return product(a, weight, form)
    return ex.multiply_bitwise(a, weight) if weight.bits <= a.bits else ex.multiply_bitwise(weight, a)


def product(a: ex.Expression, weight: ex.Expression, form: Integer | PowerOfTwo) -> ex.Expression:
    """a * weight: shifts for a power-of-two format, a multiplier or (constant weight) shift-and-add otherwise."""
    if isinstance(form, PowerOfTwo) and not ex.is_constant(weight):
        return ex.power_product(a, weight, form)
    return ex.multiply(a, weight)


def weight_variable(name: str, form: Integer | PowerOfTwo) -> ex.Expression:
    """A weight as it leaves the ROM: the integer itself, or the code of a power-of-two format."""
    if isinstance(form, PowerOfTwo):
        return ex.variable(name, 0, (1 << form.bits) - 1)
    return ex.variable(name, form.minimum, form.maximum)


@operation("matvec", "x weight", levels=DATAFLOW)
class MatVec(Actor):
    """weight [O, K] times every position of x (K elements): O sums a position, `pe` of them a token.

    SIMD is x.lanes. A position takes O/pe * K/SIMD firings; x sends it O/pe times over (`repeat`). With `wired` the
    layer is fully unrolled (pe = O, SIMD = K) and the weights are constants of a shared shift-and-add network.
    """

    pe: int = 1
    wired: bool = False

    def infer(self, x: StreamType, weight: TensorType) -> StreamType:
        rows, columns = weight.shape
        if isinstance(weight.format, Float):
            raise TypeError("weights must be integers")
        if x.elements != columns or columns % x.lanes or rows % self.pe or x.repeat != rows // self.pe:
            raise TypeError(f"{x} does not fit {weight} at pe={self.pe}")
        if self.wired and (self.pe, x.lanes) != (rows, columns):
            raise TypeError("only a fully unrolled layer can be wired")
        form = cast(Integer, product_format(x.format, weight.format, columns))
        return StreamType(form, x.positions, rows, self.pe)

    def evaluate(self, x: Array, weight: Array) -> Array:
        return exact_product(x, weight[0].T, x.shape[-1])

    def dots(self, x: StreamType, weight: Constant) -> list[ex.Expression]:
        """The `pe` partial dot products of one firing, over variables x0.. and w<row>_<column>."""
        inputs = [ex.variable(f"x{i}", x.format.minimum, x.format.maximum) for i in range(x.lanes)]
        form = cast(Integer | PowerOfTwo, weight.type.format)
        if not self.wired:
            return [ex.tree([layer_product(a, weight_variable(f"w{p}_{i}", form), form) for i, a in enumerate(inputs)])
                    for p in range(self.pe)]
        shared: dict[tuple[int, int], ex.Expression] = {}
        return [_wired_dot(inputs, row, shared) for row in weight.data.tolist()]

    def rom_shape(self, x: StreamType, weight: Constant) -> tuple[int, int]:
        """Words and bits of the weight ROM."""
        width = self.pe * x.lanes
        return weight.data.size // width, width * cast(Integer | PowerOfTwo, weight.type.format).bits

    def read_latency(self, x: StreamType, weight: Constant) -> int:
        """Cycles until token and weights stand in registers: FIFO and ROM read, register, multiplexer of a deep ROM."""
        return 2 + (not self.wired and is_banked(*self.rom_shape(x, weight)))

    def firings(self, inputs: Sequence[StreamType], outputs: Sequence[StreamType],
                roms: Sequence[Constant]) -> Firings:
        x, weight = inputs[0], roms[0]
        folds = weight.type.shape[1] // x.lanes
        ramp = np.arange(1, x.tokens + 1, dtype=np.int64)
        latency = self.read_latency(x, weight) + ex.depth(self.dots(x, weight)) + (folds > 1)
        return Firings(x.tokens, (ramp,), (ramp,), (ramp // folds,), latency)


def _wired_dot(inputs: Sequence[ex.Expression], row: Sequence[int],
               shared: dict[tuple[int, int], ex.Expression]) -> ex.Expression:
    """One row of constants times the inputs. Equal magnitudes on one input share their product between rows."""
    plus: list[ex.Expression] = []
    minus: list[ex.Expression] = []
    for i, (a, w) in enumerate(zip(inputs, row, strict=True)):
        if w:
            odd = abs(w) >> ((abs(w) & -abs(w)).bit_length() - 1)
            term = shared.setdefault((i, odd), ex.multiply_constant(a, odd))
            (plus if w > 0 else minus).append(ex.shift_left(term, (abs(w) // odd).bit_length() - 1))
    return ex.subtract(ex.tree(plus), ex.tree(minus))
