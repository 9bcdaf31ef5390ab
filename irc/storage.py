"""What a network takes to store: the exact bits of every constant in the best of these encodings.

An encoding says where the values of a matrix [rows, columns] are that it stores, in row-major order:

- `dense`: all of them;
- `bitmask`: one bit a place, then the values that are not zero;
- `relative g`: with every value the number of zeros since the one before, in g bits; where these are 2^g or more, a
  zero is stored in between (Han et al. 2016, "Deep Compression");
- `N:M`: of every M places in a row N values with their offsets, log2 M bits each; 1:M is what BMWM leaves;
- `darb`: of every b places in a row one value with its offset, b a power of two from 1 to 64 of its own for each row,
  named in 3 bits (Ren et al. 2020, "DARB");
- `block RxC`: one bit a block, then all values of the blocks that are not zero.

The values are stored as their format says or, `+ codebook`, as indices into a table of the different ones, which is
counted. Which encoding a constant has is known and costs nothing. Scales, zero points and biases are constants like all
others. `multiple`: the scales of a bias are those of the weights times one number, which is all that is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from irc.codebook import lookup_of
from irc.graph import Constant, Graph
from irc.ops.linear import MatMul
from irc.ops.quantization import Dequantize
from irc.types import Array, Float

_SIZES = (1, 2, 4, 8, 16)  # sides of blocks
_WINDOWS = (2, 4, 8, 16, 32, 64)
_GAPS = range(1, 9)  # bits of a relative index
_ROW_BITS = 3  # which window a row has


@dataclass(frozen=True, slots=True)
class Stored:
    """A constant in its best encoding. `bits` are all that it takes, `dense_bits` those of its format alone."""

    name: str
    shape: tuple[int, ...]
    format: str
    nonzeros: int
    encoding: str
    bits: int
    dense_bits: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Which places of a matrix are stored: so many values, and so many bits that say where they are."""

    name: str
    values: int
    index_bits: int


def stored(graph: Graph) -> list[Stored]:
    """Every constant that the graph reads, in its best encoding, in the order of the graph."""
    shown = {port.value for port in graph.outputs}
    return [_stored(graph, c) for c in graph.constants.values() if graph.users[c.name] or c.name in shown]


def stored_bits(graph: Graph) -> int:
    """Bits of all constants together."""
    return sum(row.bits for row in stored(graph))


def stored_fraction(graph: Graph, original: Graph) -> float:
    """The bits of a graph's constants, relative to those of another one's as float32."""
    return stored_bits(graph) / sum(32 * math.prod(row.shape) for row in stored(original))


def _stored(graph: Graph, constant: Constant) -> Stored:
    matrix, width = _matrix(graph, constant), constant.type.format.bits
    encoding, bits = min(encodings(matrix, width), key=lambda found: found[1])
    if bits > width and _is_multiple(graph, constant):
        encoding, bits = "multiple", width
    return Stored(constant.name, constant.type.shape, str(constant.type.format), int(np.count_nonzero(matrix)),
                  encoding, bits, matrix.size * width)


def _matrix(graph: Graph, constant: Constant) -> Array:
    """The constant with the weights of one output in a row; of indices into a codebook, the values they stand for."""
    values = list(_forms(graph, constant.name))
    picked = [graph.constants[node.operands[0]].data[constant.data] for node in graph.users[constant.name]
              if lookup_of(graph, node.name) is node and node.operands[1] == constant.name]
    data = np.asarray(picked[0] if picked else constant.data)
    if data.ndim < 2:
        return data.reshape(1, -1)
    turned = any(isinstance(node.op, MatMul) and node.operands[1] == value for value in values
                 for node in graph.users[value])
    return data.T if turned and data.ndim == 2 else data.reshape(len(data), -1)


