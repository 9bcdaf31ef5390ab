"""Timing of dataflow graphs: in which cycle every token moves."""
