"""How weights are stored: integers with a scale, or indices into a codebook.

Both are ops on constants, so the one meaning of the layer that reads them does not change::

    w_dq: f32[6, 1, 5, 5] = dequantize(w_q, w_scale, axis=0)
    w_shared: f32[6, 1, 5, 5] = gather(w_codebook, w_index)

and both together: a codebook of integers, `dequantize(gather(w_codebook_q, w_index), w_scale)`.
"""

from __future__ import annotations

import numpy as np

from irc.graph import Edit, Node
from irc.ops.quantization import Dequantize
from irc.ops.shape import Gather
from irc.types import Array, Float, Format, IntArray, Integer, TensorType


def enter_codebook(edit: Edit, stem: str, values: Array, form: Format) -> str:
    """A codebook as a new constant."""
    return edit.constant(f"{stem}_codebook", TensorType(form, values.shape), values)


def enter_lookup(edit: Edit, stem: str, codebook: tuple[str, TensorType], index: IntArray) -> Node:
    """The elements of a codebook at `index`, which takes just enough bits, as a new value."""
    name, kind = codebook
    form = Integer(False, max(1, (kind.size - 1).bit_length()))
    places = edit.constant(f"{stem}_index", TensorType(form, index.shape), index)
    made = Node((edit.fresh(f"{stem}_shared"),), Gather(0), (name, places), (TensorType(kind.format, index.shape),))
    edit.insert_after(places, made)
    return made


def enter_dequantized(edit: Edit, stem: str, q: tuple[str, TensorType], scale: Array, axis: int) -> Node:
    """Integers times a scale, or one scale for each index of `axis`, as a new value."""
    name, kind = q
    parameter = scale if scale.size > 1 else scale.reshape(())
    factor = edit.constant(f"{stem}_scale", TensorType(Float(32), parameter.shape), parameter)
    made = Node((edit.fresh(f"{stem}_dq"),), Dequantize(axis), (name, factor), (TensorType(Float(32), kind.shape),))
    edit.insert_after(name, made)
    return made


def float32(values: Array) -> Array:
    """Reals as they are stored, to compute with."""
    return values.astype(np.float32).astype(np.float64)
