"""Explorations: fronts by brute force, the same trials whoever runs them, nothing lost when something dies."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networks
import numpy as np
import pytest
from command_line import Answer, irc, tree
from distributed import LocalCluster
from hypothesis import given
from hypothesis import strategies as st

from irc.cost import macs
from irc.diagnostics import IrcError
from irc.explore.exploration import Exploration, Request, explore
from irc.explore.front import crowding, dominance, front, ranks
from irc.explore.journal import Journal
from irc.explore.picture import drawn
from irc.explore.search import Evolution, Exhaustive, Objectives, search
from irc.explore.space import Space, load_space
from irc.explore.trial import Sizes, Task, Trial, needed_macs
from irc.explore.workers import Pool, Workers, finished, local
from irc.interpreter import evaluate
from irc.metric import find_metric
from irc.ops.linear import MatMul
from irc.pipeline.judge import Criterion
from irc.storage import stored_bits
from irc.text import load_graph, save_graph

GRAPH = networks.small_cnn()
SPACE = "fold, quantize{weights=?layer{s3 | s8} activations=u8}"
points = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=30)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small network and its data, as files."""
    save_graph(GRAPH, tmp_path / "net.irc")
    np.savez(tmp_path / "data.npz", allow_pickle=False, **networks.data_for(GRAPH))
    return tmp_path / "net.irc"


def run(model: Path, output: str, *more: object, space: str = SPACE) -> Answer:
    return irc("explore", model, "--space", space, "--calib", model.parent / "data.npz", "-o", model.parent / output,
               *more)


def lines(model: Path, output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (model.parent / output / "trials.jsonl").read_text().splitlines()]


def beats(a: Objectives, b: Objectives) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


# --- fronts

@given(points)
def test_the_front_is_what_nothing_beats(found: list[tuple[int, ...]]) -> None:
    kept = front(np.array(found))
    unbeaten = {p for p in found if not any(beats(q, p) for q in found)}
    assert {found[i] for i in kept} == unbeaten
    assert len(kept) == len(unbeaten)  # of equal points one
    assert all(found.index(found[i]) == i for i in kept)  # the first


@given(points)
def test_ranks_are_fronts_of_what_is_left(found: list[tuple[int, ...]]) -> None:
    rank = ranks(np.array(found))
    for level in range(int(rank.max()) + 1):
        left = [p for p, r in zip(found, rank, strict=True) if r >= level]
        here = [p for p, r in zip(found, rank, strict=True) if r == level]
        assert sorted(here) == sorted(p for p in left if not any(beats(q, p) for q in left))


def test_room_is_that_between_neighbours() -> None:
    assert crowding(np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0]])).tolist() == [math.inf, 2.0, math.inf]
    assert not dominance(np.array([[1.0, 1.0], [1.0, 1.0]])).any()


# --- searches

def tried(space: Space, trials: int, seed: int) -> list[str]:
    """What a search asks for when the quality of a pipeline is a made-up number."""
    plan, asked = search(space, trials, seed), list[str]()
    while generation := plan.ask():
        asked += generation
        plan.tell([made_up(pipeline) for pipeline in generation])
    return asked


def made_up(pipeline: str) -> Objectives:
    bits = [int(part[0]) for part in pipeline.split("weights=s")[1:]]
    return float(len(pipeline)), float(sum(bits))


def test_a_small_space_is_tried_out() -> None:
    space = load_space(SPACE, GRAPH)
    assert isinstance(search(space, space.size, 0), Exhaustive)
    every = product(*(range(gene.alternatives) for gene in space.genes))
    assert sorted(tried(space, space.size, 0)) == sorted(map(space.pipeline, every))


def test_evolution_asks_for_as_many_as_it_may_and_for_none_twice() -> None:
    space = load_space("default", GRAPH)
    assert isinstance(search(space, 40, 0), Evolution)
    asked = tried(space, 40, 0)
    assert len(asked) == len(set(asked)) == 40
    assert asked == tried(space, 40, 0) != tried(space, 40, 1)
    assert asked == tried(space, 60, 0)[:40]  # more trials go on where fewer end


