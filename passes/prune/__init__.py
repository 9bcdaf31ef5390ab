"""Pruning: weights become zero."""
