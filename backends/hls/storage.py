"""What C stores and computes in: the stdint types of formats and ranges, literals, arrays and ROMs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from irc import expression as ex
from irc.graph import Constant
from irc.types import Array, Float, Integer, PowerOfTwo

WORDS = (8, 16, 32, 64)
INT32, INT64 = "int32_t", "int64_t"


def stored_type(form: Integer) -> str:
    """The smallest stdint type that holds a format."""
    bits = next(word for word in WORDS if form.bits <= word)
    return f"{'' if form.signed else 'u'}int{bits}_t"


def stored_dtype(form: Integer) -> np.dtype[np.generic]:
    """The same type for NumPy."""
    return np.dtype(stored_type(form).removesuffix("_t"))


def computed_type(*bounds: int) -> str:
    """The signed type that arithmetic on a range is done in. Raises OverflowError when C has none."""
    low, high = min(bounds), max(bounds)
    for bits, name in ((32, INT32), (64, INT64)):
        if low >= -(1 << (bits - 1)) and high < 1 << (bits - 1):
            return name
    raise OverflowError(f"a value in [{low}, {high}] does not fit 64 signed bits")


def converted(text: str, source: str, target: str) -> str:
    """`text` of type `source` as a `target`: with a cast unless they are the same."""
    return text if source == target else f"({target}){text}"


def widest(*types: str) -> str:
    return INT64 if INT64 in types else INT32


def literal(value: int) -> str:
    """An integer constant of any size up to 64 bits."""
    if value == -(1 << 63):
        return "(-INT64_C(9223372036854775807) - 1)"
    text = str(abs(value)) if abs(value) < 1 << 31 else f"INT64_C({abs(value)})"
    return f"(-{text})" if value < 0 else text


@dataclass(frozen=True, slots=True)
class Buffer:
    """One frame of a channel in memory: a flat array in token order."""

    name: str
    format: Integer
    size: int

    @property
    def type(self) -> str:
        return stored_type(self.format)

    def parameter(self, name: str, *, readonly: bool = False) -> str:
        """This array as a parameter of a function."""
        return f"{'const ' if readonly else ''}{self.type} {name}[{self.size}]"


@dataclass(frozen=True, slots=True)
class Rom:
    """A constant table. Weights in a power-of-two format are stored as codes."""

    name: str
    constant: Constant

    @property
    def format(self) -> Integer:
        """Format of the stored words."""
        form = self.constant.type.format
        assert not isinstance(form, Float)
        return Integer(False, form.bits) if isinstance(form, PowerOfTwo) else form

    @property
    def words(self) -> Array:
        form = self.constant.type.format
        return ex.encode_powers(self.constant.data, form) if isinstance(form, PowerOfTwo) else self.constant.data

    def definition(self) -> Iterable[str]:
        """The lines of the table."""
        shape = "".join(f"[{size}]" for size in self.constant.type.shape)
        yield f"static const {stored_type(self.format)} {self.name}{shape} ="
        yield from _initializer(self.words)


PER_LINE = 24


def _initializer(words: Array) -> Iterable[str]:
    """Nested braces, some words a line."""
    if words.ndim > 1:
        rows = ["\n".join(_initializer(row)).removesuffix(";") for row in words]
        yield "{\n" + ",\n".join(rows) + "\n};"
        return
    texts = [literal(word) for word in words.tolist()]
    lines = [", ".join(texts[at : at + PER_LINE]) for at in range(0, len(texts), PER_LINE)]
    yield "{" + ",\n ".join(lines) + "};"
