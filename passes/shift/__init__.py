"""Weights as sums of signed powers of two."""
