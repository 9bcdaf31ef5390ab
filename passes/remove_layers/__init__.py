"""Residual networks with fewer blocks."""
