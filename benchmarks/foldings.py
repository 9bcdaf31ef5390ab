"""How far each model is folded: one multiplier a layer, a middle, and the fastest design that is worth building."""

from __future__ import annotations

from workloads import QUANTIZE

FOLDINGS = ("smallest", "middle", "largest")
SMALLEST = "parallelize{interval=10000000}"  # no layer is that slow: one multiplier each
MIDDLE = "parallelize{multipliers=64}"
ONE_PIXEL_A_CYCLE = "parallelize{interval=784}"  # which no folding of a network on 28 x 28 pixels beats
LARGEST = {"sentiment_cnn": "parallelize{interval=2000}"}  # about 1,600 multipliers, as many as a large FPGA has


def foldings(model: str) -> dict[str, str]:
    """The pipelines of a model, by the name of the folding."""
    largest = next((text for prefix, text in LARGEST.items() if model.startswith(prefix)), ONE_PIXEL_A_CYCLE)
    return {name: f"{QUANTIZE}, {text}"
            for name, text in zip(FOLDINGS, (SMALLEST, MIDDLE, largest), strict=True)}
