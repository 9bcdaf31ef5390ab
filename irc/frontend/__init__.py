"""The ONNX reader: `read_onnx` makes a model-level graph, `check_onnx` lists everything that stands in the way."""

from irc.frontend.reader import check_onnx, read_onnx

__all__ = ["check_onnx", "read_onnx"]
