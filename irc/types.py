"""Number formats and the types of values: tensors (model and integer level) and streams (dataflow level)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from irc.rounding import HALF_EVEN, ROUNDING

Array: TypeAlias = npt.NDArray[Any]
IntArray: TypeAlias = npt.NDArray[np.int64]
Shape: TypeAlias = tuple[int, ...]


class Level(Enum):
    """The three levels of the IR, highest first."""

    MODEL = "model"
    INTEGER = "integer"
    DATAFLOW = "dataflow"


@dataclass(frozen=True, slots=True)
class Float:
    """IEEE float: `f32` or `f64`. The interpreter computes both in float64; `bits` says what storage rounds to."""

    bits: int = 32

    def __str__(self) -> str:
        return f"f{self.bits}"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32 if self.bits == 32 else np.float64)


@dataclass(frozen=True, slots=True)
class Integer:
    """Two's complement `s<bits>` or unsigned `u<bits>` integer, 1 to 64 bits."""

    signed: bool
    bits: int

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}"

    @property
    def minimum(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        return (1 << (self.bits - self.signed)) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int64)

    def holds(self, values: Array) -> bool:
        """Whether every element is representable."""
        return values.size == 0 or bool(self.minimum <= int(values.min()) and int(values.max()) <= self.maximum)


@dataclass(frozen=True, slots=True)
class PowerOfTwo:
    """`p<terms>e<exponent>`: a sum of at most `terms` signed powers of two 2^0 .. 2^exponent, or zero.

    A product with such a number is a sum of at most `terms` shifts. Stored as `terms` codes of one sign bit and
    enough bits for `exponent + 2` magnitudes (zero and 2^0..2^exponent). `d1e<exponent>` is a single power without
    zero, whose code needs a magnitude less.
    """

    terms: int
    exponent: int
    zero: bool = True

    def __str__(self) -> str:
        return f"{'p' if self.zero else 'd'}{self.terms}e{self.exponent}"

    @property
    def maximum(self) -> int:
        return self.terms << self.exponent

    @property
    def minimum(self) -> int:
        return -self.maximum

    @property
    def code_bits(self) -> int:
        """Width of one term's code: sign and magnitude index (0 is zero, k is 2^(k-1); without zero, k is 2^k)."""
        return 1 + (self.exponent + self.zero).bit_length()

    @property
    def bits(self) -> int:
        """Stored bits of one weight."""
        return self.terms * self.code_bits

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int64)

    def holds(self, values: Array) -> bool:
        """Whether every element is a sum of at most `terms` signed powers up to 2^exponent."""
        wide = values[~self._canonical(values)]
        return wide.size == 0 or bool(np.isin(wide, self.values()).all())

    def values(self) -> IntArray:
        """All representable integers, ascending."""
        sums = single = self._single()
        for _ in range(self.terms - 1):
            sums = np.unique(sums[:, None] + single[None, :])
        return sums

    def digits(self, values: Array) -> IntArray:
        """Signed-power decomposition: int array [..., terms] whose entries are 0 or +-2^e and sum to `values`.

        Canonical signed digits have the fewest terms of all (Reitwiesner 1960); where they need an exponent too many,
        terms are taken one by one, looking ahead in the table of representable values.
        """
        flat = np.asarray(values, np.int64).ravel()
        found = np.zeros((flat.size, self.terms), np.int64)
        canonical = self._canonical(flat)
        found[canonical] = self._canonical_terms(flat[canonical])
        if not canonical.all():
            found[~canonical] = self._searched_terms(flat[~canonical])
        return found.reshape(*np.shape(values), self.terms)

    def _single(self) -> IntArray:
        powers = np.int64(1) << np.arange(self.exponent + 1, dtype=np.int64)
        return np.concatenate((-powers[::-1], [0] * self.zero, powers))

    def _canonical(self, values: Array) -> npt.NDArray[np.bool_]:
        """Where the canonical signed digits fit: few enough, none above the largest exponent."""
        nonzero = signed_digit_mask(values)
        fits = (np.bitwise_count(nonzero) <= self.terms) & (nonzero >> (self.exponent + 1) == 0)
        fits &= (nonzero != 0) | self.zero
        return np.asarray(fits, np.bool_)

    def _canonical_terms(self, values: IntArray) -> IntArray:
        sign, rest, terms = np.where(values < 0, -1, 1), np.abs(values), []
        for _ in range(self.terms):
            lowest = np.bitwise_and(rest, np.negative(rest))
            term = np.where(rest & (lowest << 1), -lowest, lowest)
            terms.append(sign * term)
            rest = rest - term
        return np.stack(terms, axis=-1)

    def _searched_terms(self, values: IntArray) -> IntArray:
        single, rest, out = self._single(), values, []
        for left in range(self.terms - 1, -1, -1):
            reach = PowerOfTwo(left, self.exponent).values() if left else np.zeros(1, np.int64)
            fits = np.isin(rest[..., None] - single, reach)
            # the smallest magnitude of the remainder first, so that zero terms come last
            cost = np.where(fits, np.abs(rest[..., None] - single), np.iinfo(np.int64).max)
            term = single[np.argmin(cost, axis=-1)]
            out.append(term)
            rest = rest - term
        return np.stack(out, axis=-1)


