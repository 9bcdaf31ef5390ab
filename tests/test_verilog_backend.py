"""The Verilog target against the interpreter (values), the timing law (every handshake) and three HDL tools."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from integer_networks import branching, convolutional, images

from backends.verilog import VERILOG
from backends.verilog.actors import EMITTERS
from backends.verilog.identifiers import KEYWORDS, comment, identifiers
from backends.verilog.verilated import lint
from irc.actor import stream
from irc.dataflow.timing import simulate_timing
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.mismatch import front
from irc.operation import OPERATIONS
from irc.pipeline.step import Context
from irc.samples import arrange
from irc.types import Level, PowerOfTwo
from passes.hardware.parallelize import Parallelize
from passes.lower.dataflow import LowerDataflow

FOLDINGS = [{"interval": 100_000}, {"multipliers": 24}, {"interval": 1}]


def design(graph: Graph, **folding: int) -> Graph:
    return Parallelize(**folding).run(LowerDataflow().run(graph, Context()), Context())


def written(graph: Graph, folder: Path) -> Path:
    for name, content in VERILOG.emit(graph).items():
        assert isinstance(content, str)
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize("folding", FOLDINGS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_verilated_design_gives_the_integers_and_cycles_that_the_law_says(seed, folding, tmp_path):
    integers = convolutional(seed)
    graph, x = design(integers, **folding), images(integers, 3)
    feeds = {"image": arrange(graph.inputs[0], x)}
    run = VERILOG.run(written(graph, tmp_path), graph, feeds, scratch=tmp_path / "scratch")
    expected = evaluate(integers, {"image": x})["logits"]
    assert np.array_equal(run.outputs["logits"].reshape(3, -1), expected.reshape(3, -1))
    timing = simulate_timing(graph, 3)
    for channel, seen in run.handshakes.items():
        arrivals, departures = timing.handshakes(channel)
        assert np.array_equal(arrivals, seen.arrivals), channel
        assert np.array_equal(departures, seen.departures), channel
    assert run.cycles == timing.cycles


def test_branches_that_join_again_are_cycle_exact(tmp_path):
    integers = branching(0)
    graph, x = design(integers, multipliers=12), images(integers, 2)
    run = VERILOG.run(written(graph, tmp_path), graph, {"image": arrange(graph.inputs[0], x)}, scratch=tmp_path / "s")
    expected = evaluate(integers, {"image": x})["logits"]
    assert np.array_equal(run.outputs["logits"].reshape(2, -1), expected.reshape(2, -1))
    timing = simulate_timing(graph, 2)
    assert all(np.array_equal(timing.handshakes(c)[1], h.departures) for c, h in run.handshakes.items())


@pytest.mark.parametrize("folding", FOLDINGS, ids=str)
@pytest.mark.parametrize("form", [None, PowerOfTwo(2, 3)], ids=["products", "shifts"])
def test_verilator_has_nothing_to_warn_about(form, folding, tmp_path):
    integers = convolutional(7) if form is None else convolutional(7, form)
    graph = design(integers, **folding)
    assert lint(written(graph, tmp_path), "net") == ""


@pytest.mark.parametrize("folding", FOLDINGS, ids=str)
def test_layers_of_powers_of_two_contain_no_product(folding):
    files = VERILOG.emit(design(convolutional(1, PowerOfTwo(2, 3)), **folding))
    layers = {name: text for name, text in files.items() if re.fullmatch(r"net_(c1|c2|f)\.v", name)}
    assert len(layers) == 3
    assert not [name for name, text in layers.items() if re.search(r"[^/*(] \* [^)]", str(text))]


def test_the_same_graph_gives_the_same_bytes():
    first, second = (VERILOG.emit(design(convolutional(2), multipliers=24)) for _ in range(2))
    assert dict(first) == dict(second)


def test_every_actor_is_emitted_or_named_as_refused():
    actors = {cls for cls in OPERATIONS.values() if Level.DATAFLOW in cls.levels}
    assert actors == set(EMITTERS)


def test_an_integer_graph_is_refused_node_by_node():
    refused = VERILOG.refused(convolutional(0))
    assert {d.code for d in refused} == {"E502"}
    assert {d.place.node for d in refused} >= {"c1", "p1", "y"}


def test_hostile_names_become_distinct_identifiers():
    names = ["module", "1st", "a b", "a_b", "A_B", "", "_x", "endmodule//", "ü\n`include"]
    found = list(identifiers(names).values())
    assert len({f.lower() for f in found}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", f) and f not in KEYWORDS for f in found)
    assert "\n" not in comment("x\n`define")


def test_a_design_with_hostile_names_passes_the_linter(tmp_path):
    graph = design(convolutional(3), multipliers=24)
    nodes = tuple(replace(n, origin="a\nendmodule\\") for n in graph.nodes)
    renamed = replace(graph, name="always // begin", nodes=nodes)
    assert lint(written(renamed, tmp_path), "always____begin") == ""


def in_icarus(folder: Path) -> str:
    """What the testbench prints; building it gives no warning."""
    sources = (folder / "files.f").read_text().split()
    build = subprocess.run(["iverilog", "-Wall", "-g2005", "-o", "tb", *sources, "net_tb.v"], cwd=folder,
                           capture_output=True, text=True, check=False)
    assert (build.returncode, build.stderr) == (0, "")
    return subprocess.run([folder / "tb"], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.icarus
@pytest.mark.parametrize("folding", FOLDINGS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_the_testbench_passes_in_icarus_with_stalls_on_every_port_and_a_reset(seed, folding, tmp_path):
    assert in_icarus(written(design(convolutional(seed), **folding), tmp_path)).startswith("PASS")


@pytest.mark.icarus
@pytest.mark.parametrize("file, old, new, message", [
    ("net_f_0.mem", "\n", "0\n", "FAIL: m_axis beat"),
    ("net_c1_window.v", "            lead <= ", "            // ", "FAIL"),
    ("irc_output.v", "assign x_data = memory[head];", "assign x_data = memory[head] ^ {WIDTH{free[0]}};", "FAIL"),
    ("net_tb.v", "tlast = s_axis_beat == ", "tlast = s_axis_beat == 1 + ", "FAIL: tlast does not close a frame"),
], ids=["wrong weight", "register without reset", "beat that changes while it waits", "misplaced tlast"])
def test_the_testbench_finds_a_planted_fault(file, old, new, message, tmp_path):
    folder = written(design(convolutional(0), multipliers=24), tmp_path)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    assert message in in_icarus(folder)


def test_a_design_that_ends_in_a_repeated_window_shows_each_position_once(tmp_path):
    integers = convolutional(0)
    whole, x = design(integers, multipliers=5), images(integers, 2)
    graph = front(whole, next(i for i, n in enumerate(whole.nodes) if stream(whole, n.name).repeat > 1) + 1)
    feeds = {"image": arrange(graph.inputs[0], x)}
    run, expected = VERILOG.run(written(graph, tmp_path), graph, feeds, scratch=tmp_path / "s"), evaluate(graph, feeds)
    assert all(np.array_equal(run.outputs[p.name], expected[p.name]) for p in graph.outputs)
