"""Named pipelines: a word that stands for a list of passes."""

from __future__ import annotations

PIPELINES: dict[str, str] = {
    # what `irc compile` does when no passes are named: 8-bit weights and activations cost little accuracy anywhere
    "default": "fold, clean, quantize{weights=s8 activations=u8}",
    # the last clean drops the scales and biases that requantization absorbed
    "to-integer": "fold, clean, integer, requantize, narrow, clean",
    "to-dataflow": "dataflow",
}
