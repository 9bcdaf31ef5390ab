"""Weights and activations of one or two bits: the sign, or the sign and zero."""
