"""`shift`: weights as sums of a few signed powers of two, so that products become shifts and additions.

Alphabets, each times one scale an output channel:

- `apot`: sums of up to `terms` powers +-2^0 .. +-2^exponent, or zero (Li et al. 2020, "Additive Powers-of-Two
  Quantization: An Efficient Non-uniform Discretization for Neural Networks");
- `pot`: zero or one power (Elhoushi et al. 2021, "DeepShift"); with exponent=6 a weight has a code of 4 bits;
- `s3`: {0, +-1, +-2, +-4}, 3 bits (Li et al. 2021, "S3: Sign-Sparse-Shift Reparametrization");
- `dense`: {+-1, +-2, +-4, +-8}, 3 bits and no zero (Li et al. 2023, "DenseShift").

Zeros, as those that were pruned, stay zero, but not in `dense`, which has none.

Scales have few significant bits, powers of two by default, so that requantization needs few additions too. Before::

    h: f32[1, 6, 24, 24] = conv(x, w, ...)

and after `shift{terms=2}`, where `w_q: p2e6` holds +-2^a +-2^b::

    w_dq: f32[6, 1, 5, 5] = dequantize(w_q, w_scale, axis=0)
    h: f32[1, 6, 24, 24] = conv(x, w_dq, ...)

`shift{terms=2}, quantize{activations=u8}` makes a network without any multiplication: quantize leaves these weights
as they are and chooses power-of-two scales beside them. Weights that were quantized before are rewritten from their
dequantized values. With `rounding=gptq` the weights of a layer are rounded together for the least error of its output
on calibration data, as in `quantize`; with `rounding=inq` in four groups, the largest half of each row first, and the
others make good for each group (Zhou et al. 2017, "Incremental Network Quantization", with least squares in the place
of retraining).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from irc.diagnostics import error
from irc.graph import Graph
from irc.ops.quantization import Dequantize
from irc.pipeline.step import Context, Lossy, Pass, option
from irc.types import Array, Float, Level, PowerOfTwo, TensorType
from passes.layers import layers
from passes.rounding.alphabet import Alphabet, alphabet
from passes.rounding.coder import Coder, Rule
from passes.rounding.fit import Rounding
from passes.rounding.groups import fit_by_magnitude
from passes.rounding.scales import Grid, best_scale

_FORMATS = {"pot": PowerOfTwo(1, 6), "s3": PowerOfTwo(1, 2), "dense": PowerOfTwo(1, 3, zero=False)}


@dataclass(frozen=True, slots=True)
class Shift(Pass):
    """Round weights to sums of signed powers of two."""

    keeps: ClassVar[Lossy] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    alphabet: str = field(default="apot", metadata=option(
        "sums of powers, one power or zero, {0, 1, 2, 4} or {1, 2, 4, 8} with sign",
        choices=("apot", "pot", "s3", "dense")))
    terms: int = field(default=2, metadata=option("powers of two that a weight of apot may be the sum of",
                                                  low=1, high=4, when={"alphabet": ("apot",)}))
    exponent: int | None = field(default=None, metadata=option(
        "largest exponent, the smallest is 0; none: 6, or that of the alphabet", low=0, high=12))
    granularity: str = field(
        default="channel", metadata=option("one weight scale for each of these", choices=("channel", "tensor"))
    )
    scale_bits: int = field(
        default=1, metadata=option("significant bits of a scale; 1: powers of two", low=1, high=8)
    )
    rounding: str = field(default="nearest", metadata=option(
        "each weight by itself, or the layer together on calibration data, by columns or by magnitude",
        choices=("nearest", "gptq", "inq")))

    def run(self, graph: Graph, context: Context) -> Graph:
        letters, grid = alphabet(self.format()), Grid(self.scale_bits)
        fit = fit_by_magnitude if self.rounding == "inq" else Rounding.fit
        coder = Coder(letters, nearest_rule(letters, grid), grid, self.granularity == "tensor", fit)
        real = with_real_weights(graph, context)
        if self.rounding == "nearest":
            return coder.each(real, context)
        return coder.walked(real, real, context, f"shift{{rounding={self.rounding}}}", fit=True)

    def format(self) -> PowerOfTwo:
        """The number format of the weights. Raises E304 for options that contradict each other."""
        if self.alphabet == "apot":
            return PowerOfTwo(self.terms, 6 if self.exponent is None else self.exponent)
        found = _FORMATS[self.alphabet]
        if self.exponent is None or self.exponent == found.exponent:
            return found
        if self.alphabet == "s3":
            raise error("E304", f"the alphabet s3 ends at 2^{found.exponent}, not at 2^{self.exponent}",
                        operator="shift", remedy=f"write alphabet=pot exponent={self.exponent}")
        return replace(found, exponent=self.exponent)


def nearest_rule(letters: Alphabet, grid: Grid) -> Rule:
    """The nearest letters, with the scales of least squared error."""
    def rule(rows: Array) -> tuple[Array, Array]:
        scale = best_scale(rows, letters, grid)
        return letters.nearest(rows / scale[:, None]), scale

    return rule


def with_real_weights(graph: Graph, context: Context) -> Graph:
    """`graph` with reals where selected layers read dequantized constants."""
    edit = graph.edit()
    for layer in layers(graph):
        maker = graph.producers.get(layer.weight)
        if context.selected(layer.node) and maker is not None and isinstance(maker.op, Dequantize):
            parts = [graph.constants.get(o) for o in maker.operands]
            if all(part is not None for part in parts):
                real = maker.op.evaluate(*(part.data[None] for part in parts if part is not None))
                name = edit.constant(layer.weight, TensorType(Float(32), real.shape[1:]), np.asarray(real)[0])
                edit.redirect(layer.weight, name)
    return edit.finish()
