"""irc: a compiler from trained neural networks (ONNX) to hardware.

Layers, lowest first; a module imports only from layers below it (``tests/test_layers.py`` enforces it):
types, diagnostics <- graph <- ops <- interpreter, text, frontend, dataflow <- pipeline <- cli.
"""

__version__ = "0.1.0"
