"""ONNX tensors: element types to formats, stored data to arrays, guarded reading of external data."""

from __future__ import annotations

import math
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import ExternalDataInfo

from irc.diagnostics import error
from irc.limits import Limits
from irc.types import Array, Float, Format, Integer

FORMATS: dict[int, Format] = {
    TensorProto.FLOAT: Float(32),
    TensorProto.FLOAT16: Float(32),
    TensorProto.BFLOAT16: Float(32),
    TensorProto.DOUBLE: Float(64),
    TensorProto.BOOL: Integer(False, 1),
    TensorProto.UINT2: Integer(False, 2),
    TensorProto.UINT4: Integer(False, 4),
    TensorProto.UINT8: Integer(False, 8),
    TensorProto.UINT16: Integer(False, 16),
    TensorProto.UINT32: Integer(False, 32),
    TensorProto.UINT64: Integer(False, 63),  # what int64 arithmetic holds; larger numbers are refused
    TensorProto.INT2: Integer(True, 2),
    TensorProto.INT4: Integer(True, 4),
    TensorProto.INT8: Integer(True, 8),
    TensorProto.INT16: Integer(True, 16),
    TensorProto.INT32: Integer(True, 32),
    TensorProto.INT64: Integer(True, 64),
}

BITS = {element: form.bits for element, form in FORMATS.items()} | {  # as stored
    TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16, TensorProto.BOOL: 8, TensorProto.UINT64: 64}


def element_format(element_type: int) -> Format:
    """The format of an ONNX element type, or E104."""
    if element_type not in FORMATS:
        raise error("E104", f"the element type {_element_name(element_type)} is not supported",
                    remedy="Use float32, or integers of 2 to 64 bits.")
    return FORMATS[element_type]


def element_type(form: Format) -> int:
    """The ONNX element type of a format."""
    return next((element for element, known in FORMATS.items() if known == form), TensorProto.UNDEFINED)


def _element_name(element_type: int) -> str:
    if element_type not in onnx.helper.get_all_tensor_dtypes():
        return f"number {element_type}"
    return onnx.helper.tensor_dtype_to_string(element_type).removeprefix("TensorProto.").lower()


def decode(tensor: TensorProto, folder: Path, limits: Limits) -> tuple[Format, Array]:
    """Format and data of a stored tensor; external data are read from inside `folder` only."""
    form = element_format(tensor.data_type)
    limits.check("rank", len(tensor.dims), f"axes of tensor '{tensor.name}'")
    if min(tensor.dims, default=0) < 0:
        raise error("E102", f"tensor '{tensor.name}' has a negative size", remedy="Export the model again.")
    limits.check("tensor", math.prod(tensor.dims), f"elements of tensor '{tensor.name}'")
    if tensor.data_location == TensorProto.EXTERNAL:
        tensor = _with_external_data(tensor, folder)
    try:
        data: Array = numpy_helper.to_array(tensor)
    except ValueError as problem:
        raise error("E102", f"the data of tensor '{tensor.name}' do not fit its shape: {problem}",
                    remedy="Export the model again.") from None
    if tensor.data_type == TensorProto.UINT64 and data.max(initial=0) > np.iinfo(np.int64).max:
        raise error("E104", f"tensor '{tensor.name}' has numbers of 2^63 and more")
    return form, np.asarray(data).astype(form.dtype)


def _with_external_data(tensor: TensorProto, folder: Path) -> TensorProto:
    """The tensor with as many bytes of its file as its shape needs."""
    try:
        info: Any = ExternalDataInfo(tensor)
    except ValueError as problem:
        raise error("E102", f"tensor '{tensor.name}' is stored at no place: {problem}",
                    remedy="Export the model again.") from None
    file = _data_file(tensor.name, info.location, folder)
    bits = math.prod(tensor.dims) * BITS[tensor.data_type]
    loaded = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    try:
        if not S_ISREG(file.stat().st_mode):  # a pipe would have us wait
            raise OSError("no regular file")
        with file.open("rb") as stream:
            stream.seek(info.offset or 0)
            loaded.raw_data = stream.read((bits + 7) // 8)
    except (OSError, ValueError, OverflowError) as problem:
        raise error("E101", f"the data of tensor '{tensor.name}' cannot be read from '{info.location}': {problem}",
                    remedy="Copy the data file along with the model.") from None
    return loaded


def _data_file(tensor: str, location: str, folder: Path) -> Path:
    """The file of external data: inside the model's folder, and no link."""
    file = Path(location)
    steps = [folder / Path(*file.parts[: i + 1]) for i in range(len(file.parts))]
    if not steps or file.is_absolute() or ".." in file.parts or "\0" in location or any(s.is_symlink() for s in steps):
        raise error("E102", f"tensor '{tensor}' keeps its data in '{location}', outside the model's folder",
                    remedy="Put the data file beside the model, not a link to it, and export with a relative path.")
    return steps[-1]
