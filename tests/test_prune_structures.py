"""Granularities of pruning against brute force, and what cannot be pruned so."""

from __future__ import annotations

from itertools import product

import networks
import numpy as np
import pytest

from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.pipeline.language import parse_pipeline
from irc.pipeline.step import Context, Pass
from irc.types import Array
from passes.prune.granularity import AdaptiveWindows, Blocks, Elements, Windows, adapted, smallest
from passes.prune.prune import Prune

WORTH = np.random.default_rng(0).random((6, 22))


def rows_of(graph: Graph, name: str) -> Array:
    """A weight with one output in a row."""
    data = graph.constants[name].data
    return data.T if name == "w3" else data.reshape(len(data), -1)


@pytest.mark.parametrize("count", [0, 1, 7, 12])
def test_the_first_of_equal_ones_go_first(count: int) -> None:
    worth = np.array([3, 1, 2, 1, 1, 5, 2, 2, 0, 3, 1, 2.0])
    expected = np.zeros(12, bool)
    expected[sorted(range(12), key=lambda i: (worth[i], i))[:count]] = True
    np.testing.assert_array_equal(smallest(worth, count), expected)


@pytest.mark.parametrize(("kept", "size"), [(1, 2), (2, 4), (1, 8), (3, 5), (4, 4)])
def test_windows_keep_the_largest_of_each(kept: int, size: int) -> None:
    found = Windows(kept, size).keeper(WORTH, 0)(WORTH)
    for row, marks in zip(WORTH, found, strict=True):
        for start in range(0, len(row), size):
            part = row[start : start + size]
            largest = sorted(range(len(part)), key=lambda i: -part[i])[:kept]
            assert sorted(np.flatnonzero(marks[start : start + size])) == sorted(largest)


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(1, 4), (2, 2), (4, 5), (6, 22)])
def test_blocks_go_as_a_whole_the_least_first(rows: int, columns: int, largest: bool) -> None:
    corners = list(product(range(0, 6, rows), range(0, 22, columns)))
    blocks = [(slice(i, i + rows), slice(j, j + columns)) for i, j in corners]
    worth = [WORTH[b].max() if largest else WORTH[b].sum() for b in blocks]
    removed = len(blocks) // 2
    rule = Blocks(rows, columns, largest)
    found = rule.keeper(WORTH, removed)(WORTH)
    np.testing.assert_allclose(rule.units(WORTH), worth)
    gone = set(sorted(range(len(blocks)), key=lambda i: worth[i])[:removed])
    for i, block in enumerate(blocks):
        assert (found[block] == (i not in gone)).all()


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.75, 0.9])
def test_darb_has_one_weight_in_every_window_and_small_windows_in_dense_rows(sparsity: float) -> None:
    worth = np.random.default_rng(1).random((40, 200)) * np.linspace(0.1, 1, 40)[:, None]
    removed = round(sparsity * worth.size)
    density = Elements().keeper(worth, removed)(worth).mean(axis=1)
    sizes = adapted(density, 200, worth.size - removed)
    found = AdaptiveWindows().keeper(worth, removed)(worth)
    for row, marks, size in zip(worth, found, sizes, strict=True):
        tops = [start + int(np.argmax(row[start : start + size])) for start in range(0, 200, size)]
        np.testing.assert_array_equal(np.flatnonzero(marks), tops)
    assert (np.diff(sizes[np.argsort(density, kind="stable")]) <= 0).all()
    assert 1 - sparsity - 0.02 <= found.mean() <= 1 - sparsity  # a row changes over as a whole


