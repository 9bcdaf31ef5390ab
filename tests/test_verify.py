"""`irc verify` says yes to equal rungs, and no, naming the place, to each kind of planted fault."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from command_line import IMAGES, compile_dense, compile_lenet, dense_data, irc

from backends.sim import Simulator
from irc.backend import Files
from irc.build import load_build
from irc.graph import Constant, Graph
from irc.mismatch import differing_actor, differing_node, first_difference, front
from irc.samples import bind, load_samples, take
from irc.types import Array
from irc.verify import Verdict, compared_models, interpreted, verify


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lenet") / "build"
    assert compile_lenet(folder, "hls").code == 0
    return folder


@pytest.fixture
def copy(lenet: Path, tmp_path: Path) -> Path:
    """A build of LeNet to plant faults in."""
    return Path(shutil.copytree(lenet, tmp_path / "build"))


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


def checked(folder: Path, only: str, samples: int = 8) -> Verdict:
    return verify(load_build(folder), load_samples(IMAGES), samples=samples, frames=3, only=only.split(","))


def test_every_rung_of_lenet_is_equal_in_values_and_cycles(lenet: Path) -> None:
    answer = irc("verify", lenet, "--data", IMAGES, "--samples", 20, "--frames", 2, "--json")
    assert answer.code == 0
    assert [rung["name"] for rung in answer.json["rungs"]] == [
        "float model", "quantized model", "integer model", "hls", "sim", "verilog"]
    made = {(c["what"], c["expected"], c["found"]): c["equal"] for c in answer.json["comparisons"]}
    assert made == {
        ("values", "quantized model", "integer model"): True, ("values", "integer model", "hls"): True,
        ("values", "integer model", "sim"): True, ("cycles", "timing law", "sim"): True,
        ("values", "integer model", "verilog"): True, ("cycles", "sim", "verilog"): True}
    channels = answer.json["comparisons"][-1]["channels"]
    assert len(channels) == 25
    assert all(channels.values())


def test_accuracy_is_that_of_the_labels(lenet: Path) -> None:
    data = load_samples(IMAGES)
    data["labels"] = np.where(np.arange(300) % 4 == 0, 10, data["labels"])  # a class that no network names
    verdict = verify(load_build(lenet), data, only=["hls"])
    assert [rung.accuracy for rung in verdict.rungs] == [0.75] * 4


def test_quantization_is_reported_not_judged(lenet: Path) -> None:
    verdict = checked(lenet, "hls")
    assert verdict.ok
    assert verdict.drift is not None
    assert verdict.drift.largest_lsb > 1
    assert verdict.drift.same_class == 1.0


def test_only_runs_the_targets_it_names(lenet: Path) -> None:
    assert [rung.name for rung in checked(lenet, "sim").rungs][3:] == ["sim"]


def test_a_digit_in_the_weights_of_the_c_program(copy: Path) -> None:
    path = copy / "hls" / "mnist_lenet_weights.h"
    weight = r"(c2\w*\[[^{]*\{\D*\d+\D+)(\d+)"  # the second number of the first table of this layer
    edit(path, lambda text: re.sub(weight, lambda found: f"{found[1]}{int(found[2]) ^ 1}", text, count=1))
    answer = irc("verify", copy, "--data", IMAGES, "--samples", 8, "--only", "hls")
    assert answer.code == 1
    assert "hls differs from integer model: output 'logits'" in answer.out
    assert "first in file mnist_lenet_weights.h, line " in answer.out
    assert answer.out.endswith("NOT equal\n")


def test_a_weight_of_the_simulator(tmp_path: Path) -> None:
    folder = compile_dense(tmp_path, "sim")
    with np.load(folder / "sim" / "weights.npz") as archive:
        weights = dict(archive)
    name = next(name for name in weights if weights[name].ndim == 2)
    weights[name][0, 0] += 1
    np.savez(folder / "sim" / "weights.npz", **weights)
    answer = irc("verify", folder, "--data", dense_data(tmp_path), "--only", "sim", "--json")
    values, cycles = answer.json["comparisons"]
    assert (answer.code, values["equal"], cycles["equal"]) == (1, False, True)
    assert values["cause"]["where"] == "file weights.npz"


def test_a_digit_in_a_verilog_memory(tmp_path: Path) -> None:
    folder = compile_dense(tmp_path, "verilog", "parallelize{multipliers=1}")
    memory = next(path for path in sorted((folder / "verilog").glob("*.mem")) if "_tb_" not in path.name)
    edit(memory, lambda text: ("0" if text[0] != "0" else "1") + text[1:])
    answer = irc("verify", folder, "--data", dense_data(tmp_path), "--only", "verilog")
    assert answer.code == 1
    assert f"first in file {memory.name}, line 1" in answer.out


def test_a_latency_of_the_simulator(tmp_path: Path) -> None:
    folder = compile_dense(tmp_path, "sim")
    edit(folder / "sim" / "sim.py", lambda text: text.replace("'h', count=1, latency=6", "'h', count=1, latency=7"))
    answer = irc("verify", folder, "--data", dense_data(tmp_path), "--only", "sim", "--json")
    values, cycles = answer.json["comparisons"]
    assert (answer.code, values["equal"], cycles["equal"]) == (1, True, False)
    assert "h" in [channel for channel, equal in cycles["channels"].items() if not equal]
    assert cycles["mismatch"]["found"] == cycles["mismatch"]["expected"] + 1


def test_a_constant_of_the_integer_model_names_node_and_index(copy: Path) -> None:
    edit(copy / "ir" / "integer.irc", lambda text: text.replace("[[-37, -45,", "[[-37, -44,"))
    verdict = checked(copy, "hls")
    judged = verdict.comparisons[0]
    assert (judged.equal, judged.mismatch.index[-1]) == (False, 1)
    assert judged.mismatch.found == judged.mismatch.expected + 1


def altered(graph: Graph, name: str) -> Graph:
    def change(constant: Constant) -> Constant:
        return replace(constant, data=constant.data // 2) if constant.name == name else constant
    return graph.map_constants(change)


def test_a_fault_inside_a_model_is_traced_to_the_first_node(lenet: Path) -> None:
    build, data = load_build(lenet), load_samples(IMAGES)
    upper = interpreted("quantized model", build.graph("quantized"), data, 4)
    lower = interpreted("integer model", altered(build.graph("integer"), "c2_weight_q"), data, 4)
    cause = compared_models(upper, lower).cause
    assert cause is not None
    assert (cause.where, cause.origin) == ("node 'relu_1_q'", "onnx:/Relu_1")


def test_a_fault_in_the_lowering_is_traced_across_layouts(lenet: Path) -> None:
    build, data = load_build(lenet), load_samples(IMAGES)
    upper, lower = build.graph("integer"), build.graph("dataflow")
    high, low = (take(bind(graph, data), 2) for graph in (upper, lower))
    assert differing_node(upper, lower, high, low) is None
    weight = lower.producers["c2"].operands[1]
    cause = differing_node(upper, altered(lower, weight), high, low)
    assert cause is not None
    assert (cause.where, cause.origin) == ("node 'c2'", "onnx:/c2/Conv")


class Faulty(Simulator):
    """A backend that emits other weights than the graph has, whenever `weight` is in it."""

    weight: ClassVar[str]

    def emit(self, graph: Graph) -> Files:
        return super().emit(altered(graph, self.weight))


def test_a_fault_of_a_backend_is_traced_to_the_actor(lenet: Path) -> None:
    graph = load_build(lenet).graph("dataflow")
    feeds = take(bind(graph, load_samples(IMAGES)), 1)
    Faulty.weight = graph.producers["f2_matmul"].operands[1]
    cause = differing_actor(Faulty(), graph, feeds)
    assert cause is not None
    assert (cause.where, cause.origin) == ("stream 'f2_matmul'", "onnx:/f2/Gemm")


def test_the_front_of_a_design_is_a_design(lenet: Path) -> None:
    graph = load_build(lenet).graph("dataflow")
    part = front(graph, 5)
    part.verify()
    assert [port.value for port in part.outputs] == [part.nodes[-1].name]


@pytest.mark.parametrize("where", [(0, 0), (1, 2)])
def test_the_first_difference_is_the_first_in_order(where: tuple[int, int]) -> None:
    expected: Array = np.arange(6).reshape(2, 3)
    found = expected.copy()
    found[where] += 5
    found[1, 2] += 1
    mismatch = first_difference("x", expected, found)
    assert mismatch is not None
    assert mismatch.index == where
    assert mismatch.expected == expected[where]
    assert first_difference("x", expected, expected) is None


def test_values_of_other_shapes_differ() -> None:
    mismatch = first_difference("x", np.zeros((2, 3)), np.zeros((2, 4)))
    assert mismatch is not None
    assert "shape [2, 4]" in str(mismatch)


