"""Exploration: many pipelines tried on one network, and the best trades of accuracy against size that they make."""
