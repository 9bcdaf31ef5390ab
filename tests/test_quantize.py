"""Post-training quantization: scales, placement of quantizers, options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networks
import numpy as np
import pytest

from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.ops.elementwise import Add
from irc.ops.linear import MatMul
from irc.ops.pooling import ArgMax
from irc.ops.quantization import Dequantize
from irc.ops.quantization import Quantize as QuantizeOp
from irc.pipeline.step import Context
from irc.types import Integer, parse_format
from passes.quantize.calibration import Histogram, fit_minmax, fit_mse, fit_percentile
from passes.quantize.quantize import Quantize
from passes.rounding.alphabet import alphabet
from passes.rounding.scales import Grid, best_scale, largest_scale, odd_part, round_to, snap

S4, U8, S8 = Integer(True, 4), Integer(False, 8), Integer(True, 8)
GRAPHS = [networks.small_cnn, networks.branches, networks.residual, networks.embedding]


def quantized(graph: Graph, **options: Any) -> Graph:
    found = Quantize(**options).run(graph, Context(calibration=networks.data_for(graph)))
    found.verify()
    return found


def signal_to_noise(graph: Graph, changed: Graph) -> float:
    data = networks.data_for(graph, seed=7)
    name = graph.outputs[0].name
    want, have = evaluate(graph, data)[name], evaluate(changed, data)[name]
    return float(np.square(want).sum() / np.square(want - have).sum())


def quantizers(graph: Graph) -> list[str]:
    return [node.operands[0] for node in graph.nodes if isinstance(node.op, QuantizeOp)]


@pytest.mark.parametrize("build", GRAPHS)
def test_eight_bits_keep_the_outputs(build: Callable[[], Graph]) -> None:
    graph = build()
    assert signal_to_noise(graph, quantized(graph)) > 500


@pytest.mark.parametrize("options", [
    {"calibration": "minmax"}, {"calibration": "percentile"}, {"scales": "pot"}, {"granularity": "tensor"},
    {"weight_scale": "max"}, {"activations": S8}, {"weights": Integer(True, 16), "activations": Integer(False, 16)},
])
def test_every_option_gives_a_usable_network(options: dict[str, Any]) -> None:
    graph = networks.small_cnn()
    assert signal_to_noise(graph, quantized(graph, **options)) > 200


def test_more_bits_are_closer() -> None:
    graph = networks.small_cnn()
    noise = [signal_to_noise(graph, quantized(graph, weights=Integer(True, bits))) for bits in (2, 4, 6, 8)]
    assert noise == sorted(noise)


def test_weights_are_integers_of_the_format() -> None:
    graph = quantized(networks.small_cnn(), weights=S4)
    integers = [graph.constants[n.operands[0]] for n in graph.nodes
                if isinstance(n.op, Dequantize) and n.operands[0] in graph.constants]
    assert {str(c.type.format) for c in integers} == {"s4", "s32"}
    assert max(abs(int(c.data.max())) for c in integers if c.type.format == S4) == 7


def test_results_that_only_leave_are_not_quantized() -> None:
    graph = quantized(networks.small_cnn())
    assert graph.outputs[0].value == "y"
    assert quantizers(graph) == ["x", "r", "r2"]


def test_what_argmax_compares_is_quantized_finely() -> None:
    net = networks.Network()
    x = net.input("x", (1, 6))
    y = net.op("y", MatMul(), x, net.weight("w", 6, 3))
    graph = quantized(net.graph(net.op("class", ArgMax(1), y)), activations=Integer(False, 4))
    assert str(graph.tensor("y_q").format) == "s16"


def test_operands_of_a_concat_share_one_quantizer() -> None:
    graph = quantized(networks.branches())
    scales = {name: float(graph.constants[graph.producers[f"{name}_q"].operands[1]].data) for name in ("r0", "r1", "x")}
    assert scales["r0"] == scales["r1"] != scales["x"]


def test_operands_of_an_addition_share_one_quantizer() -> None:
    graph = quantized(networks.residual())
    scales = [graph.constants[graph.producers[f"{name}_q"].operands[1]].data for name in ("h", "x")]
    assert scales[0] == scales[1]


def test_positive_values_have_zero_point_zero() -> None:
    graph = quantized(networks.small_cnn())
    zeros = {v: int(graph.constants[graph.producers[f"{v}_q"].operands[2]].data) for v in ("x", "r", "r2")}
    assert zeros["r"] == zeros["r2"] == 0
    assert 64 < zeros["x"] < 192


def test_rows_of_a_quantized_table_are_not_quantized_again() -> None:
    graph = quantized(networks.embedding())
    assert quantizers(graph) == []
    assert str(graph.tensor("table_q").format) == "s8"


def test_unselected_layers_stay_float() -> None:
    graph = networks.small_cnn()
    context = Context(calibration=networks.data_for(graph), selected=lambda node: node.name != "g")
    found = Quantize().run(graph, context)
    assert found.producers["g"].operands[1] == "w2"
    assert found.producers["h"].operands[1] == "w1_dq"


def test_quantized_layers_are_left_as_they_are() -> None:
    once = quantized(networks.small_cnn())
    twice = Quantize(weights=S4).run(once, Context(calibration=networks.data_for(once)))
    assert twice.producers["h"].operands == once.producers["h"].operands


def test_a_bias_added_behind_a_product_becomes_integers() -> None:
    graph = quantized(networks.small_cnn())
    bias = next(o for o in graph.producers["y"].operands if o != "dense")
    assert isinstance(graph.producers["y"].op, Add)
    assert str(graph.tensor(graph.producers[bias].operands[0]).format) == "s32"


@pytest.mark.parametrize("options", [
    {"weights": "u8"}, {"activations": "s1"}, {"weights": "s17"}, {"activations": "f32"}])
def test_formats_it_cannot_make_are_refused(options: dict[str, str]) -> None:
    graph = networks.small_cnn()
    (name, form), = options.items()
    with pytest.raises(IrcError, match=rf"E304.*{name}={form} is not a format"):
        quantized(graph, **{name: parse_format(form)})


def test_missing_calibration_data_are_named() -> None:
    with pytest.raises(IrcError, match=r"E402.*quantize needs calibration data.*--calib"):
        Quantize().run(networks.small_cnn(), Context())


def test_mse_beats_the_largest_weight_on_outliers() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 400))
    rows[:, 0] = 12.0
    errors = [np.square(round_to(rows, s, alphabet(S4)) * s[:, None] - rows).sum()
              for s in (best_scale(rows, alphabet(S4), Grid(8)), largest_scale(rows, alphabet(S4), Grid(8)))]
    assert errors[0] < 0.6 * errors[1]


def test_the_largest_scale_never_clips() -> None:
    rows = np.random.default_rng(1).normal(size=(500, 9))
    for bits in (1, 3, 5):
        assert (np.abs(rows).max(axis=1) <= largest_scale(rows, alphabet(S8), Grid(bits)) * 127).all()


def test_scales_have_few_significant_bits() -> None:
    scale = np.random.default_rng(2).lognormal(size=200)
    assert all(odd_part(float(s)) < 32 for s in snap(scale, 5))
    assert (np.abs(snap(scale, 5) / scale - 1) < 1 / 31).all()
    assert all(odd_part(float(s)) == 1 for s in snap(scale, 1))


def test_real_zero_is_always_exact() -> None:
    for low, high in ((-3.7, 1.1), (0.5, 2.0), (-2.0, -1.0)):
        q = fit_minmax(Histogram(low, high, np.ones(8, np.int64)), U8, 5)
        assert 0 <= q.zero <= 255
        assert (q.format.minimum - q.zero) * q.scale <= min(low, 0) + q.scale
        assert (q.format.maximum - q.zero) * q.scale >= max(high, 0) - q.scale


def test_percentile_cuts_a_long_tail_and_mse_too() -> None:
    counts = np.zeros(1000, np.int64)
    counts[:100], counts[-1] = 10_000, 1
    seen = Histogram(0.0, 10.0, counts)
    assert fit_percentile(seen, U8, 5, 99.9).scale < 0.11 * fit_minmax(seen, U8, 5).scale * 1.1
    assert fit_mse(seen, Integer(False, 3), 5).scale < fit_minmax(seen, Integer(False, 3), 5).scale


def test_one_bit_weights_are_minus_and_plus_a_scale_near_the_mean_magnitude() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 500))
    scale = best_scale(rows, alphabet(Integer(True, 1)), Grid(8))
    assert np.allclose(scale, np.abs(rows).mean(axis=1), rtol=0.02)  # the optimum of Rastegari et al. 2016, XNOR-Net
    assert set(np.unique(round_to(rows, scale, alphabet(Integer(True, 1))))) == {-1, 1}


@pytest.mark.parametrize("bits", range(1, 17))
def test_every_width_gives_weights_that_fit_it(bits: int) -> None:
    graph = quantized(networks.small_cnn(), weights=Integer(True, bits), activations=Integer(False, bits))
    weight = graph.constants[graph.producers[graph.producers["h"].operands[1]].operands[0]]
    assert str(weight.type.format) == f"s{max(bits, 2)}"
    assert np.abs(weight.data).max() <= max(1, 2 ** (bits - 1))


@pytest.mark.parametrize("factor", [1e300, np.nan])
def test_data_that_no_float32_holds_are_refused(factor: float) -> None:
    graph = networks.small_cnn()
    data = {"x": factor * networks.data_for(graph)["x"]}
    with pytest.raises(IrcError, match=r"E401.*float32"):
        Quantize().run(graph, Context(calibration=data))


def test_a_range_too_narrow_for_bins_is_that_of_a_constant() -> None:
    graph = networks.small_cnn()
    data = {"x": 5e-324 * networks.data_for(graph)["x"].round()}
    Quantize().run(graph, Context(calibration=data)).verify()