def signed_digit_mask(values: Array) -> IntArray:
    """Bit e is set where the canonical signed-digit form of |value| (below 2^61) has a nonzero digit at 2^e."""
    magnitude = np.abs(np.asarray(values, np.int64))
    return np.asarray((magnitude ^ 3 * magnitude) >> 1, np.int64)


Format: TypeAlias = Float | Integer | PowerOfTwo
_FORMAT = re.compile(r"(?:(?P<float>f(?:32|64))|(?P<sign>[su])(?P<bits>\d+)|"
                     r"(?P<power>[pd])(?P<terms>\d+)e(?P<exponent>\d+))\Z")


def parse_format(text: str) -> Format:
    """Read `f32`, `s8`, `u4`, `p2e6`. Raises ValueError with a sentence for anything else."""
    match = _FORMAT.match(text)
    if match is None:
        raise ValueError(f"'{text}' is not a number format; formats are written f32, f64, s8, u4 or p2e6")
    if match["float"]:
        return Float(int(match["float"][1:]))
    if match["terms"]:
        pot = PowerOfTwo(int(match["terms"]), int(match["exponent"]), match["power"] == "p")
        if not (1 <= pot.terms <= (8 if pot.zero else 1) and pot.exponent <= 30):
            raise ValueError(f"'{text}' is out of range: 1 to 8 terms (1 without zero), exponents up to 30")
        return pot
    if not 1 <= int(match["bits"]) <= 64:
        raise ValueError(f"'{text}' is out of range: integers have 1 to 64 bits")
    return Integer(match["sign"] == "s", int(match["bits"]))


def smallest_integer(low: int, high: int) -> Integer:
    """The narrowest integer format that holds every value of [low, high]; unsigned when low >= 0."""
    if low >= 0:
        return Integer(False, max(1, int(high).bit_length()))
    return Integer(True, max(int(-low - 1).bit_length(), int(max(high, 0)).bit_length()) + 1)


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor: number format and static shape (batch included, bound to 1 by the reader)."""

    format: Format
    shape: Shape

    def __str__(self) -> str:
        return f"{self.format}[{', '.join(map(str, self.shape))}]"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class StreamType:
    """A channel between two actors: what travels on it in one frame, and the depth of its FIFO.

    A frame has `positions` (pixels, time steps) of `elements` each; a token carries `lanes` consecutive elements.
    The elements of a position are sent `repeat` times over (a folded matrix-vector product reads them again).
    `depth` is the capacity of the FIFO in tokens, those in flight counted.
    """

    format: Integer
    positions: int
    elements: int
    lanes: int = 1
    repeat: int = 1
    depth: int = 2

    def __str__(self) -> str:
        repeat = f" repeat={self.repeat}" if self.repeat != 1 else ""
        return f"stream {self.format}[{self.positions}, {self.elements}] lanes={self.lanes}{repeat} depth={self.depth}"

    @property
    def blocks(self) -> int:
        """Tokens that carry one position once."""
        return self.elements // self.lanes

    @property
    def tokens(self) -> int:
        """Tokens a frame."""
        return self.positions * self.repeat * self.blocks

    @property
    def width(self) -> int:
        """Bits of a token."""
        return self.lanes * self.format.bits


Type: TypeAlias = TensorType | StreamType


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the integers of a port mean: `real = scale * (q - zero)`, scale per tensor or along `axis`.

    Reals become integers by rounding to the nearest (half_even), or as `rounding` says: half_odd, floor, ceil. Where
    integers only leave (outputs), `zero` may be any real: the constant part of what is added behind the last layer.
    """

    scale: tuple[float, ...]
    zero: float = 0
    axis: int = 1
    rounding: str = HALF_EVEN

    def _scale(self, rank: int) -> Array:
        scale = np.asarray(self.scale, np.float64)
        if scale.size == 1:
            return scale.reshape(())
        return scale.reshape(tuple(-1 if i == self.axis else 1 for i in range(rank)))

    def decode(self, integers: Array) -> Array:
        """Integers [samples, *shape] to reals."""
        return np.asarray((integers - self.zero) * self._scale(integers.ndim - 1), np.float64)

    def encode(self, reals: Array, format: Integer) -> IntArray:
        """Reals [samples, *shape] to integers: rounded, clipped to `format`."""
        steps = ROUNDING[self.rounding](np.asarray(reals, np.float64) / self._scale(reals.ndim - 1)) + self.zero
        return np.asarray(np.clip(steps, format.minimum, format.maximum), np.int64)
