"""The emitted simulator: values against the interpreter, cycles against the law, waves against pyvcd."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streams import S8, U8, Builder, lenet, random_feeds, with_depths
from vcd.reader import TokenKind, tokenize

from backends.sim import SIM
from irc.dataflow import law
from irc.dataflow.timing import simulate_timing
from irc.diagnostics import IrcError
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.ops.matvec import MatVec
from irc.ops.routing import Fork, StreamConcat, Width
from irc.ops.stream_map import MapAdd, MapClip, MapThreshold
from irc.ops.stream_reduce import Embed, Reduce, StreamArgMax
from irc.ops.window import Window
from irc.samples import bind, present
from irc.types import Array, Encoding, Integer, PowerOfTwo, StreamType, TensorType

SMALL = ((1, 2, 16, 12, 12), (6, 16, 24, 12, 10))


def emitted(graph: Graph, folder: Path) -> Path:
    for name, content in SIM.emit(graph).items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def outputs(graph: Graph, feeds: Mapping[str, Array], folder: Path) -> Mapping[str, Array]:
    assert SIM.refused(graph) == ()
    return SIM.run(emitted(graph, folder), graph, feeds, scratch=folder).outputs


def agrees(graph: Graph, folder: Path, samples: int = 5) -> None:
    feeds = random_feeds(graph, samples)
    found = outputs(graph, feeds, folder)
    for name, expected in evaluate(graph, feeds).items():
        assert found[name].dtype == np.int64 and np.array_equal(found[name], expected)


@pytest.mark.parametrize("lanes, taps, repeat", [(1, 1, 3), (2, 1, 1), (4, 3, 1), (4, 9, 2)])
def test_line_buffers_of_every_folding(tmp_path: Path, lanes: int, taps: int, repeat: int) -> None:
    net = Builder()
    x = net.input("x", StreamType(S8, 63, 4, lanes, depth=200))
    op = Window((9, 7), 4, (3, 3), (2, 1), (1, 0, 2, 1), (1, 2), pad_value=3, taps=taps, repeat=repeat)
    agrees(net.graph(net.actor("windows", op, x)), tmp_path)


def test_line_buffer_in_blocks_and_pooling(tmp_path: Path) -> None:
    net = Builder()
    x = net.input("x", StreamType(S8, 64, 4, 2, depth=200))
    windows = net.actor("windows", Window((8, 8), 4, (2, 2), (2, 2), block=2), x)
    agrees(net.graph(net.actor("largest", Reduce(4, 2), windows)), tmp_path)


def test_sums_over_time(tmp_path: Path) -> None:
    net = Builder()
    x = net.input("x", StreamType(S8, 12, 3))
    agrees(net.graph(net.actor("total", Reduce(12, 3, "sum"), x)), tmp_path)


@pytest.mark.parametrize("bits", [2, 24, 40])
def test_dot_products_stay_exact_whatever_the_widths(tmp_path: Path, bits: int) -> None:
    net = Builder()
    x = net.input("x", StreamType(Integer(True, bits), 3, 40, repeat=2))
    graph = net.graph(net.layer("y", x, 4, 2, Integer(True, 16)))
    agrees(graph, tmp_path)
    kind = {2: "float32", 24: "float64", 40: "x @ DATA"}[bits]
    assert kind in (tmp_path / "sim.py").read_text().split("def compute")[0]


def test_power_of_two_weights(tmp_path: Path) -> None:
    net, form = Builder(), PowerOfTwo(2, 6)
    x = net.input("x", StreamType(U8, 5, 8, 4))
    weight = net.rom("weight", form, net.rng.choice(form.values(), (3, 8)))
    agrees(net.graph(net.actor("y", MatVec(3), x, weight)), tmp_path)


def test_maps_fork_concat_width_and_argmax(tmp_path: Path) -> None:
    net = Builder("odd name % \"quoted\"")
    x = net.input("lambda", StreamType(S8, 6, 4, 2))
    net.actor("sums", Fork(2), x)
    low = net.actor("1/clip", MapClip(4, -5, 90), "sums")
    offset = net.rom("offset", Integer(True, 6), np.array([1, -20, 3, 7]))
    high = net.actor("np", MapAdd(4, S8), net.actor("again", MapClip(4, -100, 100), "sums_1"), offset)
    clip = net.actor("clip", MapClip(4, -5, 90), high)
    joined = net.actor("joined", StreamConcat((4, 4)), low, clip)
    one = net.actor("narrow", Width(1), joined)
    agrees(net.graph(net.actor("which", StreamArgMax(8), one)), tmp_path)


@pytest.mark.parametrize("rows", [1, 4])
def test_thresholds_for_all_channels_or_each(tmp_path: Path, rows: int) -> None:
    net = Builder()
    x = net.input("x", StreamType(S8, 9, 4))
    steps = net.rom("steps", S8, np.sort(net.rng.integers(-128, 128, (rows, 7))))
    agrees(net.graph(net.actor("level", MapThreshold(4, Integer(True, 4), -3), x, steps)), tmp_path)


def test_embedding(tmp_path: Path) -> None:
    net = Builder()
    x = net.input("token", StreamType(Integer(False, 4), 5, 1))
    table = net.rom("table", S8, net.rng.integers(-128, 128, (16, 6)))
    agrees(net.graph(net.actor("rows", Embed(2), x, table)), tmp_path)


def test_lenet_values_and_every_handshake(tmp_path: Path) -> None:
    graph = lenet(*SMALL)
    feeds = random_feeds(graph, 4)
    run = SIM.run(emitted(graph, tmp_path), graph, feeds, scratch=tmp_path)
    timing = simulate_timing(graph, 4)
    assert np.array_equal(run.outputs["out0"], evaluate(graph, feeds)["out0"]) and run.cycles == timing.cycles
    assert set(run.handshakes) == {c.name for c in timing.schedule.network.channels}
    for name, found in run.handshakes.items():
        arrivals, departures = timing.handshakes(name)
        assert np.array_equal(found.arrivals, arrivals) and np.array_equal(found.departures, departures)


def test_the_law_in_the_simulator_is_the_law(tmp_path: Path) -> None:
    text = (emitted(lenet(*SMALL), tmp_path) / "sim.py").read_text()
    source = Path(law.__file__).read_text()
    assert source[source.index("Cycles = ") :].strip() in text


def test_same_graph_same_bytes() -> None:
    assert SIM.emit(lenet(*SMALL)) == SIM.emit(lenet(*SMALL))


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", str(folder / "sim.py"), *arguments], capture_output=True, text=True)


def test_command_line_quantizes_reals_and_writes_tensors(tmp_path: Path) -> None:
    net = Builder()
    x = net.input("x", StreamType(U8, 4, 3), TensorType(U8, (1, 3, 2, 2)), (0, 2, 3, 1), Encoding((0.25,), 10))
    graph = net.graph(net.actor("y", MapClip(3, 20, 200), x))
    reals = np.random.default_rng(0).uniform(-20, 70, (5, 3, 2, 2))
    np.save(tmp_path / "x.npy", reals)
    done = command(emitted(graph, tmp_path), "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    steps = np.clip(np.rint(reals / 0.25) + 10, 0, 255)
    assert np.array_equal(np.load(tmp_path / "y.npy"), steps.transpose(0, 2, 3, 1).reshape(5, 4, 3).clip(20, 200))


def test_report_gives_cycles_latency_interval_and_utilisation(tmp_path: Path) -> None:
    graph = lenet(*SMALL)
    facts = json.loads(command(emitted(graph, tmp_path), "--frames", "1000", "--json").stdout)
    timing = simulate_timing(graph, 1000)
    assert (facts["cycles"], facts["latency"], facts["interval"]) == (timing.cycles, timing.latency, timing.interval)
    assert facts["utilisation"]["conv1"] == pytest.approx(timing.utilisation["conv1"], abs=1e-6)
    assert "initiation interval" in command(tmp_path, "--report").stdout


def test_waves_show_every_push(tmp_path: Path) -> None:
    net = Builder()
    x = net.input("x", StreamType(U8, 16, 1, depth=2))
    graph = net.graph(net.actor("y", MapClip(1, 20, 200), x, depth=3))
    command(emitted(graph, tmp_path), "--frames", "3", "--vcd", str(tmp_path / "w.vcd"), "--vcd-frames", "2")
    high, now, cycles, ids = False, 0, set(), []
    for token in tokenize(io.BytesIO((tmp_path / "w.vcd").read_bytes())):
        if token.kind is TokenKind.VAR:
            ids.append(token.var.id_code)
        elif token.kind is TokenKind.CHANGE_TIME:
            cycles |= set(range(now, token.time_change)) if high else set()
            now = token.time_change
        elif token.kind is TokenKind.CHANGE_SCALAR and token.scalar_change.id_code == ids[3]:
            high = token.scalar_change.value == "1"
    assert sorted(cycles) == simulate_timing(graph, 2).handshakes("y")[0].tolist()


def test_raw_integers_go_in_and_come_out_as_they_are(tmp_path: Path) -> None:
    net = Builder()
    x = net.input("x", StreamType(U8, 1, 4), TensorType(U8, (1, 4)), (), Encoding((0.5,), 3))
    np.save(tmp_path / "x.npy", [[0, 7, 100, 255]])
    folder = emitted(net.graph(net.actor("y", MapClip(4, 2, 90), x)), tmp_path)
    command(folder, "--raw", "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy"))
    assert np.load(tmp_path / "y.npy").ravel().tolist() == [2, 7, 90, 90]


@pytest.mark.parametrize("array, message, options", [
    (np.zeros((2, 5)), "has shape", []), (np.full((2, 4), np.nan), "NaN", []),
    (np.full((2, 4), 300), "integers in [0, 255]", ["--raw"])])
def test_bad_input_is_one_line(tmp_path: Path, array: Array, message: str, options: list[str]) -> None:
    net = Builder()
    x = net.input("x", StreamType(U8, 1, 4), TensorType(U8, (1, 4)), (), Encoding((1.0,)))
    np.savez(tmp_path / "x.npz", x=array)
    folder = emitted(net.graph(net.actor("y", MapClip(4, 2, 9), x)), tmp_path)
    done = command(folder, "--input", str(tmp_path / "x.npz"), *options)
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_deadlock_and_missing_files_are_diagnostics(tmp_path: Path) -> None:
    graph = with_depths(lenet(*SMALL), {"image": 60})
    with pytest.raises(IrcError, match=r"E603.*room in image"):
        SIM.run(emitted(graph, tmp_path), graph, random_feeds(graph, 1), scratch=tmp_path)
    (tmp_path / "weights.npz").unlink()
    with pytest.raises(IrcError, match="E504"):
        SIM.run(tmp_path, graph, {}, scratch=tmp_path)


def test_unknown_actor_is_refused() -> None:
    from irc.ops.elementwise import Relu

    net = Builder()
    net.input("x", StreamType(U8, 1, 4))
    graph = Graph("g", net.graph("x").level, (), (), {}, (net.graph("x").edit().node("y", Relu(), ["x"], [U8]),))
    assert [d.code for d in SIM.refused(graph)] == ["E502"]


def test_tensors_go_in_and_come_out_as_the_compiler_does_it(tmp_path: Path) -> None:
    net = Builder()
    given = Encoding((0.25, 0.5, 0.125), 10, axis=1)
    x = net.input("x", StreamType(U8, 4, 3), TensorType(U8, (1, 3, 2, 2)), (0, 2, 3, 1), given)
    graph = net.graph(net.actor("y", MapClip(3, 20, 200), x))
    shown = replace(graph.outputs[0], tensor=TensorType(U8, (1, 3, 2, 2)), order=(0, 2, 3, 1), encoding=given)
    graph = replace(graph, outputs=(shown,))
    reals = {"x": np.random.default_rng(0).uniform(-20, 70, (5, 3, 2, 2))}
    np.savez(tmp_path / "x.npz", labels=np.zeros(5), **reals)
    command(emitted(graph, tmp_path), "--input", str(tmp_path / "x.npz"), "--output", str(tmp_path / "y.npz"))
    expected = present(graph, evaluate(graph, bind(graph, reals)))["out0"]
    assert np.array_equal(np.load(tmp_path / "y.npz")["out0"], expected)
