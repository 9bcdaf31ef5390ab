"""Passes as values, the pipeline language, and the driver that holds every pass to its contract."""