def test_evolution_ends_when_a_space_is_used_up() -> None:
    space = load_space("?{fold | clean | fold | clean}, ?{ | fold | }", GRAPH)
    assert sorted(tried(space, 9, 0)) == ["clean", "clean, fold", "fold", "fold, fold"]


def test_evolution_finds_more_of_the_front_than_chance() -> None:
    space = load_space("prune{sparsity=?layer{0 | 0.1 | 0.2 | 0.3 | 0.4 | 0.5 | 0.6 | 0.7 | 0.8 | 0.9}}", GRAPH)
    rng = np.random.default_rng(0)
    weight = rng.permutation(len(space.genes)) + 1.0

    def quality(choices: tuple[int, ...]) -> Objectives:
        return float((weight * np.array(choices) ** 2).sum()), float(9 * len(choices) - sum(choices))

    found = []
    plan = Evolution(space, 120, 0)
    while plan.ask():
        found += [quality(choices) for choices in plan._asked]
        plan.tell(found[len(found) - len(plan._asked):])
    chance = [quality(tuple(rng.integers(0, 10, len(space.genes)))) for _ in range(120)]
    both = found + chance
    kept = front(np.array(both))
    assert sum(i < len(found) for i in kept) > 3 * sum(i >= len(found) for i in kept)


# --- trials

def test_a_graph_arrives_at_a_worker_as_it_was_sent() -> None:
    assert pickle.loads(pickle.dumps(GRAPH)) == GRAPH


def test_macs_leave_out_weights_of_zero() -> None:
    net = networks.Network()
    weight = np.arange(32.0).reshape(8, 4) * (np.arange(32).reshape(8, 4) % 4 == 0)
    graph = net.graph(net.op("y", MatMul(), net.input("x", (5, 8)), net.constant("w", weight)))
    assert macs(graph, graph.nodes[0]) == 5 * 32
    assert needed_macs(graph) == 5 * 7


