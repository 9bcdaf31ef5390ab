"""Formats as element types of ONNX, and constants as its tensors."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from irc.graph import Constant
from irc.types import Array, Float, Format, Integer, PowerOfTwo

STORED = {True: {4: TensorProto.INT4, 8: TensorProto.INT8, 16: TensorProto.INT16, 32: TensorProto.INT32,
                 64: TensorProto.INT64},
          False: {1: TensorProto.BOOL, 4: TensorProto.UINT4, 8: TensorProto.UINT8, 16: TensorProto.UINT16}}


def element_type(form: Format) -> int:
    """The ONNX type that holds a format."""
    match form:
        case Float():
            return int(TensorProto.FLOAT)
        case PowerOfTwo():
            return element_type(Integer(True, form.maximum.bit_length() + 1))
        case Integer():
            fitting = [kind for bits, kind in STORED[form.signed].items() if bits >= form.bits and bits > 1]
            return int(fitting[0]) if fitting else element_type(Integer(True, min(64, form.bits + 1)))


def activation_type(form: Integer) -> int:
    """The same for what is computed: runtimes move quantizers through operators that take no 4 bits."""
    return element_type(Integer(form.signed, max(8, form.bits)))


def constant_type(constant: Constant) -> int:
    """The type that a constant is stored in."""
    form = constant.type.format
    if isinstance(form, PowerOfTwo):  # the weights that are there, not all that could be
        low, high = int(constant.data.min(initial=0)), int(constant.data.max(initial=0))
        form = Integer(True, max((-low - 1).bit_length() if low else 0, high.bit_length()) + 1)
    return element_type(form)


def stored(name: str, data: Array, kind: int) -> TensorProto:
    """A tensor of one of ONNX's types; 4-bit numbers two a byte, the first in the lower half."""
    if kind in (TensorProto.INT4, TensorProto.UINT4):
        halves = np.resize(data.astype(np.uint8) & 15, (data.size + 1) // 2 * 2).reshape(-1, 2)
        packed = (halves[:, 0] | halves[:, 1] << 4).astype(np.uint8)
        return helper.make_tensor(name, kind, data.shape, packed.tobytes(), raw=True)
    return numpy_helper.from_array(data.astype(helper.tensor_dtype_to_np_dtype(kind)), name)
