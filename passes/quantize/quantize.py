"""`quantize`: post-training quantization of weights, biases and activations to integers of any width.

Method: weights symmetric with one scale an output channel, of least squared error; activations affine, from
calibration data (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"; Nagel et al. 2021, "A White Paper on Neural Network Quantization"). Biases are
32-bit integers in units of the product of both scales; where a result could lie exactly between two integers, in
halves of it and odd, so that no tie remains and a multiplication with a shift rounds exactly. Before::

    h: f32[1, 6, 24, 24] = conv(x, w, b, ...)
    r: f32[1, 6, 24, 24] = relu(h)

and after `quantize{weights=s5 activations=u8}`::

    x_q: u8[1, 1, 28, 28] = quantize(x, x_scale, x_zero, to=u8)
    x_dq: f32[1, 1, 28, 28] = dequantize(x_q, x_scale, x_zero)
    w_dq: f32[6, 1, 5, 5] = dequantize(w_q, w_scale, axis=0)
    b_dq: f32[6] = dequantize(b_q, b_scale, axis=0)
    h: f32[1, 6, 24, 24] = conv(x_dq, w_dq, b_dq, ...)
    r: f32[1, 6, 24, 24] = relu(h)
    r_q: u8[1, 6, 24, 24] = quantize(r, r_scale, r_zero, to=u8)
    r_dq: f32[1, 6, 24, 24] = dequantize(r_q, r_scale, r_zero)

With `rounding=gptq` weights are not rounded one by one: layer by layer, on the inputs that the quantized network gives
it, each weight makes good for the errors of those rounded before (Frantar et al. 2023, "GPTQ"), every weight is chosen
again given all others (Behdin et al. 2023, "QuantEase"), scales follow by least squares, and biases correct the mean of
each channel (Nagel et al. 2019, "Data-Free Quantization"). Below 6 bits this is worth many points of accuracy.

With `mixed=[2, 3, 4, 6, 8] average=3` every layer gets the width of those with which the network loses least, in no
more bits than a uniform width of 3 would take: what rounding to each width changes in the output of each layer and, by
that, of the network is measured on calibration data (`sensitivity`), and the widths are the exact solution of the
integer program. With `loss=0.5` instead of the average, the fewest bits are sought with which the score (`--data`,
`--metric`) is at most so much worse. `first=s8` and `last=s8` give the outermost layers, which are small and see the
input or make the answer, a format of their own; with a selector the same is `quantize{weights=s8} @ first | last,
quantize{weights=s3}`. Embedding tables always have the format `weights`.

Results that only leave the network stay accumulators: they carry the most precise answer and need no hardware. What
argmax compares is quantized to at least 16 bits. Already quantized weights and values are left as they are. Beside
layers with power-of-two weights, scales are powers of two, so that such a network needs no multiplier at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from irc.diagnostics import error
from irc.graph import Graph, Node
from irc.pipeline.step import Context, Lossy, Pass, option
from irc.types import Array, Format, Integer, Level, PowerOfTwo
from passes.layers import constant_of, layers, tables
from passes.quantize.calibration import Histogram, Quantizer, Watch, fit_minmax, fit_mse, fit_percentile, observe
from passes.quantize.codebooks import with_integer_codebooks
from passes.quantize.mixed import Bounds, Mix, rows_of
from passes.quantize.placement import Component, Placement
from passes.quantize.rounding import Plan, Rounder, outermost, planned
from passes.quantize.sensitivity import SENSITIVITIES
from passes.quantize.steps import Steps
from passes.quantize.values import ValueRewrite
from passes.quantize.weights import WeightRewrite
from passes.reconstruction.products import Gates, products
from passes.reconstruction.tables import table_gram
from passes.rounding.alphabet import Alphabet, alphabet
from passes.rounding.fit import Letters, Rounding
from passes.rounding.scales import Grid, best_scale, largest_scale

_ASSUMED = Histogram(-1.0, 1.0, np.ones(2, np.int64))  # where only refusals are of interest


@dataclass(frozen=True, slots=True)
class Quantize(Pass):
    """Quantize weights, biases and activations; ranges come from calibration data."""

    keeps: ClassVar[Lossy] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    weights: Format = field(default=Integer(True, 8), metadata=option("format of the weights, s1 (-1 and +1) to s16"))
    activations: Format | None = field(
        default=Integer(False, 8), metadata=option("format of activations, u1-u16 or s2-s16; none: they stay real")
    )
    granularity: str = field(
        default="channel", metadata=option("one weight scale for each of these", choices=("channel", "tensor"))
    )
    calibration: str = field(
        default="mse", metadata=option("how a range is chosen", choices=("minmax", "percentile", "mse"))
    )
    percentile: float = field(
        default=99.99, metadata=option("percent of values that calibration=percentile keeps", low=50, high=100,
                                       when={"calibration": ("percentile",)})
    )
    scales: str = field(default="free", metadata=option("any scale, or powers of two", choices=("free", "pot")))
    scale_bits: int = field(
        default=5, metadata=option("significant bits of a free scale; fewer: cheaper requantization", low=1, high=8)
    )
    weight_scale: str = field(
        default="mse", metadata=option("weight scale of least error, or that clips nothing", choices=("mse", "max"))
    )

    rounding: str = field(
        default="nearest", metadata=option("each weight by itself, or for the least error of the layer's output on "
                                           "calibration data", choices=("nearest", "gptq"))
    )
    bias_correction: bool = field(
        default=False, metadata=option("biases make up for the mean error of a channel; always so with rounding=gptq")
    )
    first: Format | None = field(default=None, metadata=option("format of the first layer's weights, if another"))
    last: Format | None = field(default=None, metadata=option("format of the last layer's weights, if another"))
    mixed: tuple[int, ...] = field(
        default=(), metadata=option("widths, one of which is chosen for each layer; bounded by average or loss",
                                    low=2, high=16)
    )
    average: float | None = field(
        default=None, metadata=option("most bits a weight that mixed may take, on average", low=1, high=16)
    )
    loss: float | None = field(
        default=None, metadata=option("largest loss of the judged score that mixed may cost; as few bits as that takes",
                                      low=0)
    )
    sensitivity: str = field(
        default="fisher", metadata=option("what mixed takes for the cost of a layer", choices=SENSITIVITIES)
    )

    def run(self, graph: Graph, context: Context) -> Graph:
        bounds = Bounds(self.mixed, self.average, self.loss)
        bounds.check()
        letters = alphabet(checked("weights", self.weights, signed=True))
        graph = with_integer_codebooks(graph, letters, lambda rows: self._scales(rows, letters), context.selected)
        values = self._values(graph, context, letters)
        middle = values.finish()
        steps = Steps(middle, values.scale, values.largest)
        fixed = self._fixed(middle)
        plans = planned(middle, context.selected, steps, lambda node: fixed.get(node.name, letters), self._bits(),
                        self.granularity == "tensor")

        def finish(plans: Mapping[str, Plan], context: Context) -> Graph:
            return self._rounded(graph, middle, steps, plans, context)

        if not bounds.widths:
            return finish(plans, context)
        mix = Mix.weighed(self.sensitivity, graph, middle, rows_of(middle, plans, fixed, bounds.alphabets),
                          self.rounding == "gptq", plans, finish, context)
        return mix.within(self.average) if self.average is not None else mix.least(self.loss or 0.0)

    def _fixed(self, graph: Graph) -> dict[str, Alphabet]:
        """The alphabets of the outermost layers, by node, where they have one of their own."""
        nodes = outermost(graph)
        given = {"first": (nodes[:1], self.first), "last": (nodes[-1:], self.last)}
        return {node.name: alphabet(checked(option, form, signed=True))
                for option, (ends, form) in given.items() if form is not None for node in ends}

    def _rounded(self, graph: Graph, middle: Graph, steps: Steps, plans: Mapping[str, Plan],
                 context: Context) -> Graph:
        """`middle`, the graph with its activations quantized, with the planned weights as integers too."""
        rounder = Rounder(graph, middle, plans, context)
        if self.rounding == "gptq" or self.bias_correction:
            rounder.reconstruct("quantize", compensate=self.rounding == "gptq")
        else:
            rounder.round(search=self.weight_scale == "mse" and not context.trial)
        rewrite = WeightRewrite(middle, steps, rounder.weights, rounder.shifts)
        for layer in layers(middle):
            if context.selected(layer.node):
                rewrite.layer(layer)
        for product in products(middle):
            if isinstance(product, Gates) and context.selected(product.node):
                rewrite.recurrent(product.node, product.bias)
        return rewrite.finish()

    def _values(self, graph: Graph, context: Context, letters: Alphabet) -> ValueRewrite:
        """Activations and embedding tables, quantized."""
        rewrite = ValueRewrite(graph)
        if self.activations is not None:
            form = checked("activations", self.activations)
            components = Placement(graph, context.selected).components()
            for component, quantizer in zip(components, self._calibrate(graph, context, components, form), strict=True):
                rewrite.activations(component, quantizer)
                context.note("scale", quantizer.scale, node=component.entries[0])

        def choose(gather: Node, table: Array) -> Letters:
            return self._table(graph, gather, table, letters)

        for gather in tables(graph):
            if context.selected(gather):
                rewrite.table(gather, choose, letters)
        return rewrite

    def _table(self, graph: Graph, gather: Node, table: Array, letters: Alphabet) -> Letters:
        """One scale for the whole table where integers go on, because its rows meet in later sums; else one a row."""
        rows = table.astype(np.float64).reshape(1, len(table), -1)
        shared = self.activations is not None or self.granularity == "tensor"
        rounding = Rounding(letters, Grid(self._bits()), rows.shape[2:], shared, self.weight_scale == "mse")
        gram = table_gram(graph, gather) if self.rounding == "gptq" else None
        return rounding.start(rows) if gram is None else rounding.fit(rows, gram[None])

    def _scales(self, rows: Array, letters: Alphabet) -> Array:
        choose = best_scale if self.weight_scale == "mse" else largest_scale
        return choose(rows, letters, Grid(self._bits()))

    def _bits(self) -> int:
        return 1 if self.scales == "pot" else self.scale_bits

    def _calibrate(
        self, graph: Graph, context: Context, components: Sequence[Component], form: Integer
    ) -> list[Quantizer]:
        if not components:
            return []
        data, watches = context.calibration_for("quantize"), [Watch(c.entries, c.floor) for c in components]
        seen = [_ASSUMED] * len(watches) if context.trial else observe(graph, data, watches)
        forms = [Integer(True, max(16, form.bits)) if c.compared else form for c in components]
        beside = beside_shifts(graph)
        bits = [1 if c.members & beside else self._bits() for c in components]
        fit = fit_minmax if context.trial else self._fit
        return [fit(*row) for row in zip(seen, forms, bits, strict=True)]

    def _fit(self, seen: Histogram, form: Integer, bits: int) -> Quantizer:
        if self.calibration == "percentile":
            return fit_percentile(seen, form, bits, self.percentile)
        return fit_mse(seen, form, bits) if self.calibration == "mse" else fit_minmax(seen, form, bits)


def beside_shifts(graph: Graph) -> frozenset[str]:
    """Operands and results of layers with power-of-two weights: with power-of-two scales they need no multiplier."""
    found = (layer for layer in layers(graph) if constant_of(graph, layer.weight))
    shifts = (f for f in found if isinstance(graph.tensor(constant_of(graph, f.weight)).format, PowerOfTwo))
    return frozenset(value for layer in shifts for value in (layer.x, layer.result))


def checked(name: str, form: Format, signed: bool = False) -> Integer:
    """The format if it is an integer this pass can make, else E304."""
    lowest = 2 if not signed and isinstance(form, Integer) and form.signed else 1
    if not isinstance(form, Integer) or (signed and not form.signed) or not lowest <= form.bits <= 16:
        allowed = "s1 to s16; the pass shift makes power-of-two weights" if signed else "u1 to u16 or s2 to s16"
        raise error("E304", f"{name}={form} is not a format that quantize can make", operator="quantize",
                    remedy=f"{name} takes {allowed}")
    return form