def test_a_trial_measures_what_compiling_its_pipeline_makes(model: Path) -> None:
    answer = run(model, "out", "--json").json
    for point in answer["front"][:2]:
        made = irc("opt", model, "--passes", point["pipeline"], "--calib", model.parent / "data.npz", "--json",
                   "-o", model.parent / "made.irc")
        assert made.code == 0
        graph = load_graph(model.parent / "made.irc")
        assert point["stored_bytes"] == -(-stored_bits(graph) // 8)
        data = networks.data_for(GRAPH)
        (mine,), (float_,) = (evaluate(g, {g.inputs[0].name: data[g.inputs[0].name]}).values() for g in (graph, GRAPH))
        assert point["score"] == pytest.approx(find_metric("cosine").measure(mine, float_), abs=1e-5)


def test_the_front_of_a_run_is_what_no_trial_beats(model: Path) -> None:
    answer = run(model, "out", "--json")
    assert answer.code == 0
    every = {line["pipeline"]: (line["loss"], line["stored_bits"], line["macs"]) for line in lines(model, "out")}
    assert len(every) == answer.json["trials"] == 8
    shown = {every[point["pipeline"]] for point in answer.json["front"]}
    assert shown == {p for p in every.values() if not any(beats(q, p) for q in every.values())}


def test_the_number_of_workers_changes_nothing(model: Path) -> None:
    for output, workers in (("one", 1), ("two", 2)):
        assert run(model, output, "--workers", workers, "--trials", 7).code == 0
    assert tree(model.parent / "one") == tree(model.parent / "two")


def test_a_trial_that_fails_says_why_and_the_others_go_on(model: Path) -> None:
    answer = run(model, "out", space="?{prune | dataflow | quantize}, ?{fold | clean}")
    assert answer.code == 0
    found = lines(model, "out")
    codes = [line["error"]["code"] for line in found if "error" in line]
    assert len(found) == 6
    assert codes
    assert f"{len(codes)} failed ({codes[0]}" in answer.out


# --- what is kept

class Counted:
    """Workers in this process that count what they run, and break where told."""

    def __init__(self, most: float = math.inf) -> None:
        self.most = most
        self.ran: list[str] = []

    def __call__(self, task: Task) -> Any:
        def submit(pipeline: str) -> Future[Trial]:
            promise = Future[Trial]()
            if len(self.ran) >= self.most:
                promise.set_exception(MemoryError())
            else:
                self.ran.append(pipeline)
                promise.set_result(task.run(pipeline))
            return promise

        return nullcontext(Pool(submit))


def explored(model: Path, output: str, workers: Workers, resume: bool = False, **more: Any) -> Exploration:
    request = Request(model, SPACE, Criterion(), model.parent / "data.npz", **more)
    return explore(request, model.parent / output, resume, workers)


def test_what_is_resumed_ends_as_if_it_had_never_stopped(model: Path) -> None:
    with pytest.raises(IrcError, match="E605"):
        explored(model, "broken", Counted(most=4), trials=7)
    assert len(lines(model, "broken")) == 4
    rest = Counted()
    explored(model, "broken", rest, resume=True, trials=7)
    explored(model, "whole", Counted(), trials=7)
    assert len(rest.ran) == 3
    assert tree(model.parent / "broken") == tree(model.parent / "whole")


def test_a_line_cut_short_is_made_again(model: Path) -> None:
    explored(model, "out", Counted())
    before = tree(model.parent / "out")
    path = model.parent / "out" / "trials.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again = Counted()
    explored(model, "out", again, resume=True)
    assert len(again.ran) == 1
    assert tree(model.parent / "out") == before


def test_another_space_adds_to_the_trials(model: Path) -> None:
    explored(model, "out", Counted(), trials=5)
    more = Counted()
    assert len(explored(model, "out", more, resume=True).trials) == 8
    assert len(more.ran) == 3


@pytest.mark.parametrize(("damage", "code"), [
    ("seed", "E505"), ("line", "E505"), ("settings", "E505"), ("no resume", "E503"), ("foreign", "E503")])
def test_folders_that_cannot_be_gone_on_with(model: Path, damage: str, code: str) -> None:
    explored(model, "out", Counted(), trials=2)
    folder = model.parent / "out"
    if damage == "line":
        (folder / "trials.jsonl").write_text('{"pipeline": "fold", "score": "high"}\n')
    if damage == "settings":
        (folder / "explore.json").write_text("{}")
    if damage == "foreign":
        (folder / "explore.json").unlink()
    with pytest.raises(IrcError) as caught:
        explored(model, "out", Counted(), resume=damage != "no resume", seed=int(damage == "seed"))
    assert caught.value.diagnostics[0].code == code


@dataclass(frozen=True, slots=True)
class Mortal(Task):
    """A task of which one pipeline kills its worker."""

    def run(self, pipeline: str) -> Trial:
        if pipeline == "kill":
            os._exit(1)
        return Trial(pipeline, 1.0, 0.0, Sizes(1, 1))


def mortal() -> Mortal:
    judge = Criterion().judge(GRAPH, networks.data_for(GRAPH))
    assert judge is not None
    return Mortal(GRAPH, None, judge, 0)


def test_a_killed_worker_leaves_the_trials_before_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out", {}, resume=False)
    with local(1)(mortal()) as pool, pytest.raises(IrcError, match=r"E605.*--resume"):
        for trial in finished(pool, ["first"]):
            journal.add(trial)
        for trial in finished(pool, ["kill", "never"]):
            journal.add(trial)
    assert [trial.pipeline for trial in Journal(tmp_path / "out", {}, resume=True).trials()] == ["first"]


def test_workers_end_with_a_parent_that_was_killed(model: Path) -> None:
    arguments = ["explore", model, "--space", "default", "--calib", model.parent / "data.npz", "--trials", 500, "-o",
                 model.parent / "out"]
    parent = subprocess.Popen([sys.executable, "-m", "irc", *map(str, arguments)], stdout=subprocess.PIPE)
    journal = model.parent / "out" / "trials.jsonl"
    while not (journal.exists() and journal.stat().st_size) and parent.poll() is None:
        time.sleep(0.05)
    parent.kill()
    assert parent.communicate(timeout=60)[0] == b""  # ends when no worker holds the pipe any more
    kept = journal.read_bytes().count(b"\n")
    assert kept > 0
    assert irc(*arguments[:-4], "--trials", 5, "-o", model.parent / "out", "--resume").code == 0


# --- clusters

@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster of one worker in this process."""
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://",
                      dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


def test_a_cluster_finds_what_this_machine_finds(model: Path, scheduler: str) -> None:
    assert run(model, "far", "--scheduler", scheduler, "--trials", 5).code == 0
    explored(model, "near", Counted(), trials=5)
    assert tree(model.parent / "far") == tree(model.parent / "near")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "pigeon://here:1"])
def test_a_cluster_that_does_not_answer_is_an_error_that_keeps_what_is_there(model: Path, address: str) -> None:
    explored(model, "out", Counted(), trials=5)
    before = (model.parent / "out" / "trials.jsonl").read_bytes()
    answer = run(model, "out", "--resume", "--scheduler", address, "--timeout", 0.2)
    assert answer.code == 2
    assert answer.err.startswith("error[E604]")
    assert "--resume" in answer.err
    assert (model.parent / "out" / "trials.jsonl").read_bytes() == before


def test_a_cluster_without_workers_does_not_answer(model: Path) -> None:
    with LocalCluster(n_workers=0, processes=False, protocol="tcp://", dashboard_address=":0") as empty:
        answer = run(model, "out", "--scheduler", empty.scheduler_address, "--timeout", 0.2)
    assert (answer.code, answer.err[:11]) == (2, "error[E604]")


def test_a_cluster_needs_the_extra(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    answer = run(model, "out", "--scheduler", "tcp://127.0.0.1:1")
    assert (answer.code, answer.err[:11]) == (2, "error[E601]")
    assert "irc-compiler[cluster]" in answer.err


# --- what is shown

def test_points_are_listed_with_their_pipelines_as_compile_takes_them(model: Path) -> None:
    answer = run(model, "out", "--trials", 5)
    for number, point in enumerate(run(model, "out", "--trials", 5, "--resume", "--json").json["front"], 1):
        assert f"{number}: --passes '{point['pipeline']}'\n" in answer.out


def test_the_picture_has_a_dot_for_each_trial_that_worked() -> None:
    rng = np.random.default_rng(0)
    trials = [Trial(f"prune <{i}>", 90 - loss, loss, Sizes(int(bits), 1))
              for i, (loss, bits) in enumerate(rng.integers(1, 50, (20, 2)))]
    best = [trials[i] for i in front(np.array([trial.objectives for trial in trials]))]
    svg = drawn([*trials, Trial("broken", problem={"code": "E306"})], best, find_metric("accuracy"))
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg.count("<circle") == 20
    assert svg.count('r="4.5"') == len(best)
    assert "&lt;0&gt;" in svg


@pytest.mark.parametrize("trials", [[], [Trial("a", 0.0, 0.0, Sizes(0, 0))], [Trial("a", 98.0, 0.0, Sizes(80, 1))] * 3])
def test_a_picture_of_few_trials_has_only_finite_numbers(trials: list[Trial]) -> None:
    svg = drawn(trials, trials[:1], find_metric("mse"))
    assert not [word for word in ("nan", "inf") if word in svg]


def test_exploring_needs_data_to_judge_by(model: Path) -> None:
    answer = irc("explore", model, "--space", SPACE, "-o", model.parent / "out")
    assert (answer.code, answer.err[:11]) == (2, "error[E402]")
    assert not (model.parent / "out").exists()
