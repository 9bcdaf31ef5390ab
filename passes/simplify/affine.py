"""Element-wise arithmetic with constants, read as a scale or a shift, and what it means per channel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from irc.graph import Constant, Node
from irc.interpreter import computed
from irc.operation import Op
from irc.ops.elementwise import Add, Div, Mul, Sub
from irc.types import Array, Float


@dataclass(frozen=True, slots=True)
class Affine:
    """`x * scale` or `x + shift`: exactly one of the two, with the name of the constant that it came from."""

    x: str
    constant: str
    scale: Array | None = None
    shift: Array | None = None

    @property
    def factor(self) -> Array:
        """The scale or the shift, whichever it is."""
        return self.scale if self.scale is not None else np.asarray(self.shift)


def affine(node: Node, constants: Mapping[str, Constant],
           exact: Mapping[str, Array] = MappingProxyType({})) -> Affine | None:
    """How a node is affine in its one operand that is not constant; None when it is not. `exact` are the values of
    constants that are not rounded to their format yet."""
    if not isinstance(node.op, Add | Sub | Mul | Div) or not isinstance(node.type.format, Float):
        return None
    a, b = node.operands
    if (a in constants) == (b in constants) or (a in constants and isinstance(node.op, Sub | Div)):
        return None
    x, name = (a, b) if b in constants else (b, a)
    found = _read(node.op, x, name, exact[name] if name in exact else computed(constants[name].data))
    return found if found and np.isfinite(found.factor).all() else None


def _read(op: Op, x: str, name: str, c: Array) -> Affine | None:
    match op:
        case Add():
            return Affine(x, name, shift=c)
        case Sub():
            return Affine(x, name, shift=-c)
        case Mul():
            return Affine(x, name, scale=c)
        case Div() if c.all():
            return Affine(x, name, scale=1 / c)
        case _:
            return None


def channels(c: Array, shape: tuple[int, ...], axis: int) -> Array | None:
    """`c`, broadcast over a tensor of `shape`, as a vector along `axis`; None when it varies along another axis."""
    if c.ndim > len(shape):
        return None
    padded = c.reshape((1,) * (len(shape) - c.ndim) + c.shape)
    if math.prod(padded.shape) != padded.shape[axis]:
        return None
    return np.broadcast_to(padded.reshape(-1), (shape[axis],))
