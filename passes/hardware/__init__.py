"""Passes on streams: folding and FIFO depths."""
