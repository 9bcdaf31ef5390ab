"""Rounding modes against the fractions that define them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from irc.ops.quantization import Quantize
from irc.rounding import ROUNDING, edge, shifted
from irc.types import Encoding, Float, Integer, TensorType

QUARTERS = [Fraction(n, 4) for n in range(-16, 17)]


@pytest.mark.parametrize("mode", ROUNDING)
def test_edges_say_where_each_integer_is_first_reached(mode):
    for x in QUARTERS:
        rounded = int(ROUNDING[mode](np.array([float(x)]))[0])
        for j in range(-5, 6):
            at, included = edge(mode, j)
            assert (x >= at if included else x > at) == (rounded >= j), (mode, x, j)


@pytest.mark.parametrize("mode", ROUNDING)
@pytest.mark.parametrize("by", [-3, 0, 1, 2])
def test_a_mode_shifted_by_an_integer(mode, by):
    x = np.array([float(q) for q in QUARTERS])
    found = shifted(mode, by)
    if found is not None:
        assert np.array_equal(ROUNDING[found](x), ROUNDING[mode](x + by) - by)
    else:
        assert mode.endswith("zero") and by


def test_narrow_leaves_out_the_smallest_of_signed_and_the_largest_of_unsigned():
    x, one = np.array([[-300.0, 300.0]]), np.ones(1)
    assert Quantize(Integer(True, 8), narrow=True).evaluate(x, one).tolist() == [[-127, 127]]
    assert Quantize(Integer(False, 8), narrow=True).evaluate(x, one).tolist() == [[0, 254]]


def test_an_unknown_rounding_is_a_type_error():
    kind = TensorType(Float(32), (2,))
    with pytest.raises(TypeError, match="there is no rounding 'up'"):
        Quantize(Integer(True, 8), rounding="up").infer(kind, TensorType(Float(32), ()))


def test_an_encoding_rounds_as_it_says():
    assert Encoding((0.5,), 1, rounding="floor").encode(np.array([[0.49, 0.5, -0.1]]), Integer(True, 8)).tolist() == [
        [1, 2, 0]]
