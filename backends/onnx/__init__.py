"""ONNX targets: the compressed model itself, for every tool that reads ONNX."""

from backends.onnx.backend import ONNX, QONNX

__all__ = ["ONNX", "QONNX"]
