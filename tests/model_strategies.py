"""Random valid ONNX models, as hypothesis strategies: they shrink to the smallest model that fails."""

from __future__ import annotations

from math import prod

import layer_strategies
import onnx
import shape_strategies
from growing_models import STEPS, Draw, Growing
from hypothesis import strategies as st
from onnx import ModelProto

LARGEST = 5_000  # elements of a value
OPSETS = (7, min(26, onnx.defs.onnx_opset_version()))  # the oldest and the newest that ONNX Runtime runs


@st.composite
def models(draw: Draw, longest: int = 8) -> ModelProto:
    """A model of one input `x`: [1, columns], or [1, channels] with one to three more axes."""
    room = draw(st.integers(0, 3))
    shape = (1, draw(st.integers(1, 4)), *(draw(st.integers(1, 9 if room < 3 else 4)) for _ in range(room)))
    g = Growing(draw, {"x": shape}, draw(st.integers(*OPSETS)))
    for _ in range(draw(st.integers(1, longest))):
        if prod(g.shape) < LARGEST:
            draw(st.sampled_from([step for step in STEPS if step.fits(g)])).grow(g)
    if not g.nodes:
        g.node("Relu", g.shape)
    return g.model()


@st.composite
def networks(draw: Draw) -> ModelProto:
    """What becomes hardware: convolutions, rectifiers, pooling, then a dense layer."""
    shape = (1, draw(st.integers(1, 3)), draw(st.integers(3, 8)), draw(st.integers(3, 8)))
    g = Growing(draw, {"x": shape})
    for _ in range(draw(st.integers(1, 3))):
        sizes, window = layer_strategies.geometry(g, dilated=False)
        filters = draw(st.integers(1, 4))
        kernel = g.weight(filters, g.shape[1], *window["kernel_shape"])
        g.node("Conv", (1, filters, *sizes), kernel, g.weight(filters), **window)
        g.node("Relu", g.shape)
    shape_strategies.flatten(g)
    g.node("Gemm", (1, 3), g.weight(3, g.shape[1]), g.weight(3), transB=1)
    return g.model()
