"""Constants as integers: a new constant, its scale, and the dequantize that gives its value back."""

from __future__ import annotations

import numpy as np

from irc.graph import Edit, Node
from irc.ops.quantization import Dequantize
from irc.types import Array, Float, Format, Integer, PowerOfTwo, Shape, TensorType

_F32 = Float(32)


def constant(edit: Edit, stem: str, form: Format, data: Array) -> str:
    """A new constant, named after `stem`."""
    return edit.constant(stem, TensorType(form, data.shape), data)


def dequantize(edit: Edit, stem: str, q: str, shape: Shape, parameters: tuple[str, ...], axis: int = 1,
               origin: str = "") -> Node:
    """The node that gives the reals of integers `q` back."""
    return Node((edit.fresh(stem),), Dequantize(axis), (q, *parameters), (TensorType(Float(32), shape),), origin)


def dequantized(edit: Edit, stem: str, form: Integer | PowerOfTwo, q: Array, scale: Array, axis: int,
                real: Float = _F32) -> str:
    """A new integer constant with its dequantized value; returns the name of the latter.

    `scale` has one value, or one for each index along `axis`, and is stored in `real`.
    """
    flat = scale.reshape(-1)
    parameter = constant(edit, f"{stem}_scale", real, flat if flat.size > 1 else flat.reshape(()))
    whole = constant(edit, f"{stem}_q", form, q.astype(np.int64))
    node = dequantize(edit, f"{stem}_dq", whole, q.shape, (parameter,), axis)
    edit.insert_after(whole, node)
    return node.name
