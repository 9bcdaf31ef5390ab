"""Stored bits, counted by encoders that write the bits down one by one."""

from __future__ import annotations

import networks
import numpy as np
import pytest

from irc.ops.linear import MatMul
from irc.ops.shape import Gather
from irc.pipeline.step import Context
from irc.storage import encodings, stored, stored_bits, stored_fraction
from irc.types import Array, Integer
from passes.prune.prune import Prune
from passes.quantize.quantize import Quantize

WIDTH = 5


def digits(value: int, bits: int) -> str:
    return f"{int(value):0{bits}b}" if bits else ""


def bitmask(matrix: Array) -> str:
    mask = "".join("1" if v else "0" for v in matrix.reshape(-1))
    return mask + "".join(digits(v, WIDTH) for v in matrix.reshape(-1) if v)


def relative(matrix: Array, bits: int) -> str:
    written, gap = "", 0
    for value in matrix.reshape(-1):
        if value or gap == 2**bits - 1:
            written += digits(gap, bits) + digits(value, WIDTH)
            gap = 0
        else:
            gap += 1
    return written


def windows(row: Array, kept: int, size: int) -> str:
    written = ""
    for start in range(0, len(row), size):
        places = [i for i, v in enumerate(row[start : start + size]) if v]
        assert len(places) <= kept
        slots = min(kept, len(row) - start)
        chosen = (places + [i for i in range(size) if i not in places])[:slots]
        written += "".join(digits(i, size.bit_length() - 1) + digits(row[start:][i], WIDTH) for i in chosen)
    return written


def darb(matrix: Array) -> str:
    written = ""
    for row in matrix:
        fits = [b for b in (1, 2, 4, 8, 16, 32, 64)
                if all(bool(np.count_nonzero(row[i : i + b]) <= 1) for i in range(0, len(row), b))]
        written += digits(max(fits).bit_length() - 1, 3) + windows(row, 1, max(fits))
    return written


def blocks(matrix: Array, rows: int, columns: int) -> str:
    written = ""
    for i in range(0, len(matrix), rows):
        for j in range(0, matrix.shape[1], columns):
            block = matrix[i : i + rows, j : j + columns]
            written += "1" + "".join(digits(v, WIDTH) for v in block.reshape(-1)) if block.any() else "0"
    return written


def sparse(seed: int, density: float, rows: int = 7, columns: int = 37) -> Array:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 31, (rows, columns)) * (rng.random((rows, columns)) < density)


@pytest.mark.parametrize("density", [0.02, 0.1, 0.4, 0.9])
def test_counts_are_the_bits_that_an_encoder_writes(density: float) -> None:
    matrix = sparse(1, density)
    found = dict(encodings(matrix, WIDTH))
    assert found["dense"] == matrix.size * WIDTH
    assert found["bitmask"] == len(bitmask(matrix))
    assert found["darb"] == len(darb(matrix))
    for rows, columns in ((1, 4), (4, 1), (2, 2), (4, 16)):
        assert found[f"block {rows}x{columns}"] == len(blocks(matrix, rows, columns))


@pytest.mark.parametrize("bits", range(1, 9))
def test_long_gaps_are_bridged_by_zeros(bits: int) -> None:
    matrix = sparse(2, 0.05)
    matrix[-1] = 0
    written = relative(matrix, bits)
    tail = matrix.size - 1 - np.flatnonzero(matrix)[-1]  # nothing needs to be written for the zeros at the end
    unneeded = tail // 2**bits * (bits + WIDTH)
    assert dict(encodings(matrix, WIDTH))[f"relative {bits}"] == len(written) - unneeded


@pytest.mark.parametrize("size", [2, 4, 8, 16, 32])
def test_windows_hold_as_many_values_as_the_fullest(size: int) -> None:
    matrix = sparse(3, 0.15)
    kept = max(int(np.count_nonzero(row[i : i + size])) for row in matrix for i in range(0, len(row), size))
    found = dict(encodings(matrix, WIDTH))
    if kept < size:
        assert found[f"{kept}:{size}"] == sum(len(windows(row, kept, size)) for row in matrix)


def test_a_codebook_counts_its_table_and_the_zero_that_is_stored() -> None:
    matrix = np.array([[0, 9, 9, 4], [4, 9, 0, 21]])
    found = dict(encodings(matrix, WIDTH))
    assert found["dense + codebook"] == 8 * 2 + 4 * WIDTH  # 0, 4, 9, 21
    assert found["bitmask + codebook"] == 8 + 6 * 2 + 3 * WIDTH  # 4, 9, 21


def test_what_has_no_zeros_or_nothing_else() -> None:
    assert dict(encodings(np.ones((3, 4), np.int64), WIDTH)) == {"dense": 60, "dense + codebook": 5}
    assert min(bits for _, bits in encodings(np.zeros((3, 4)), WIDTH)) == 0  # a relative index of nothing
    assert min(bits for _, bits in encodings(np.zeros((1, 0)), WIDTH)) == 0


def test_rows_are_outputs_also_where_the_constant_is_turned() -> None:
    net = networks.Network()
    weight = np.zeros((16, 8))
    offsets = np.random.default_rng(0).integers(0, 4, (4, 8))
    weight[np.arange(0, 16, 4)[:, None] + offsets, np.arange(8)] = np.random.default_rng(1).normal(size=(4, 8))
    graph = net.graph(net.op("y", MatMul(), net.input("x", (1, 16)), net.constant("w", weight)))
    (row,) = stored(graph)  # of every four inputs of an output there is one
    assert (row.encoding, row.bits) == ("1:4", 32 * (32 + 2))


def test_scales_zero_points_and_biases_count() -> None:
    graph = networks.small_cnn()
    context = Context(calibration=networks.data_for(graph))
    quantized = Quantize().run(graph, context)
    rows = {row.name: row for row in stored(quantized)}
    assert rows.keys() == quantized.constants.keys() & {o for node in quantized.nodes for o in node.operands}
    assert rows["w1_q"].bits == graph.constants["w1"].data.size * 8
    assert rows["w1_scale"].bits == 4 * 32
    assert rows["b1_scale"].encoding == "multiple"  # of the weights' scales, by the scale of the input
    assert stored_bits(quantized) == sum(row.bits for row in rows.values())


def test_pruned_networks_take_less_than_dense_ones() -> None:
    graph = networks.small_cnn()
    assert stored_fraction(graph, graph) == 1
    pruned = [stored_fraction(Prune(sparsity=s).run(graph, Context()), graph) for s in (0.25, 0.5, 0.75)]
    assert pruned == sorted(pruned, reverse=True)
    assert pruned[0] < 0.85


def test_indices_of_shared_weights_leave_zeros_out() -> None:
    net = networks.Network()
    book = net.constant("book", np.array([-1.0, 0.0, 1.0, 2.0]))
    index = np.random.default_rng(0).choice(4, (20, 30), p=[0.05, 0.85, 0.05, 0.05])
    weight = net.op("w", Gather(), book, net.constant("index", index, Integer(False, 2)))
    graph = net.graph(net.op("y", MatMul(), net.input("x", (1, 20)), weight))
    rows = {row.name: row for row in stored(graph)}
    assert rows["book"].dense_bits == 4 * 32
    assert rows["index"].nonzeros == (index != 1).sum()
    assert rows["index"].bits < 600 + 2 * rows["index"].nonzeros  # of a bitmask
