"""Magnitude pruning."""

from __future__ import annotations

import networks
import numpy as np
import pytest

from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.pipeline.language import parse_pipeline
from irc.pipeline.step import Context
from passes.prune.prune import Prune

WEIGHTS = ("w1", "w2", "w3")


def zeros(graph: Graph, *names: str) -> list[int]:
    return [int((graph.constants[n].data == 0).sum()) for n in names]


def test_each_layer_loses_exactly_its_share() -> None:
    graph = networks.small_cnn()
    pruned = Prune(sparsity=0.25).run(graph, Context())
    assert zeros(pruned, *WEIGHTS) == [graph.constants[n].data.size // 4 for n in WEIGHTS]


def test_the_smallest_go_and_the_others_stay() -> None:
    graph = networks.small_cnn()
    before = graph.constants["w1"].data
    after = Prune(sparsity=0.5).run(graph, Context()).constants["w1"].data
    gone = after == 0
    assert np.abs(before[gone]).max() <= np.abs(before[~gone]).min()
    np.testing.assert_array_equal(after[~gone], before[~gone])


def test_a_global_threshold_holds_across_layers() -> None:
    graph = networks.small_cnn()
    pruned = Prune(sparsity=0.5, scope="global").run(graph, Context())
    every = np.concatenate([graph.constants[n].data.reshape(-1) for n in WEIGHTS])
    limit = np.sort(np.abs(every))[len(every) // 2]
    assert zeros(pruned, *WEIGHTS) == [int((np.abs(graph.constants[n].data) < limit).sum()) for n in WEIGHTS]


def test_biases_and_tables_stay() -> None:
    pruned = Prune(sparsity=0.9).run(networks.small_cnn(), Context())
    assert zeros(pruned, "b1", "b3") == [0, 0]
    assert zeros(Prune(sparsity=0.9).run(networks.embedding(), Context()), "table") == [0]


def test_nothing_to_prune_is_the_same_graph() -> None:
    graph = networks.small_cnn()
    assert Prune(sparsity=0.0).run(graph, Context()) is graph


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_all_weights_can_go(scope: str) -> None:
    pruned = Prune(sparsity=1.0, scope=scope).run(networks.small_cnn(), Context())
    assert all((pruned.constants[n].data == 0).all() for n in WEIGHTS)


def test_only_selected_layers_are_pruned_and_noted() -> None:
    notes: dict[str, float] = {}
    context = Context(selected=lambda node: node.name == "g",
                      note=lambda key, value, node="": notes.update({node: value}))
    pruned = Prune(sparsity=0.5).run(networks.small_cnn(), context)
    assert zeros(pruned, "w1", "w3") == [0, 0]
    assert notes == {"g": 0.5}


@pytest.mark.parametrize("passes", [
    "prune{block=8}", "prune{granularity=blockmax sparsity=0.9}", 'prune{pattern="1:4"}', "prune{floor=1}",
    "quantize{percentile=99}", "shift{alphabet=s3 terms=3}"])
def test_options_that_the_others_leave_without_effect_are_refused(passes: str) -> None:
    with pytest.raises(IrcError, match=r"E304.*has no effect with.*belongs to"):
        parse_pipeline(passes)


@pytest.mark.parametrize("passes", ["prune{granularity=block block=8 sparsity=0.9}", "prune{scope=search floor=1}",
                                    "quantize{percentile=99 calibration=percentile}", "shift{terms=3}"])
def test_options_that_belong_together_are_taken(passes: str) -> None:
    assert len(parse_pipeline(passes)) == 1
