"""Channel pruning: the network without channels equals the one in which they are zero, whatever ties them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import channel_networks as made
import networks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_strategies import models
from model_strategies import networks as conv_networks
from onnx import ModelProto
from onnx_models import read

from backends.onnx import ONNX
from irc.cost import macs
from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.pipeline.step import Context
from irc.types import Array
from passes.prune.drop_dead_channels import DropDeadChannels
from passes.prune.masking import masked, prunable
from passes.prune.prune_channels import PruneChannels
from passes.prune.structured import Target, pruned
from passes.prune.ties import channels_of


def outputs(graph: Graph, count: int = 40) -> Array:
    (found,) = evaluate(graph, networks.data_for(graph, count)).values()
    return found


def close(a: Graph, b: Graph, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(outputs(a), outputs(b), atol=tolerance, rtol=tolerance)


def size(graph: Graph) -> int:
    return sum(c.type.size for c in graph.constants.values())


def work(graph: Graph) -> int:
    return sum(macs(graph, node) for node in graph.nodes)


@pytest.mark.parametrize("compensate", [False, True])
@pytest.mark.parametrize("build", made.STRUCTURES, ids=lambda build: build.__name__)
def test_the_pruned_network_equals_the_masked_one(build: Callable[[], Graph], compensate: bool) -> None:
    graph = build()
    feeds = networks.data_for(graph, seed=7)
    found = pruned(graph, Target(sparsity=0.4, scope="global"), "l2", feeds, compensate)
    found.graph.verify()
    close(found.graph, found.masked)
    assert size(found.graph) < size(found.masked)
    assert work(found.graph) < work(graph)


@pytest.mark.parametrize("build", made.STRUCTURES, ids=lambda build: build.__name__)
def test_masking_only_writes_zeros(build: Callable[[], Graph]) -> None:
    graph = build()
    found = pruned(graph, Target(sparsity=0.4, scope="global"), "l1", None, False).masked
    for name, before in graph.constants.items():
        after = found.constants[name].data
        assert ((after == before.data) | (after == 0)).all()


@pytest.mark.parametrize("build", made.STRUCTURES, ids=lambda build: build.__name__)
def test_second_order_on_every_structure(build: Callable[[], Graph]) -> None:
    graph = build()
    found = pruned(graph, Target(sparsity=0.3, scope="global"), feeds=networks.data_for(graph))
    close(found.graph, found.masked)


def test_channels_in_a_stride_of_the_channel_axis_stay() -> None:
    graph = made.every_second()
    assert (~prunable(channels_of(graph))[channels_of(graph).of("c1", 1)]).all()


def test_inputs_and_outputs_stay() -> None:
    graph = made.chain()
    found = pruned(graph, Target(sparsity=0.5), "l1", None, False).graph
    assert [p.type for p in found.inputs] == [p.type for p in graph.inputs]
    assert [p.type for p in found.outputs] == [p.type for p in graph.outputs]


def test_a_channel_runs_through_the_whole_residual_stream() -> None:
    channels = channels_of(made.residual())
    stream = channels.of("c0", 1)
    for value in ("b0_conv2", "b0_out", "b1_add", "mean"):
        np.testing.assert_array_equal(channels.of(value, 1), stream)
    assert not set(stream) & set(channels.of("b0_conv1", 1))


def test_every_pixel_of_a_flattened_channel_goes_with_it() -> None:
    channels = channels_of(made.flattened())
    np.testing.assert_array_equal(channels.of("w1", 0), np.repeat(channels.of("c0", 1), 9))
    last = channels_of(made.flattened_channels_last())
    np.testing.assert_array_equal(last.of("w1", 0), np.tile(last.of("c0", 1), 9))


def test_heads_of_attention_go_as_a_whole() -> None:
    channels = channels_of(made.heads())
    heads = channels.of("qt", 1)
    for weight in ("q_w", "k_w", "v_w"):
        np.testing.assert_array_equal(channels.of(weight, 1), np.repeat(heads, 3))
    np.testing.assert_array_equal(channels.of("o", 0), np.repeat(heads, 3))


def test_each_layer_loses_its_share() -> None:
    found = pruned(made.chain(), Target(sparsity=0.5), "l2", None, False)
    assert list(found.filters()) == [("c0", 3, 6), ("c1", 3, 5)]


@pytest.mark.parametrize("wanted", [0.1, 0.3, 0.6])
def test_as_many_multiplications_go_as_asked_for(wanted: float) -> None:
    graph = made.residual()
    found = pruned(graph, Target(macs=wanted), "l2", None, False).graph
    assert 1 - work(found) / work(graph) >= wanted


def test_the_smallest_filters_go() -> None:
    graph = made.chain()
    weak = graph.map_constants(lambda c: replace(c, data=c.data * np.where(np.arange(6) % 2, 1, 1e-3).reshape(
        -1, 1, 1, 1)) if c.name == "c0_w" else c)
    found = pruned(weak, Target(sparsity=0.5), "l1", None, False).graph
    np.testing.assert_array_equal(found.constants["c0_w"].data, graph.constants["c0_w"].data[1::2])


def test_a_channel_that_repeats_another_costs_nothing_by_second_order() -> None:
    graph = made.chain()

    def twice(data: Array) -> Array:
        return data[[0, 1, 2, 0, 1, 2]]

    double = graph.map_constants(lambda c: replace(c, data=twice(c.data)) if c.name in ("c0_w", "c0_b") else c)
    feeds = networks.data_for(double)
    found = pruned(double, Target(sparsity=0.5, scope="layer"), feeds=feeds, selected=lambda n: n.name == "c0").graph
    assert found.constants["c0_w"].type.shape[0] == 3
    exact, plain = outputs(double), pruned(double, Target(sparsity=0.5), "l2", None, False,
                                           lambda n: n.name == "c0").graph
    assert np.abs(outputs(found) - exact).max() < 0.05 * np.abs(outputs(plain) - exact).max()


@pytest.mark.parametrize("build", [made.residual, made.concat, made.flattened, made.grouped])
def test_compensation_brings_the_outputs_closer(build: Callable[[], Graph]) -> None:
    graph = build()
    feeds = networks.data_for(graph, 400, seed=5)
    with_, without = (pruned(graph, Target(sparsity=0.3), "l2", feeds, c).graph for c in (True, False))
    errors = [float(np.square(outputs(found) - outputs(graph)).sum()) for found in (with_, without)]
    assert errors[0] < 0.7 * errors[1]


def test_selected_layers_only() -> None:
    graph, notes = made.chain(), dict[str, object]()
    context = Context(selected=lambda node: node.name == "c1",
                      note=lambda key, value, node="": notes.update({node: value}))
    found = PruneChannels(sparsity=0.4, criterion="l2", compensate=False).run(graph, context)
    assert found.constants["c0_w"].type.shape[0] == 6
    assert notes == {"c1": "3 of 5"}


def test_at_least_so_many_channels_stay() -> None:
    with pytest.raises(IrcError, match="out of reach"):
        PruneChannels(macs=0.9, criterion="l1", compensate=False, min_channels=4).run(made.chain(), Context())
    found = pruned(made.chain(), Target(sparsity=1.0, min_channels=4), "l1", None, False).graph
    assert [found.constants[n].type.shape[0] for n in ("c0_w", "c1_w")] == [4, 4]


@pytest.mark.parametrize(("options", "code"), [({}, "E304"), ({"sparsity": 0.5, "macs": 0.5}, "E304"),
                                               ({"macs": 0.3}, "E402"), ({"macs": 0.3, "criterion": "l1"}, "E402")])
def test_what_cannot_be_is_a_coded_error(options: dict[str, float], code: str) -> None:
    with pytest.raises(IrcError, match=code):
        PruneChannels(**options).run(made.chain(), Context())  # type: ignore[arg-type]  # the options are a table


def test_onnx_runtime_computes_the_same(tmp_path: Path) -> None:
    graph = pruned(made.shortcut(), Target(macs=0.3), "l2", None, False).graph
    for name, content in ONNX.emit(graph).items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    data = networks.data_for(graph)
    (found,) = ONNX.run(tmp_path, graph, data, scratch=tmp_path).outputs.values()
    np.testing.assert_allclose(found, outputs(graph), atol=1e-4)


# --- dead channels


def with_dead_filter(graph: Graph, weight: str, bias: str, value: float) -> Graph:
    """Filter 1 is zero, its bias is `value`."""
    def dead(data: Array, entry: float) -> Array:
        changed = np.array(data)
        changed[1] = entry
        return changed

    new = {weight: 0.0, bias: value}
    return graph.map_constants(lambda c: replace(c, data=dead(c.data, new[c.name])) if c.name in new else c)


@pytest.mark.parametrize(("build", "goes"), [(made.strided, True), (made.flattened, True), (made.chain, False)])
def test_a_constant_goes_into_the_next_bias_but_not_through_padding(build: Callable[[], Graph], goes: bool) -> None:
    graph = with_dead_filter(build(), "c0_w", "c0_b", 0.75)
    found = DropDeadChannels().run(graph, Context())
    assert found.constants["c0_w"].type.shape[0] == (5 if goes else 6)
    close(found, graph, 1e-6)


def test_a_channel_of_zeros_goes_through_padding() -> None:
    graph = with_dead_filter(made.chain(), "c0_w", "c0_b", -0.75)
    found = DropDeadChannels().run(graph, Context())
    assert found.constants["c0_w"].type.shape[0] == 5
    close(found, graph)


def test_a_channel_that_nobody_reads_goes() -> None:
    def unread(data: Array) -> Array:
        changed = np.array(data)
        changed[:, 2] = 0
        return changed

    graph = made.chain().map_constants(lambda c: replace(c, data=unread(c.data)) if c.name == "c1_w" else c)
    found = DropDeadChannels().run(graph, Context())
    assert found.constants["c0_w"].type.shape[0] == 5
    close(found, graph)


def test_a_dead_filter_in_front_of_a_shortcut_stays() -> None:
    graph = with_dead_filter(made.residual(), "b0_conv2_w", "b0_conv2_b", 0.0)
    assert DropDeadChannels().run(graph, Context()) is graph


def test_one_channel_stays_of_a_dead_layer() -> None:
    graph = made.chain().map_constants(lambda c: replace(c, data=0 * c.data) if c.name.startswith("c0") else c)
    found = DropDeadChannels().run(graph, Context())
    assert found.constants["c0_w"].type.shape[0] == 1
    close(found, graph, 1e-6)  # biases are stored as float32


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.one_of(models(), conv_networks()))
def test_random_models_keep_their_meaning(tmp_path_factory: pytest.TempPathFactory, model: ModelProto) -> None:
    graph = run_pipeline(read(model, tmp_path_factory.getbasetemp()), parse_pipeline("fold, clean"), check=False).graph
    channels = channels_of(graph)
    gone = prunable(channels) & (np.arange(channels.count) % 2 == 0)
    for axis in channels.lines():
        gone[axis[0]] = gone[axis[0]] and not gone[axis].all()
    before = masked(channels, gone)
    after = DropDeadChannels().run(before, Context())
    after.verify()
    scale = max(1.0, float(np.abs(np.nan_to_num(outputs(before, 4), posinf=0, neginf=0)).max()))
    np.testing.assert_allclose(outputs(after, 4), outputs(before, 4), atol=1e-6 * scale, rtol=1e-5)
