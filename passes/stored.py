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
from irc.types import Array, Float, Format, IntArray, Integer, PowerOfTwo, TensorType

_F32 = Float(32)


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


def enter_dequantized(edit: Edit, stem: str, q: tuple[str, TensorType], scale: Array, axis: int,
                      real: Float = _F32) -> Node:
    """Integers times a scale, or one scale for each index of `axis`, as a new value. Scales are stored as `real`."""
    name, kind = q
    flat = scale.reshape(-1)
    parameter = flat if flat.size > 1 else flat.reshape(())
    factor = edit.constant(f"{stem}_scale", TensorType(real, parameter.shape), parameter)
    made = Node((edit.fresh(f"{stem}_dq"),), Dequantize(axis), (name, factor), (TensorType(Float(32), kind.shape),))
    edit.insert_after(name, made)
    return made


def enter_integers(edit: Edit, stem: str, form: Integer | PowerOfTwo, q: Array, scale: Array, axis: int,
                   real: Float = _F32) -> str:
    """A new constant of integers with its dequantized value; returns the name of the latter."""
    kind = TensorType(form, q.shape)
    whole = edit.constant(f"{stem}_q", kind, q.astype(np.int64))
    return enter_dequantized(edit, stem, (whole, kind), scale, axis, real).name


def float32(values: Array) -> Array:
    """Reals as they are stored, to compute with."""
    return values.astype(np.float32).astype(np.float64)
