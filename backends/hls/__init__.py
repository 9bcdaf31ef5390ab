"""HLS C: a dataflow graph as C99 that also compiles as C++14, for high-level synthesis and for microcontrollers."""

from backends.hls.backend import HLS

__all__ = ["HLS"]
