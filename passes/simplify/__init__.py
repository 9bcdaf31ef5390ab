"""Rewrites that change no result."""