def _forms(graph: Graph, name: str) -> Iterator[str]:
    """A constant, and the values that are looked up by it or dequantized from it."""
    yield name
    for node in graph.users[name]:
        if (isinstance(node.op, Dequantize) and node.operands[0] == name) or lookup_of(graph, node.name) is node:
            yield from _forms(graph, node.name)


def _is_multiple(graph: Graph, constant: Constant) -> bool:
    """Whether these are scales of a dequantization, and those of another one times the same number."""
    if not isinstance(constant.type.format, Float) or constant.data.ndim != 1:
        return False
    scales = [node.operands[1] for node in graph.nodes if isinstance(node.op, Dequantize)]
    others = [graph.constants[name] for name in scales if name in graph.constants and name != constant.name]
    mine = constant.data.astype(np.float64)
    return constant.name in scales and any(
        other.data.shape == mine.shape and other.type.format.bits < constant.type.format.bits and other.data.all()
        and len(np.unique(mine / other.data)) == 1 for other in others)


def encodings(matrix: Array, width: int) -> Iterator[tuple[str, int]]:
    """Every encoding of a matrix of values of `width` bits: its name, and all bits that it takes."""
    nonzeros = np.count_nonzero(matrix)
    different = len(np.unique(matrix[matrix != 0]))
    for layout in layouts(matrix != 0):
        yield layout.name, layout.index_bits + layout.values * width
        entries = different + int(layout.values > nonzeros)  # zeros that are stored have an entry too
        index = (entries - 1).bit_length() if entries else 0
        yield f"{layout.name} + codebook", layout.index_bits + layout.values * index + entries * width


def layouts(used: Array) -> Iterator[Layout]:
    """Every way to say where the values are that `used` [rows, columns] marks."""
    yield Layout("dense", used.size, 0)
    if used.all():
        return
    yield Layout("bitmask", int(used.sum()), used.size)
    yield from _relative(used)
    yield from _windows(used)
    yield _darb(used)
    for rows, columns in product(_SIZES, repeat=2):
        if rows * columns > 1 and rows <= used.shape[0] and columns <= used.shape[1]:
            yield _blocks(used, rows, columns)


def _relative(used: Array) -> Iterator[Layout]:
    zeros = np.diff(np.flatnonzero(used), prepend=-1) - 1
    for bits in _GAPS:
        values = len(zeros) + int((zeros >> bits).sum())
        yield Layout(f"relative {bits}", values, values * bits)


def _per_window(used: Array, size: int) -> Array:
    """How many places each window of a row uses, [rows, windows]."""
    return np.add.reduceat(used.astype(np.int64), np.arange(0, used.shape[1], size), axis=1)


def _windows(used: Array) -> Iterator[Layout]:
    rows, columns = used.shape
    for size in _WINDOWS:
        kept = int(_per_window(used, size).max(initial=0)) if size <= columns else size
        if 0 < kept < size:
            values = rows * (columns // size * kept + min(kept, columns % size))
            yield Layout(f"{kept}:{size}", values, values * (size.bit_length() - 1))


def _darb(used: Array) -> Layout:
    rows, columns = used.shape
    exponents = np.zeros(rows, np.int64)
    for size in _WINDOWS:
        single = _per_window(used, size).max(axis=1, initial=0) <= 1
        exponents[single] = size.bit_length() - 1
    values = -(-columns // 2**exponents)
    return Layout("darb", int(values.sum()), int((values * exponents).sum()) + _ROW_BITS * rows)


def _blocks(used: Array, rows: int, columns: int) -> Layout:
    starts = [np.arange(0, size, step) for size, step in zip(used.shape, (rows, columns), strict=True)]
    any_used = np.logical_or.reduceat(np.logical_or.reduceat(used, starts[0], axis=0), starts[1], axis=1)
    sizes = [np.diff(s, append=n) for s, n in zip(starts, used.shape, strict=True)]
    return Layout(f"block {rows}x{columns}", int((any_used * np.outer(*sizes)).sum()), any_used.size)
