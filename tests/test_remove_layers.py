"""Residual blocks: what is one, which go first, and that what is left equals the masked network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import Network, conv, data_for, small_cnn
from residual_networks import basic, bottleneck, classified, layer, preactivated, projection, resnet

from backends.sim import SIM
from irc.cost import macs
from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.metric import find_metric
from irc.ops.elementwise import Add, Mul, Relu
from irc.ops.linear import MatMul
from irc.ops.pooling import ReduceMean
from irc.ops.shape import Slice
from irc.pipeline.driver import run_pipeline, steps_to
from irc.pipeline.judge import Judge
from irc.pipeline.language import parse_pipeline
from irc.pipeline.step import Context
from irc.samples import bind
from irc.types import Array, Level
from passes.remove_layers.blocks import stages
from passes.remove_layers.priority import activation_ratios, gains, output_changes
from passes.remove_layers.remove_layers import RemoveLayers
from passes.simplify.fold import Fold

X = (1, 4, 6, 6)


def names(graph: Graph) -> list[tuple[bool, list[str]]]:
    return [(stage.projected, [block.name for block in stage.blocks]) for stage in stages(graph)]


def alone(build) -> Graph:
    """One block between a stem and a dense layer."""
    net = Network(0)
    return classified(net, build(net, "k", net.op("r", Relu(), layer(net, "stem", net.input("x", X), 4))))


def outputs(graph: Graph, data: dict[str, Array]) -> Array:
    return evaluate(graph, data)["out_logits"]


def masked(graph: Graph, block: str, weights: Graph) -> Graph:
    """The whole network with the branch of one block times zero, and the weights of another graph."""
    found = next(b for stage in stages(graph) for b in stage.blocks if b.name == block)
    graph = replace(graph, constants={n: weights.constants.get(n, c) for n, c in graph.constants.items()})
    edit, kind = graph.edit(), graph.tensor(found.branch)
    zero = edit.node("zero", Mul(), (found.branch, edit.constant("z", replace(kind, shape=()), 0)),
                     (kind, replace(kind, shape=())))
    operands = tuple(zero.name if o == found.branch else o for o in found.addition.operands)
    edit.replace(found.addition, zero, replace(found.addition, operands=operands))
    return edit.finish()


def removed(graph: Graph, context: Context | None = None, **options) -> tuple[Graph, list[str]]:
    """The shorter graph and the blocks that went."""
    gone: list[str] = []

    def note(key, value, node=""):
        gone.extend([node] if key == "removed block" else [])

    shorter = RemoveLayers(**options).run(graph, replace(context or Context(data_for(graph)), note=note))
    shorter.verify()
    return shorter, gone


@pytest.mark.parametrize("build", [basic, bottleneck, preactivated])
def test_blocks_of_every_form_are_found(build) -> None:
    assert names(alone(build)) == [(False, ["k_add"])]


def test_a_stage_is_a_run_of_one_shape_that_a_projection_may_begin() -> None:
    assert names(resnet()) == [(False, ["a0_add", "a1_add", "a2_add"]), (True, ["b0_add", "b1_add"])]


def test_a_projection_is_no_block() -> None:
    assert names(alone(projection)) == []


def test_two_stages_of_one_shape_are_told_apart() -> None:
    net = Network(0)
    x = projection(net, "p", basic(net, "a", net.input("x", (1, 2, 8, 8))))
    again = net.op("up", Relu(), layer(net, "narrow", x, 2))
    assert names(classified(net, basic(net, "b", again))) == [(False, ["a_add"]), (False, ["b_add"])]


def test_a_branch_that_reads_something_else_is_no_block() -> None:
    net = Network(0)
    x, other = net.input("x", X), net.input("other", X)
    mixed = net.op("mixed", Mul(), layer(net, "c", x, 4), other)
    assert names(classified(net, net.op("s", Add(), x, mixed))) == []


def test_a_branch_that_something_else_reads_is_no_block() -> None:
    net = Network(0)
    x = net.input("x", X)
    c = layer(net, "c", x, 4)
    s = net.op("s", Add(), x, layer(net, "d", c, 4))
    assert names(classified(net, net.op("both", Mul(), s, c))) == []


def test_two_halves_are_not_the_same_input() -> None:
    net = Network(0)
    x = net.input("x", X)
    left, right = (net.op(f"half{at}", Slice((0, at, 0, 0), (1, 2, 6, 6), (1,) * 4), x) for at in (0, 2))
    assert names(classified(net, net.op("s", Add(), left, layer(net, "c", right, 2)))) == []


def test_a_sum_without_weights_is_an_activation_function() -> None:
    net = Network(0)
    x = net.input("x", X)
    assert names(classified(net, net.op("s", Add(), x, net.op("square", Mul(), x, x)))) == []


def test_a_broadcast_sum_is_no_block() -> None:
    net = Network(0)
    x = net.input("x", X)
    mean = net.op("mean", ReduceMean((2, 3), keepdims=True), layer(net, "c", x, 4))
    assert names(classified(net, net.op("s", Add(), x, mean))) == []


@pytest.mark.parametrize("compensate", ["none", "refit"])
def test_what_is_left_equals_the_masked_network(compensate) -> None:
    graph = resnet()
    data = data_for(graph, 5, seed=3)
    shorter, (block,) = removed(graph, blocks=1, compensate=compensate)
    np.testing.assert_array_equal(outputs(shorter, data), outputs(masked(graph, block, shorter), data))


def test_a_mean_stands_for_the_branch_exactly() -> None:
    graph = resnet()
    data = data_for(graph, 5, seed=3)
    shorter, (block,) = removed(graph, blocks=1, compensate="mean")
    branch = evaluate(graph, data_for(graph), keep=True)["a1_conv2"].mean(axis=(0, 1, 3, 4))
    constant = shorter.constants[f"{block}_mean"].data
    np.testing.assert_allclose(constant.reshape(-1), branch, rtol=1e-6)
    whole = replace(graph, constants={**graph.constants, "a1_conv2_b": replace(
        graph.constants["a1_conv2_b"], data=constant.reshape(-1))})
    silent = replace(whole, constants={**whole.constants, "a1_conv2_w": replace(
        whole.constants["a1_conv2_w"], data=np.zeros((4, 4, 3, 3)))})
    np.testing.assert_array_equal(outputs(shorter, data), outputs(silent, data))


def test_the_graph_gets_smaller_by_the_whole_block() -> None:
    graph = resnet()
    shorter, _ = removed(graph, blocks=1)
    assert len(graph.nodes) - len(shorter.nodes) == 5  # two convolutions, a relu, the addition, a second relu
    gone = sum(macs(graph, n) for n in graph.nodes) - sum(macs(shorter, n) for n in shorter.nodes)
    assert gone == 2 * 4 * 4 * 9 * 64
    assert len(graph.constants) - len(shorter.constants) == 4


@pytest.mark.parametrize("priority", ["activation", "gain", "output"])
def test_the_smallest_block_goes_first(priority) -> None:
    assert removed(resnet(), blocks=1, priority=priority, compensate="none")[1] == ["a1_add"]


def test_one_block_of_every_stage_stays() -> None:
    shorter, gone = removed(resnet(), blocks=4, compensate="none")
    assert len([g for g in gone if g.startswith("a")]) == 2
    assert [n.name for n in shorter.nodes if n.name.endswith("_add")][-1] == "p_add"


def test_only_selected_blocks_go() -> None:
    context = Context(data_for(resnet()), selected=lambda node: not node.name.startswith("a1"))
    assert removed(resnet(), context, blocks=1)[1] != ["a1_add"]


def test_activation_ratio_is_the_ratio_of_norms() -> None:
    graph, data = resnet(), data_for(resnet())
    (first, *_), _ = (stage.blocks for stage in stages(graph))
    seen = evaluate(graph, data, keep=True)
    norms = [np.sqrt(np.square(seen[v]).sum(axis=(1, 2, 3, 4))).mean() for v in (first.branch, first.skip)]
    assert activation_ratios(graph, [first], data) == pytest.approx([norms[0] / norms[1]])


def test_output_change_is_that_of_the_masked_network() -> None:
    graph, data = resnet(), data_for(resnet())
    blocks = [block for stage in stages(graph) for block in stage.blocks]
    whole = outputs(graph, data)
    want = [np.square(outputs(masked(graph, b.name, graph), data) - whole).mean() / np.square(whole).mean()
            for b in blocks]
    assert output_changes(graph, blocks, data) == pytest.approx(want)


def test_gain_is_the_same_before_and_after_folding() -> None:
    net = Network(4)
    x = net.input("x", X)
    c = net.op("c", conv(pads=1), x, net.weight("w", 4, 4, 3, 3))
    scaled = net.op("scaled", Mul(), c, net.constant("g", net.rng.uniform(-2, 2, (4, 1, 1))))
    shifted = net.op("shifted", Add(), scaled, net.constant("h", net.rng.normal(size=(4, 1, 1))))
    graph = classified(net, net.op("s", Add(), x, shifted))
    folded = Fold().run(graph, Context())
    assert len(folded.nodes) < len(graph.nodes)
    found = [gains(g, [stages(g)[0].blocks[0]]) for g in (graph, folded)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def dense_residual() -> Graph:
    """x W + b, plus a dense block of it: what the layer in front must become is a linear regression."""
    net = Network(1)
    x = net.input("x", (1, 6))
    h = net.op("h", Add(), net.op("m", MatMul(), x, net.weight("w", 6, 4)), net.weight("b", 4))
    for i in range(2):
        inner = net.op(f"r{i}", Relu(), net.op(f"i{i}", MatMul(), h, net.constant(f"v{i}", (0.3 + i) * net.rng.normal(
            size=(4, 4)))))
        h = net.op(f"s{i}", Add(), h, net.op(f"o{i}", MatMul(), inner, net.weight(f"u{i}", 4, 4)))
    return net.graph(net.op("logits", MatMul(), h, net.weight("head", 4, 3)))


def test_the_layer_in_front_is_fitted_by_least_squares() -> None:
    graph = dense_residual()
    data = data_for(graph, 400)
    shorter, (gone,) = removed(graph, Context(data), blocks=1)
    design = np.concatenate((data["x"][:, 0], np.ones((400, 1))), axis=1)
    best = np.linalg.lstsq(design, evaluate(graph, data, keep=True)[gone][:, 0], rcond=None)[0]
    assert gone == "s0"
    np.testing.assert_allclose(shorter.constants["w"].data, best[:-1], atol=0.01)
    np.testing.assert_allclose(shorter.constants["b"].data, best[-1], atol=0.01)


def test_a_layer_that_something_else_reads_is_left_alone() -> None:
    net = Network(0)
    x = net.op("r", Relu(), layer(net, "stem", net.input("x", X), 4))
    long = net.op("long", Add(), layer(net, "side", x, 4), basic(net, "b", basic(net, "a", x, size=0.1)))
    graph = classified(net, long)
    shorter, gone = removed(graph, blocks=1)
    assert gone == ["a_add"]
    assert shorter.constants["stem_w"] == graph.constants["stem_w"]
    assert shorter.constants["b_conv2_w"] != graph.constants["b_conv2_w"]


@pytest.mark.parametrize("seed", range(3))
def test_fitting_again_is_better_than_nothing_on_new_data(seed) -> None:
    graph = resnet((0.6, 0.6, 0.6), seed=seed)
    data, new = data_for(graph, 200), data_for(graph, 50, seed=9)
    want = outputs(graph, new)
    errors = [np.square(outputs(removed(graph, Context(data), blocks=2, compensate=how)[0], new) - want).mean()
              for how in ("none", "refit")]
    assert errors[1] < 0.7 * errors[0]


def test_removal_stops_before_the_floor() -> None:
    graph = resnet((0.5, 0.05, 0.4), deep=3)
    data = data_for(graph, 100)
    judge = Judge(find_metric("mse"), graph, data)
    shorter, gone = removed(graph, Context(data, judge=judge), floor=0.001)
    more, _ = removed(graph, Context(data), blocks=len(gone) + 1)
    assert 0 < len(gone) < 5
    assert judge.loss(shorter) <= 0.001 < judge.loss(more)


def test_all_that_may_go_goes_below_a_high_floor() -> None:
    graph, data = resnet(), data_for(resnet())
    judge = Judge(find_metric("mse"), graph, data)
    assert len(removed(graph, Context(data, judge=judge), floor=9.0, compensate="none")[1]) == 4


def test_notes_are_the_curve_of_blocks_against_loss() -> None:
    graph = resnet()
    data = data_for(graph)
    outcome = run_pipeline(graph, parse_pipeline("remove_layers{blocks=2 compensate=none}"), calibration=data,
                           judge=Judge(find_metric("cosine"), graph, data))
    notes = outcome.records[0].notes
    losses = [n.value for n in notes if n.key == "loss"]
    assert [n.value for n in notes if n.key == "removed block"] == [1, 2]
    assert losses[-1] == pytest.approx(Judge(find_metric("cosine"), graph, data).loss(outcome.graph))


def test_a_batch_norm_in_the_way_is_noted() -> None:
    net = Network(0)
    x = layer(net, "stem", net.input("x", X), 4)
    for i in range(2):
        scale = net.constant(f"g{i}", np.full((4, 1, 1), 2.0))
        x = net.op(f"s{i}", Add(), x, net.op(f"n{i}", Mul(), layer(net, f"c{i}", x, 4), scale))
    graph = classified(net, net.op("normed", Mul(), x, net.constant("g", np.full((4, 1, 1), 0.5))))
    context = Context(data_for(graph), note=lambda key, value, node="": notes.append(key))
    notes: list[str] = []
    RemoveLayers(blocks=1).run(graph, context)
    assert "not compensated" in notes
    notes.clear()
    RemoveLayers(blocks=1).run(Fold().run(graph, Context()), context)
    assert "not compensated" not in notes


def test_what_is_left_runs_as_hardware(tmp_path) -> None:
    net = Network(0)
    x = net.op("stem_relu", Relu(), layer(net, "stem", net.input("x", X), 4))
    graph = classified(net, basic(net, "b", basic(net, "a", x), size=0.1))
    passes = "fold, clean, remove_layers{blocks=1}, quantize{weights=s5 activations=u8}"
    data = data_for(graph)
    steps = parse_pipeline(passes) + steps_to(Level.MODEL, Level.INTEGER)
    integers = run_pipeline(graph, steps, calibration=data).graph
    design = run_pipeline(integers, parse_pipeline("dataflow, size_fifos")).graph
    feeds = bind(design, data)
    (tmp_path / "d").mkdir()
    for name, content in SIM.emit(design).items():
        (tmp_path / "d" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    run = SIM.run(tmp_path / "d", design, feeds, scratch=tmp_path / "s")
    want = evaluate(integers, bind(integers, data))["out_logits"]
    assert np.array_equal(run.outputs["out_logits"].reshape(len(want), -1), want.reshape(len(want), -1))


def test_the_same_block_goes_whatever_the_names() -> None:
    graph = resnet()
    shorter, _ = removed(graph, blocks=1, compensate="none")
    other = {name: f"v{i}" for i, name in enumerate(n.name for n in graph.nodes)}
    renamed = replace(graph, nodes=tuple(
        replace(n, results=(other[n.name],), operands=tuple(other.get(o, o) for o in n.operands))
        for n in graph.nodes), outputs=tuple(replace(p, value=other[p.value]) for p in graph.outputs))
    again, (gone,) = removed(renamed, blocks=1, compensate="none")
    assert gone == other["a1_add"]
    np.testing.assert_array_equal(outputs(again, data_for(graph)), outputs(shorter, data_for(graph)))


@pytest.mark.parametrize(("graph", "context", "options", "code"), [
    (small_cnn(), Context(), {"blocks": 1}, "E306.*no residual block"),
    (alone(projection), Context(), {"blocks": 1}, "E306.*projections"),
    (resnet(), Context(data_for(resnet())), {"blocks": 5}, "E304.*only 4.*at most 4"),
    (resnet(), Context(), {"blocks": 1}, "E402.*priority=activation needs calibration"),
    (resnet(), Context(), {"blocks": 1, "priority": "gain"}, "E402.*compensate=refit needs calibration"),
    (resnet(), Context(data_for(resnet())), {}, "E402.*--data"),
])
def test_bad_input_is_an_error_with_a_remedy(graph, context, options, code) -> None:
    with pytest.raises(IrcError, match=code.replace("E", r"(?s)E", 1)):
        RemoveLayers(**options).run(graph, context)
