"""QONNX: quantizers that give reals again (Pappalardo et al. 2022), as pairs of `quantize` and `dequantize`.

    y = ((clip(round(x / scale + zero)) - zero) * scale

QONNX adds the zero point before it rounds, ONNX after it. Where that makes a difference (ties, with an odd zero point)
the rounding mode of the `quantize` makes up for it. Quantizers of constants become integers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from irc.frontend.call import Call
from irc.frontend.table import qonnx_operator
from irc.ops.elementwise import Add
from irc.ops.quantization import Bipolar, Dequantize, Quantize, Threshold
from irc.rounding import HALF_EVEN, shifted
from irc.types import Array, Integer, smallest_integer

_WIDEST = 32
_ROUNDING = {
    "ROUND": HALF_EVEN, "HALF_EVEN": HALF_EVEN, "CEIL": "ceil", "FLOOR": "floor", "UP": "away_from_zero",
    "DOWN": "toward_zero", "ROUND_TO_ZERO": "toward_zero", "HALF_UP": "half_away_from_zero",
    "HALF_DOWN": "half_toward_zero",
}


@dataclass(frozen=True, slots=True)
class Grid:
    """Scale and zero point, each with one entry or one for each index of `axis`."""

    scale: Array
    zero: Array
    axis: int

    def operands(self, call: Call, part: str = "") -> tuple[str, ...]:
        """The scale, and the zero point where it is not just zero, as constants."""
        scale = call.real(self.scale, f"{part}scale")
        if not self.zero.any():
            return (scale,)
        form = smallest_integer(int(self.zero.min()), int(self.zero.max()))
        return scale, call.make(self.zero, form, f"{part}zero")


@qonnx_operator("Quant", "IntQuant")
def quant(call: Call) -> str:
    _need(call, 4)
    signed, narrow = bool(call.attribute("signed", 1)), bool(call.attribute("narrow", 0))
    mode, bits = _mode(call, "ROUND"), _bits(call, 3)
    grid = _grid(call, 1, 2)
    if signed and bits == 1:
        return _bipolar(call, grid)
    op = Quantize(Integer(signed, bits), grid.axis, _before_zero(call, mode, grid.zero), narrow)
    return _pair(call, call.operand(0), op, grid)


@qonnx_operator("BipolarQuant")
def bipolar_quant(call: Call) -> str:
    _need(call, 2)
    scale, axis = _per_channel(call, 1)
    return _bipolar(call, Grid(scale, np.zeros((), np.int64), axis))


@qonnx_operator("Trunc")
def trunc(call: Call) -> str:
    """The integers of x with their lowest bits left out. Up to version 1 the result keeps its scale and has no limits;
    later on scale, zero point and width of the result are operands."""
    _need(call, 5)
    mode, grid, given = _mode(call, "FLOOR"), _grid(call, 1, 2), _bits(call, 3)
    if grid.zero.any():
        raise call.refusal("a truncation with a zero point is not supported", "quantize symmetrically")
    narrow, signed = bool(call.attribute("narrow", 0)), bool(call.attribute("signed", 1))
    if call.count < 7:
        left, out, form = given - _bits(call, 4), grid, Integer(True, given + 1)
    else:
        out, form = _grid(call, 4, 5), Integer(signed, _bits(call, 6))
        left = round(float(np.log2(out.scale.flat[0] / grid.scale.flat[0])))
    if left < 0:
        raise call.refusal("a truncation adds bits")
    whole = call.emit(Quantize(Integer(True, _WIDEST), grid.axis), call.operand(0), *grid.operands(call), part="whole")
    steps = call.emit(Dequantize(), whole, call.real(1.0, "unit"), part="steps")
    cut = Quantize(form, 1, mode, narrow)
    kept = call.emit(cut, steps, call.real(float(1 << left), "ratio"), part="q")
    return call.emit(Dequantize(out.axis), kept, *out.operands(call, "out_"))


@qonnx_operator("MultiThreshold")
def multi_threshold(call: Call) -> str:
    """out_scale * (number of thresholds that x reaches) + out_bias: a step function, as FINN writes quantizers."""
    _need(call, 2)
    call.attribute("out_dtype", "")  # follows from the rest
    table = np.sort(cast(Array, call.constant(1)).astype(np.float64), axis=-1)
    scale, bias, axis = call.attribute("out_scale", 1.0), call.attribute("out_bias", 0.0), _threshold_axis(call)
    if table.ndim != 2 or not table.size or scale <= 0:
        raise call.refusal(f"thresholds {list(table.shape)} with out_scale {scale} are not supported")
    low = bias / scale if float(bias / scale).is_integer() else 0.0
    form = smallest_integer(int(low), int(low) + table.shape[1])
    if form.bits > _WIDEST:
        raise call.refusal(f"results from {low:.3g} on do not fit {_WIDEST} bits")
    steps = call.emit(Threshold(form, int(low), axis), call.operand(0), call.real(table, "thresholds"), part="q")
    if low or not bias:
        return call.emit(Dequantize(), steps, call.real(scale, "scale"))
    return call.emit(Add(), call.emit(Dequantize(), steps, call.real(scale, "scale"), part="steps"),
                     call.real(bias, "bias"))


def _threshold_axis(call: Call) -> int:
    """The axis of the channels; QONNX takes tensors of other ranks than images and rows to have them last."""
    rank, layout = len(call.shape()), call.attribute("data_layout", "NCHW")
    if layout not in ("NCHW", "NHWC"):
        raise call.refusal(f"the data_layout '{layout}' is not supported", "There are NCHW and NHWC.")
    return 1 if rank in (2, 4) and (layout == "NCHW" or rank == 2) else rank - 1


def _pair(call: Call, x: str, op: Quantize, grid: Grid) -> str:
    """dequantize(quantize(x)), of a constant: dequantize of another one."""
    operands, data = grid.operands(call), call.builder.data(x)
    if data is None:
        integers = call.emit(op, x, *operands, part="q")
    else:
        parameters = [grid.scale[None], *([grid.zero[None]] if len(operands) > 1 else [])]
        integers = _stored(call, x, op.evaluate(data[None].astype(np.float64), *parameters)[0], cast(Integer, op.to))
    return call.emit(Dequantize(op.axis), integers, *operands)


def _bipolar(call: Call, grid: Grid) -> str:
    """The scale times 1 where x >= 0, else -1. The sign of x is that of x / scale."""
    if grid.zero.any():
        raise call.refusal("a one-bit quantizer has no zero point")
    x = call.operand(0)
    data, op = call.builder.data(x), Bipolar()
    integers = call.emit(op, x, part="q") if data is None else _stored(call, x, op.evaluate(data), Integer(True, 2))
    return call.emit(Dequantize(grid.axis), integers, *grid.operands(call))


def _stored(call: Call, x: str, integers: Array, form: Integer) -> str:
    """A quantized constant, named after the one that it is made of."""
    return call.builder.constant(integers, form, f"{call.builder.stem(x)}_q")


def _need(call: Call, count: int) -> None:
    if not all(call.has(i) for i in range(count)):
        raise call.refusal(f"{call.node.op_type} takes at least {count} operands", "Export the model again.")


def _mode(call: Call, default: str) -> str:
    named = call.attribute("rounding_mode", default).upper()
    if named not in _ROUNDING:
        raise call.refusal(f"the rounding mode {named} is not supported", f"There are {', '.join(_ROUNDING)}.")
    return _ROUNDING[named]


def _before_zero(call: Call, mode: str, zero: Array) -> str:
    """The mode that rounds before the zero point is added as `mode` does after it."""
    found = {shifted(mode, int(z)) for z in zero.reshape(-1)}
    if len(found) > 1 or None in found:
        raise call.refusal(f"rounding {mode} with zero point {zero.tolist()} is not supported",
                           "quantize symmetrically, or round to the nearest")
    return cast(str, found.pop())


def _bits(call: Call, index: int) -> int:
    """A bit width: one whole number for the whole tensor."""
    width = cast(Array, call.constant(index)).reshape(-1)
    if not width.size or (width != width[0]).any() or width[0] != np.rint(width[0]) or not 1 <= width[0] <= _WIDEST:
        raise call.refusal(f"the bit width {width.tolist()[:8]} is not one whole number from 1 to {_WIDEST}")
    return int(width[0])


def _grid(call: Call, scale_index: int, zero_index: int) -> Grid:
    scale, axis = _per_channel(call, scale_index)
    zero, zero_axis = _per_channel(call, zero_index)
    if (zero != np.rint(zero)).any() or np.abs(zero).max(initial=0) > 1 << _WIDEST:
        raise call.refusal("a zero point is not a whole number")
    if scale.size > 1 and zero.size > 1 and axis != zero_axis:
        raise call.refusal("scale and zero point run along different axes")
    return Grid(scale, zero.astype(np.int64), axis if scale.size > 1 else zero_axis)


def _per_channel(call: Call, index: int) -> tuple[Array, int]:
    """A parameter that broadcasts to x, as a scalar or as a vector along an axis; and that axis."""
    data, rank = cast(Array, call.constant(index)).astype(np.float64), len(call.shape())
    if data.size == 1:
        return data.reshape(()), 1
    shape = (1,) * (rank - data.ndim) + data.shape
    axes = [i for i, n in enumerate(shape) if n > 1]
    if len(shape) != rank or len(axes) != 1 or shape[axes[0]] != call.shape()[axes[0]]:
        raise call.refusal(f"a parameter of shape {list(data.shape)} is neither per tensor nor per channel")
    return data.reshape(-1), axes[0]
