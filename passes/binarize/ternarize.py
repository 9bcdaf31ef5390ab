"""`ternarize`: weights become -1, 0 or 1 times a scale.

Method: ternary weight networks (Li & Liu 2016). Weights above a threshold, 0.7 times the mean magnitude, become 1,
those below its negative -1, all others 0; the scale is the mean magnitude of those that are not 0. This is an
approximation of the least squared error; `threshold=optimal` finds the minimum itself: with the n largest magnitudes
kept, the error is least where (their sum)^2 / n is largest. Before::

    const w: f32[4, 2] = [[0.9, -0.1], [-0.3, 0.5], [1.1, 0.4], [0.1, -0.6]]
    y: f32[1, 2] = matmul(x, w)

and after `ternarize`::

    const w_q: s2[4, 2] = [[1, 0], [0, 1], [1, 1], [0, -1]]
    const w_scale: f32[2] = [1, 0.5]
    w_dq: f32[4, 2] = dequantize(w_q, w_scale, axis=1)
    y: f32[1, 2] = matmul(x, w_dq)

With `rounding=gptq` weights and scales are chosen together so that the layer's output on the calibration data stays,
and biases make up for what remains (Frantar et al. 2023, "GPTQ"). quantize leaves these weights as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from irc.graph import Graph
from irc.pipeline.step import Context, Lossy, Pass, option
from irc.types import Array, Integer, Level
from passes.reconstruction.products import demand_real_weights
from passes.rounding.alphabet import Alphabet
from passes.rounding.coder import Coder
from passes.rounding.scales import Grid

_TERNARY = Alphabet(Integer(True, 2), -1, 1)
_TWN = 0.7  # of the mean magnitude: nearly optimal for normal and uniform weights


@dataclass(frozen=True, slots=True)
class Ternarize(Pass):
    """Round weights to -1, 0 and 1 times a scale."""

    keeps: ClassVar[Lossy] = Lossy()
    requires: ClassVar[Level | None] = Level.MODEL
    ensures: ClassVar[Level | None] = Level.MODEL

    threshold: str = field(default="twn", metadata=option(
        "0.7 of the mean magnitude, or of least squared error", choices=("twn", "optimal")))
    scale: str = field(default="channel", metadata=option("one weight scale for each of these",
                                                          choices=("channel", "tensor")))
    scale_bits: int = field(default=24, metadata=option("significant bits of a scale", low=1, high=24))
    rounding: str = field(default="nearest", metadata=option(
        "by the threshold, or for the least error of the layer's output", choices=("nearest", "gptq")))

    def run(self, graph: Graph, context: Context) -> Graph:
        demand_real_weights(graph, "ternarize")
        rule = twn if self.threshold == "twn" else least_squares
        coder = Coder(_TERNARY, rule, Grid(self.scale_bits), self.scale == "tensor")
        if self.rounding == "gptq":
            return coder.walked(graph, graph, context, "ternarize{rounding=gptq}", fit=True)
        return coder.each(graph, context)


def twn(rows: Array) -> tuple[Array, Array]:
    """The threshold of Li & Liu, and the best scale for it."""
    return _above(rows, _TWN * np.abs(rows).mean(axis=1, keepdims=True))


def least_squares(rows: Array) -> tuple[Array, Array]:
    """The threshold of least squared error, by trying all: |w - s t|^2 = |w|^2 - (sum of the n largest)^2 / n."""
    ordered = -np.sort(-np.abs(rows), axis=1)
    gain = np.cumsum(ordered, axis=1) ** 2 / np.arange(1, rows.shape[1] + 1)
    last = np.take_along_axis(ordered, gain.argmax(axis=1)[:, None], axis=1)
    return _above(rows, np.nextafter(last, 0))


def _above(rows: Array, threshold: Array) -> tuple[Array, Array]:
    kept = np.abs(rows) > threshold
    total = (np.abs(rows) * kept).sum(axis=1)
    return np.sign(rows) * kept, total / np.maximum(kept.sum(axis=1), 1)
