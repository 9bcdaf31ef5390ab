"""Elementary functions of one real, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from irc.operation import MODEL, Op, operation
from irc.types import Array, Float, Integer, TensorType


def require_real(x: TensorType, name: str) -> TensorType:
    """`x`, or TypeError when it is not real."""
    if not isinstance(x.format, Float):
        raise TypeError(f"{name} takes reals, not {x}")
    return x


class Elementary(Op):
    """Shared rule: a real for a real. Outside its domain a function is NaN or infinite, as IEEE 754 says."""

    __slots__ = ()
    function: ClassVar[Callable[..., Array]]

    def infer(self, x: TensorType) -> TensorType:
        return require_real(x, self.name)

    def evaluate(self, x: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(type(self).function(x))


def _erf(x: Array) -> Array:
    """The integral itself, by Gauss-Legendre quadrature over 0 to x; beyond 6 it is 1 to the last bit."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    end = np.clip(x, -6, 6)
    area = np.zeros_like(end)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        area += weight * np.exp(-np.square(end * node))
    return np.where(np.isnan(x), x, area * end * (2 / np.sqrt(np.pi)))


def _single(x: Array) -> Array:
    return x.astype(np.float32).astype(np.float64)


def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(0, x))


@operation("exp", "x", levels=MODEL)
class Exp(Elementary):
    """e to the power of x."""

    function = np.exp


@operation("log", "x", levels=MODEL)
class Log(Elementary):
    """Natural logarithm."""

    function = np.log


@operation("sqrt", "x", levels=MODEL)
class Sqrt(Elementary):
    """Square root."""

    function = np.sqrt


@operation("erf", "x", levels=MODEL)
class Erf(Elementary):
    """Error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""

    function = _erf


@operation("softplus", "x", levels=MODEL)
class Softplus(Elementary):
    """log(1 + exp(x))."""

    function = _softplus


@operation("sin", "x", levels=MODEL)
class Sin(Elementary):
    """Sine."""

    function = np.sin


@operation("cos", "x", levels=MODEL)
class Cos(Elementary):
    """Cosine."""

    function = np.cos


@operation("tan", "x", levels=MODEL)
class Tan(Elementary):
    """Tangent."""

    function = np.tan


@operation("asin", "x", levels=MODEL)
class Asin(Elementary):
    """Inverse sine."""

    function = np.arcsin


@operation("acos", "x", levels=MODEL)
class Acos(Elementary):
    """Inverse cosine."""

    function = np.arccos


@operation("atan", "x", levels=MODEL)
class Atan(Elementary):
    """Inverse tangent."""

    function = np.arctan


@operation("sinh", "x", levels=MODEL)
class Sinh(Elementary):
    """Hyperbolic sine."""

    function = np.sinh


@operation("cosh", "x", levels=MODEL)
class Cosh(Elementary):
    """Hyperbolic cosine."""

    function = np.cosh


@operation("asinh", "x", levels=MODEL)
class Asinh(Elementary):
    """Inverse hyperbolic sine."""

    function = np.arcsinh


@operation("acosh", "x", levels=MODEL)
class Acosh(Elementary):
    """Inverse hyperbolic cosine."""

    function = np.arccosh


@operation("atanh", "x", levels=MODEL)
class Atanh(Elementary):
    """Inverse hyperbolic tangent."""

    function = np.arctanh


@operation("floor", "x", levels=MODEL)
class Floor(Elementary):
    """The largest whole number that is not above x."""

    function = np.floor


@operation("ceil", "x", levels=MODEL)
class Ceil(Elementary):
    """The smallest whole number that is not below x."""

    function = np.ceil


@operation("round", "x", levels=MODEL)
class Round(Elementary):
    """The nearest whole number, ties to even."""

    function = np.rint


@operation("single", "x", levels=MODEL)
class Single(Elementary):
    """x in single precision: rounded to 24 bits."""

    function = _single


@operation("is_nan", "x", levels=MODEL)
class IsNaN(Op):
    """Whether x is no number."""

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(Integer(False, 1), require_real(x, self.name).shape)

    def evaluate(self, x: Array) -> Array:
        return np.isnan(x).astype(np.int64)
