"""`shift`: weights as sums of a few signed powers of two, so that products become shifts and additions.

Method: every weight becomes the nearest number of the additive power-of-two alphabet (Li et al. 2020, "Additive
Powers-of-Two Quantization"; with one term DeepShift, Elhoushi et al. 2021), with one scale an output channel of least
squared error. Scales have few significant bits, powers of two by default, so that requantization needs few additions
too. Before::

    h: f32[1, 6, 24, 24] = conv(x, w, ...)

and after `shift{terms=2}`, where `w_q: p2e6` holds +-2^a +-2^b::

    w_dq: f32[6, 1, 5, 5] = dequantize(w_q, w_scale, axis=0)
    h: f32[1, 6, 24, 24] = conv(x, w_dq, ...)

`shift{terms=2}, quantize{activations=u8}` makes a network without any multiplication: quantize leaves these weights
as they are and chooses power-of-two scales beside them. Weights that were quantized before are rewritten from their
dequantized values.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from irc.graph import Edit, Graph, Node
from irc.ops.quantization import Dequantize
from irc.pipeline.step import Context, Lossy, Pass, option
from irc.types import Array, Float, IntArray, Level, PowerOfTwo, TensorType
from passes.layers import Layer, layers, per_channel, restored
from passes.rounding.alphabet import alphabet
from passes.rounding.scales import Grid, best_scale, round_to


@dataclass(frozen=True, slots=True)
class Shift(Pass):
    """Round weights to sums of signed powers of two."""

    keeps: ClassVar[Lossy] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    terms: int = field(default=2, metadata=option("powers of two a weight may be the sum of", low=1, high=4))
    exponent: int = field(default=6, metadata=option("largest exponent; the smallest is 0", low=0, high=12))
    granularity: str = field(
        default="channel", metadata=option("one weight scale for each of these", choices=("channel", "tensor"))
    )
    scale_bits: int = field(
        default=1, metadata=option("significant bits of a scale; 1: powers of two", low=1, high=8)
    )

    def run(self, graph: Graph, context: Context) -> Graph:
        edit, done = graph.edit(), dict[str, str]()
        for layer in layers(graph):
            if context.selected(layer.node):
                self._rewrite(graph, layer, edit, done, context)
        return edit.finish()

    def _rewrite(self, graph: Graph, layer: Layer, edit: Edit, done: dict[str, str], context: Context) -> None:
        """Let one layer read the rounded weight; a weight of several layers is rounded once."""
        if layer.weight not in done:
            real = real_constant(graph, layer.weight)
            if real is None:
                return
            done[layer.weight] = self._constant(layer, real, edit, context)
        _, *others = layer.node.operands[1:]
        edit.replace(layer.node, replace(layer.node, operands=(layer.x, done[layer.weight], *others)))

    def _constant(self, layer: Layer, real: Array, edit: Edit, context: Context) -> str:
        """Round a weight; returns the dequantized value."""
        form = PowerOfTwo(self.terms, self.exponent)
        axis = layer.weight_axis if self.granularity == "channel" else -1
        rows = per_channel(real, axis)
        scale = best_scale(rows, alphabet(form), Grid(self.scale_bits))
        q = restored(round_to(rows, scale, alphabet(form)), real.shape, axis)
        rounded = restored(per_channel(q, axis) * scale[:, None], real.shape, axis)
        context.note("weight_error", relative_error(real, rounded), node=layer.node.name)
        return _dequantized(edit, layer.weight, form, q, scale, max(axis, 0))


def _dequantized(edit: Edit, stem: str, form: PowerOfTwo, q: IntArray, scale: Array, axis: int) -> str:
    parameter = scale if scale.size > 1 else scale.reshape(())
    operands = (edit.constant(f"{stem}_pot", TensorType(form, q.shape), q),
                edit.constant(f"{stem}_pot_scale", TensorType(Float(32), parameter.shape), parameter))
    node = Node((edit.fresh(f"{stem}_pot_dq"),), Dequantize(axis), operands, (TensorType(Float(32), q.shape),))
    edit.insert_after(operands[0], node)
    return node.name


def real_constant(graph: Graph, name: str) -> Array | None:
    """The reals of a weight: a constant, or a dequantized one; None when it is neither."""
    if name in graph.constants:
        return graph.constants[name].data.astype(np.float64)
    maker = graph.producers[name]
    parts = [graph.constants.get(o) for o in maker.operands]
    if not isinstance(maker.op, Dequantize) or any(p is None for p in parts):
        return None
    found = maker.op.evaluate(*(p.data[None] for p in parts if p is not None))
    return np.asarray(found[0])


def relative_error(real: Array, rounded: Array) -> float:
    """Root of the squared error over the squared norm."""
    return float(np.linalg.norm(rounded - real) / max(float(np.linalg.norm(real)), 1e-30))
