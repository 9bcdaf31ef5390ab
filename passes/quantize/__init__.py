"""Quantization: reals become integers with scales."""
