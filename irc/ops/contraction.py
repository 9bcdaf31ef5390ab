"""Sums over several axes of several tensors, and linear maps along one axis; copies along axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc.operation import ARITHMETIC, MODEL, Op, operation, same_format
from irc.ops.bits import WIDEST
from irc.ops.elementary import require_real
from irc.ops.index import together
from irc.types import Array, Float, Shape, TensorType


@operation("broadcast_to", "x", levels=ARITHMETIC)
class BroadcastTo(Op):
    """x repeated along its axes of size 1, and along new first axes, to `shape`."""

    shape: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if np.broadcast_shapes(x.shape, self.shape) != self.shape:
            raise TypeError(f"{x} cannot be repeated to {list(self.shape)}")
        return TensorType(x.format, self.shape)

    def evaluate(self, x: Array) -> Array:
        own = x.reshape(len(x), *(1,) * (len(self.shape) + 1 - x.ndim), *x.shape[1:])
        return np.broadcast_to(own, (len(x), *self.shape))


@operation("einsum", "inputs*", levels=MODEL)
class Einsum(Op):
    """Sum of products over the letters that do not appear in the result, as `numpy.einsum`: "ij,jk->ik"."""

    equation: str

    def terms(self) -> tuple[list[str], str]:
        """Letters of the operands, letters of the result."""
        left, _, right = self.equation.partition("->")
        return left.split(","), right

    def sizes(self, shapes: Sequence[Shape]) -> dict[str, int]:
        """The size of each letter."""
        pairs = zip(self.terms()[0], shapes, strict=True)
        return {letter: size for term, shape in pairs for letter, size in zip(term, shape, strict=True)}

    def infer(self, *inputs: TensorType) -> TensorType:
        same_format(*inputs)
        terms, result = self.terms()
        sizes: dict[str, int] = {}
        for term, operand in zip(terms, inputs, strict=True):
            if len(term) != len(operand.shape):
                raise TypeError(f"'{term}' does not name the axes of {operand}")
            for letter, size in zip(term, operand.shape, strict=True):
                if sizes.setdefault(letter, size) != size:
                    raise TypeError(f"the axis '{letter}' has both {sizes[letter]} and {size} elements")
        form = max((t.format for t in inputs), key=lambda f: f.bits)
        return TensorType(form if isinstance(form, Float) else WIDEST, tuple(sizes[letter] for letter in result))

    def evaluate(self, *inputs: Array) -> Array:
        terms, result = self.terms()
        free = next(c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgfedcba" if c not in self.equation)
        equation = ",".join(free + term for term in terms)
        return np.asarray(np.einsum(f"{equation}->{free}{result}", *together(*inputs)))


@operation("linear_map", "x matrix", levels=MODEL)
class LinearMap(Op):
    """A matrix [m, n] applied along `axis` of x, which has n elements there: resampling, a Fourier transform."""

    axis: int

    def infer(self, x: TensorType, matrix: TensorType) -> TensorType:
        same_format(x, matrix)
        if not 0 <= self.axis < len(x.shape) or len(matrix.shape) != 2 or matrix.shape[1] != x.shape[self.axis]:
            raise TypeError(f"the matrix {matrix} does not fit axis {self.axis} of {x}")
        return TensorType(x.format, (*x.shape[: self.axis], matrix.shape[0], *x.shape[self.axis + 1 :]))

    def evaluate(self, x: Array, matrix: Array) -> Array:
        x, matrix = together(x, matrix)
        moved = np.moveaxis(x, self.axis + 1, -1)
        spread = matrix.reshape(len(matrix), *(1,) * (moved.ndim - 3), *matrix.shape[1:])
        flat = moved if moved.ndim > 2 else moved[:, None]
        out = np.matmul(flat, np.swapaxes(spread, -1, -2))
        return np.asarray(np.moveaxis(out if moved.ndim > 2 else out[:, 0], -1, self.axis + 1))


@operation("det", "x", levels=MODEL)
class Det(Op):
    """Determinant of the square matrices in the last two axes."""

    def infer(self, x: TensorType) -> TensorType:
        if len(require_real(x, self.name).shape) < 2 or x.shape[-1] != x.shape[-2]:
            raise TypeError(f"{x} holds no square matrices")
        return TensorType(x.format, x.shape[:-2])

    def evaluate(self, x: Array) -> Array:
        return np.asarray(np.linalg.det(x))