def test_darb_keeps_more_of_the_weights_than_equal_windows() -> None:
    weight = np.random.default_rng(2).normal(size=(64, 256)) * np.geomspace(0.02, 1, 64)[:, None]
    worth = np.abs(weight)
    for size in (2, 4, 8):
        equal = Windows(1, size).keeper(worth, 0)(worth)
        own = AdaptiveWindows().keeper(worth, weight.size - weight.size // size)(worth)
        assert own.sum() <= equal.sum()
        assert np.square(weight[own]).sum() > np.square(weight[equal]).sum()


def test_darb_at_the_ends() -> None:
    assert (adapted(np.ones(5), 100, 500) == 1).all()
    assert (adapted(np.zeros(5), 100, 0) == 64).all()


@pytest.mark.parametrize("criterion", ["magnitude", "l1", "l2", "activation", "second_order"])
@pytest.mark.parametrize("options", [
    {"granularity": "pattern", "pattern": "2:4"}, {"granularity": "blockmax", "block": 3},
    {"granularity": "block", "block": (1, 3), "sparsity": 0.6}, {"granularity": "element", "sparsity": 0.7}])
def test_every_layer_has_the_structure_whatever_the_criterion(criterion: str, options: dict[str, object]) -> None:
    graph = networks.small_cnn()
    pruned = Prune(criterion=criterion, **options).run(  # type: ignore[arg-type]  # options of several types
        graph, Context(calibration=networks.data_for(graph)))
    for name in ("w1", "w2", "w3"):
        used = rows_of(pruned, name) != 0
        starts = np.arange(0, used.shape[1], 3)
        match options["granularity"]:
            case "pattern":
                assert np.add.reduceat(used.astype(int), np.arange(0, used.shape[1], 4), axis=1).max() == 2
            case "blockmax":
                assert (np.add.reduceat(used.astype(int), starts, axis=1) == 1).all()
            case "block":
                blocks = np.add.reduceat(used.astype(int), starts, axis=1)
                assert set(blocks.ravel()) == {0, 3}
                assert (blocks == 0).sum() == round(0.6 * blocks.size)
            case _:
                assert (~used).sum() == round(0.7 * used.size)


@pytest.mark.parametrize(("options", "code", "words"), [
    ('granularity=pattern pattern="5:4"', "E304", "0 < N <= M"),
    ('granularity=pattern pattern="0:4"', "E304", "0 < N <= M"),
    ('granularity=pattern pattern="half"', "E304", "N:M"),
    ("granularity=pattern scope=global", "E304", "says how much goes"),
    ("granularity=blockmax scope=search", "E304", "says how much goes"),
    ("granularity=blockmax block=[2, 2]", "E304", "consecutive"),
    ("granularity=block block=[2, 2, 2]", "E304", "rows, columns"),
    ("granularity=block block=[5, 5]", "E306", "4 by 18"),
    ("granularity=blockmax block=16", "E306", "5 by 12"),
    ("sparsity=1.5", "E304", "above 1"),
    ("block=0", "E304", "below 1"),
    ("criterion=second_order", "E402", "calibration"),
    ("criterion=activation", "E402", "calibration"),
    ("scope=search", "E402", "judge"),
    ("criterion=second", "E304", "second_order"),
])
def test_what_cannot_be_is_a_coded_error(options: str, code: str, words: str) -> None:
    with pytest.raises(IrcError) as problem:
        step = parse_pipeline(f"prune{{{options}}}")[0]
        made: Pass = step.pass_  # type: ignore[union-attr]  # a step, not a guard
        made.run(networks.small_cnn(), Context())
    assert problem.value.diagnostics[0].code == code
    assert words in str(problem.value)


def test_layers_that_are_too_small_can_be_left_out() -> None:
    graph = networks.small_cnn()
    context = Context(selected=lambda node: node.name != "dense")
    pruned = Prune(granularity="blockmax", block=16).run(graph, context)
    assert pruned.constants["w3"] == graph.constants["w3"]
    assert (rows_of(pruned, "w2") != 0).sum() == 3 * 3


@pytest.mark.parametrize("criterion", ["magnitude", "l2", "second_order"])
def test_channels_really_go(criterion: str) -> None:
    graph = networks.small_cnn()
    context = Context(calibration=networks.data_for(graph))
    pruned = Prune(granularity="channel", criterion=criterion).run(graph, context)
    pruned.verify()
    assert pruned.constants["w1"].data.shape == (2, 2, 3, 3)
    assert pruned.constants["w2"].data.shape == (2, 2, 3, 3)
    assert pruned.constants["w3"].data.shape == (8, 5)


@pytest.mark.parametrize("options", [{"criterion": "activation"}, {"scope": "search"}])
def test_channels_have_no_such_criterion_or_scope(options: dict[str, str]) -> None:
    with pytest.raises(IrcError, match="E304"):
        Prune(granularity="channel", **options).run(networks.small_cnn(), Context())  # type: ignore[arg-type]  # as above
