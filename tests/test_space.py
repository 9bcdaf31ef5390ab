"""Spaces: pipelines with holes, and the pipelines that are left when the holes are filled."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import networks
import pytest

from irc.diagnostics import IrcError
from irc.explore.space import Space, load_space, weighted_layers
from irc.explore.template import parse_template
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.pipeline.plan import print_plan
from irc.pipeline.plugins import space_names

GRAPH = networks.small_cnn()
LAYERS = tuple(weighted_layers(GRAPH))


def space(text: str) -> Space:
    return load_space(text, GRAPH)


def pipelines(text: str) -> list[str]:
    """All pipelines of a space, in the order of the choices."""
    made = space(text)
    return [made.pipeline(c) for c in product(*(range(gene.alternatives) for gene in made.genes))]


@pytest.mark.parametrize(("text", "code", "column"), [
    ("fold, quantize{weights=?{s3 | s4", "E301", 24),
    ("fold, quantize{weights=?{s3}}", "E301", 24),
    ("prune{sparsity=?{0.3)}", "E301", 21),
    ("fold, ? clean", "E301", 7),
    ("fold, ?each{fold | clean}", "E301", 7),
    ("prune{sparsity=?{0.3 | 0.5}", "E301", 28),
    ("?{fold | cleen}, clean", "E302", 10),
    ("prune{sparsity=?{0.5 | 0.6} blok=4}", "E303", 29),
    ("fold, quantize{weights=?{s3 | s99}}", "E304", 31),
    ("prune{sparsity=?{0.5 | ?{0.6 | 1.5}}}", "E304", 32),
    ("prune{sparsity=?layer{0.3 | 0.4}} @ op(relu)", "E306", 16),
    ("?{ | clean}, fold}", "E301", 18),
])
def test_errors_name_the_column_in_the_text_with_the_holes(text: str, code: str, column: int) -> None:
    with pytest.raises(IrcError) as caught:
        space(text)
    found = caught.value.diagnostics[0]
    assert (found.code, found.place.line, found.place.column) == (code, 1, column)


def test_a_later_line_is_named_too() -> None:
    with pytest.raises(IrcError) as caught:
        space("fold  # the first ?{\nclean,\nprune{sparsity=?{0.5 | 2}}")
    assert (caught.value.diagnostics[0].place.line, caught.value.diagnostics[0].place.column) == (3, 24)


def test_a_space_without_holes_has_nothing_to_choose() -> None:
    with pytest.raises(IrcError, match="E301"):
        space("fold, clean")


def test_one_choice_for_all() -> None:
    assert pipelines("fold, prune{sparsity=?{0.25 | 0.75}}") == ["fold, prune{sparsity=0.25}",
                                                                 "fold, prune{sparsity=0.75}"]


def test_steps_options_and_nothing_are_alternatives() -> None:
    assert pipelines("?{ | fold, clean | prune{?{sparsity=0.25 | criterion=l1}}}") == [
        "", "", "fold, clean", "fold, clean", "prune{sparsity=0.25}", 'prune{criterion="l1"}']


def test_bars_in_brackets_and_holes_in_quotes_belong_to_the_text() -> None:
    made = pipelines('?{prune @ (op(conv) | name("?{a|b}")) | clean}')
    assert made == ['prune @ (op(conv) | name("?{a|b}"))', "clean"]


def test_a_choice_a_layer_gives_every_combination() -> None:
    made = pipelines("prune{sparsity=?layer{0.25 | 0.75}}")
    assert len(set(made)) == len(made) == 2 ** len(LAYERS)
    assert made[0] == "prune{sparsity=0.25}"
    assert made[-1] == "prune{sparsity=0.75}"


def test_layers_of_one_choice_share_a_step_and_the_most_take_the_rest() -> None:
    made = space("prune{sparsity=?layer{0.25 | 0.75}}")
    first, *others = LAYERS
    assert made.pipeline((1,) + (0,) * len(others)) == (
        f'prune{{sparsity=0.75}} @ name("{first}"), prune{{sparsity=0.25}} @ !name("{first}")')


def test_a_selector_leaves_layers_no_choice() -> None:
    assert len(space("prune{sparsity=?layer{0.25 | 0.75}} @ !first").genes) == len(LAYERS) - 1
    assert len(space("prune{sparsity=?{0.25 | 0.75}} @ !first").genes) == 1


def test_each_layer_gets_what_was_chosen_for_it() -> None:
    choices, values = tuple(i % 3 for i in range(len(LAYERS))), (0.25, 0.5, 0.75)
    text = space("prune{sparsity=?layer{0.25 | 0.5 | 0.75}}").pipeline(choices)
    notes = [note for record in run_pipeline(GRAPH, parse_pipeline(text)).records for note in record.notes]
    found = {note.node: note.value for note in notes if note.key == "sparsity" and note.node}
    assert found == pytest.approx({layer: values[c] for layer, c in zip(LAYERS, choices, strict=True)}, abs=0.05)


def test_guards_and_their_lines_stay_whole() -> None:
    steps = parse_template("try(prune{sparsity=?{0.5 | 0.9}})\n  until cosine>=0.5\n  else clean\nfold")
    assert len(steps) == 2
    assert pipelines("try(prune{sparsity=?{0.25 | 0.75}})\n until cosine>=0.5")[1] == (
        "try(prune{sparsity=0.75}) until cosine>=0.5")


@pytest.mark.parametrize("name", space_names())
def test_named_spaces_give_pipelines_that_read_back_as_they_are(name: str) -> None:
    made = load_space(name, GRAPH)
    for number in range(4):
        text = made.pipeline(tuple(min(number, gene.alternatives - 1) for gene in made.genes))
        assert print_plan(parse_pipeline(text)) == text


def test_a_space_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "space.explore"
    path.write_text("prune{sparsity=?{0.25 | 0.75}}\n")
    assert load_space(f"@{path}", GRAPH).size == 2
    path.write_text("prune{sparsity=?{0.25 | 7}}\n")
    with pytest.raises(IrcError) as caught:
        load_space(f"@{path}", GRAPH)
    assert str(caught.value.diagnostics[0].place) == f"{path}:1:25"
