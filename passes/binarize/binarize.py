"""`binarize`: weights become -1 or 1 times a scale, and activations too when asked.

Method: XNOR-Net (Rastegari et al. 2016). The best binary approximation of weights w is sign(w) times the mean of |w|,
one scale an output channel. Before::

    const w: f32[4, 2] = [[0.9, -0.1], [-0.3, 0.5], [1.1, 0.4], [0.1, -0.6]]
    y: f32[1, 2] = matmul(x, w)

and after `binarize`::

    const w_codebook: s2[2] = [-1, 1]
    const w_index: u1[4, 2] = [[1, 0], [0, 1], [1, 1], [1, 0]]
    const w_scale: f32[2] = [0.6, 0.4]
    w_shared: s2[4, 2] = gather(w_codebook, w_index)
    w_dq: f32[4, 2] = dequantize(w_shared, w_scale, axis=1)
    y: f32[1, 2] = matmul(x, w_dq)

With `rounding=gptq` signs and scales are chosen together so that the layer's output on the calibration data stays, and
biases make up for what remains (Frantar et al. 2023, "GPTQ").

With `activations` the inputs of the layers become two values as well, t - s and t + s, those of least squared error on
the calibration data, of which the layer sees -s and s; its bias takes t over::

    x_centred: f32[1, 4] = add(x, x_threshold)
    x_sign: s2[1, 4] = bipolar(x_centred)
    x_binary: f32[1, 4] = dequantize(x_sign, x_step)
    y: f32[1, 2] = matmul(x_binary, w_dq)

A product of two such numbers is 1 or -1: `integer` makes a layer of `s2` by `s2` of it. The first and the last layer
of a network usually stay as they are: `binarize{activations=true} @ !first & !last`. quantize leaves these weights and
activations as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from irc.graph import Graph
from irc.pipeline.step import Context, Lossy, Pass, option
from irc.types import Array, Integer, Level
from passes.binarize.activations import with_signs
from passes.reconstruction.products import demand_real_weights
from passes.rounding.alphabet import alphabet
from passes.rounding.coder import Coder
from passes.rounding.scales import Grid


@dataclass(frozen=True, slots=True)
class Binarize(Pass):
    """Round weights to -1 and 1 times a scale, and inputs of layers to two values."""

    keeps: ClassVar[Lossy] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    activations: bool = field(default=False, metadata=option("whether the inputs of the layers are binary too"))
    scale: str = field(default="channel", metadata=option("one weight scale for each of these",
                                                          choices=("channel", "tensor")))
    scale_bits: int = field(default=24, metadata=option("significant bits of a scale", low=1, high=24))
    rounding: str = field(default="nearest", metadata=option(
        "the sign of each weight, or signs for the least error of the layer's output", choices=("nearest", "gptq")))

    def run(self, graph: Graph, context: Context) -> Graph:
        demand_real_weights(graph, "binarize")
        coder = Coder(alphabet(Integer(True, 1)), signs, Grid(self.scale_bits), self.scale == "tensor")
        fit = self.rounding == "gptq"
        if self.activations:
            signed = with_signs(graph, context, Grid(self.scale_bits))
            return coder.walked(graph, signed, context, "binarize{activations=true}", fit)
        if fit:
            return coder.walked(graph, graph, context, "binarize{rounding=gptq}", fit)
        return coder.each(graph, context)


def signs(rows: Array) -> tuple[Array, Array]:
    """The sign of each weight, 1 for zero, and the mean magnitude of each row."""
    return np.where(rows < 0, -1, 1), np.abs(rows).mean(axis=1)
