"""The C program against the interpreter, gcc's and g++'s warnings, and the sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import S8, U8, Builder, lenet, random_feeds

from backends.hls import HLS
from backends.hls.actors import EMITTERS
from backends.hls.native import pack
from irc.diagnostics import IrcError
from irc.graph import Graph, Port
from irc.interpreter import evaluate
from irc.operation import OPERATIONS
from irc.ops.matvec import MatVec
from irc.ops.routing import Fork, StreamConcat, Width
from irc.ops.stream_map import MapAdd, MapClip, MapScale, MapThreshold
from irc.ops.stream_reduce import Embed, Reduce, StreamArgMax
from irc.ops.window import Window
from irc.types import Array, Integer, Level, PowerOfTwo, StreamType

WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wno-unknown-pragmas")
C99, CXX14 = ("gcc", "-std=c99", *WARNINGS), ("g++", "-std=c++14", "-xc++", *WARNINGS)


def written(graph: Graph, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in HLS.emit(graph).items():
        (folder / name).write_text(str(text))
    return folder


def compiled(command: Sequence[str], folder: Path, *options: str) -> None:
    """Compile and link the design and its test program; fails with the compiler's words."""
    sources = sorted(str(path) for path in folder.glob("*.c"))
    done = subprocess.run([*command, *options, "-o", str(folder / "program"), *sources], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def agrees(graph: Graph, folder: Path, samples: int = 5, feeds: Mapping[str, Array] | None = None) -> None:
    """The C program gives the interpreter's integers, and compiles without a warning."""
    graph.verify()
    written(graph, folder)
    compiled(C99, folder, "-fsyntax-only")
    feeds = random_feeds(graph, samples) if feeds is None else feeds
    found, expected = HLS.run(folder, graph, feeds, scratch=folder / "scratch").outputs, evaluate(graph, feeds)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def residual(lanes: int, pe: int, taps: int, terms: int = 2) -> Graph:
    """Shift weights, padding, strides, pooling, a re-read 1 x 1 window, a fork, concatenation and thresholds."""
    net = Builder("residual", seed=lanes * 100 + pe)
    x = net.input("image", StreamType(U8, 63, 4, lanes, depth=64))
    window = Window((9, 7), 4, (3, 3), (2, 1), (1, 1, 1, 1), (1, 1), 3, 0, taps, 6 // pe)
    form = PowerOfTwo(terms, 6)
    weight = net.rom("conv_weight", form, net.rng.choice(form.values(), (6, 36)))
    x = net.actor("conv", MatVec(pe), net.actor("conv_window", window, x), weight)
    x = net.requantize("act", x, 6)
    pool = Window((5, 7), 6, (2, 3), (2, 2), pads=(1, 1, 0, 0), pad_value=7, block=pe)
    x = net.actor("pool", Reduce(6, pe, "sum"), net.actor("pool_window", pool, x))
    net.actor("both", Fork(2), x)
    left = net.actor("left", MapClip(6, 100, 1000), "both")
    right = net.actor("right", MapClip(6, 0, 500), "both_1")
    left = net.requantize("left_act", left, 6)
    right = net.requantize("right_act", right, 6)
    x = net.actor("joined", StreamConcat((6, 6)), left, right)
    steps = np.sort(net.rng.integers(0, 256, (12, 15)), axis=1)
    x = net.actor("levels", MapThreshold(12, Integer(True, 5), -8), x, net.rom("steps", U8, steps))
    return net.graph(x)


@pytest.mark.parametrize(("lanes", "pe", "taps"), [(1, 1, 1), (2, 2, 1), (4, 3, 3), (4, 6, 9)])
def test_foldings_give_the_interpreters_integers(lanes: int, pe: int, taps: int, tmp_path: Path) -> None:
    agrees(residual(lanes, pe, taps), tmp_path)


def test_lenet(tmp_path: Path) -> None:
    agrees(lenet(), tmp_path, samples=50)


def test_no_frame_holds_overlapping_windows(tmp_path: Path) -> None:
    design = str(HLS.emit(lenet())["lenet.c"])
    sizes = [int(size) for size in re.findall(r"IRC_BUFFER \w+ \w+\[(\d+)\]", design)]
    assert max(sizes) == 28 * 28 * 6  # the largest feature map; the windows of conv1 would be 784 x 25


def test_shift_layers_multiply_nothing() -> None:
    design = str(HLS.emit(residual(2, 2, 1))["residual.c"])
    product = re.search(r"^static \w+ conv_matvec_product\(.*?^}", design, re.DOTALL | re.MULTILINE)
    assert product is not None and "*" not in product[0] and "<<" in product[0]
    body = re.search(r"^static void conv_matvec\(.*?^}", design, re.DOTALL | re.MULTILINE)
    assert body is not None and "sum[unit] += conv_matvec_product(a, " in body[0]


@pytest.mark.parametrize("command", [C99, CXX14, (*C99, "-D__SYNTHESIS__"), (*CXX14, "-D__VITIS_HLS__")])
def test_compiles_without_a_warning(command: Sequence[str], tmp_path: Path) -> None:
    compiled(command, written(residual(4, 3, 3), tmp_path))


def test_synthesis_sees_pragmas_that_follow_the_folding(tmp_path: Path) -> None:
    written(residual(4, 3, 3), tmp_path)
    command = ["gcc", "-std=c99", "-E", "-P", "-D__SYNTHESIS__", str(tmp_path / "residual.c")]
    text = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "#pragma HLS array_partition variable=conv_weight_rom type=cyclic dim=1 factor=3" in text
    assert "#pragma HLS array_partition variable=conv_weight_rom type=cyclic dim=2 factor=12" in text
    assert re.search(r"fold < 3; fold\+\+\) \{ #pragma HLS pipeline II=1 for \(int32_t lane = 0; lane < 12", text)
    assert "#pragma HLS dataflow" in text
    assert "IRC_" not in text


def test_design_includes_nothing_but_stdint() -> None:
    files = HLS.emit(lenet())
    included = {name for file, text in files.items() if not file.endswith("_test.c")
                for name in re.findall(r"#include <(.*)>", str(text))}
    assert included == {"stdint.h"}


def test_runs_clean_under_the_sanitizers_and_checks_itself(tmp_path: Path) -> None:
    graph = residual(2, 3, 1)
    feeds = random_feeds(graph, 4)
    written(graph, tmp_path)
    compiled(C99, tmp_path, "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    (tmp_path / "in").write_bytes(pack(graph.inputs, feeds))
    expected = evaluate(graph, feeds)
    (tmp_path / "good").write_bytes(pack(graph.outputs, expected))
    expected["out0"] = expected["out0"].copy()
    expected["out0"][2, 1, 3] ^= 1
    (tmp_path / "bad").write_bytes(pack(graph.outputs, expected))
    (tmp_path / "short").write_bytes(b"0")
    results = [subprocess.run([tmp_path / "program", tmp_path / "in", tmp_path / file], capture_output=True, text=True)
               for file in ("good", "bad", "short")]
    assert [r.returncode for r in results] == [0, 1, 2]
    assert results[0].stdout == "4 frames, 0 mismatches\n" and results[0].stderr == ""
    assert "frame 2: out0[15] is" in results[1].stdout


def test_wired_weights_become_shifts_and_additions(tmp_path: Path) -> None:
    net = Builder("wired")
    x = net.input("image", StreamType(S8, 12, 2, 2))
    weight = net.rom("weight", S8, net.rng.integers(-128, 128, (5, 18)) * (net.rng.random((5, 18)) < 0.7))
    x = net.actor("conv_window", Window((4, 3), 2, (3, 3), pads=(1, 1, 1, 1), taps=9), x)
    graph = net.graph(net.actor("conv", MatVec(5, wired=True), x, weight))
    agrees(graph, tmp_path)
    files = HLS.emit(graph)
    assert "weight_rom" not in "".join(str(text) for text in files.values())


def test_embedding_argmax_and_global_pooling(tmp_path: Path) -> None:
    net = Builder("words")
    x = net.input("ids", StreamType(Integer(False, 4), 6, 1))
    x = net.actor("rows", Embed(2), x, net.rom("table", S8, net.rng.integers(-128, 128, (16, 8))))
    x = net.actor("total", Reduce(6, 8), x)
    x = net.actor("one", Width(1), x)
    agrees(net.graph(net.actor("best", StreamArgMax(4), x)), tmp_path, samples=40)


def test_wide_numbers_are_computed_in_64_bits(tmp_path: Path) -> None:
    net = Builder("wide")
    x = net.input("samples", StreamType(Integer(True, 24), 3, 8, 2))
    x = net.layer("fir", x, 4, 4, Integer(True, 20))
    scale = net.rom("scale", Integer(False, 12), np.array([4001, 1, 77, 0]))
    offset = net.rom("offset", Integer(True, 50), np.array([-(1 << 45), 1 << 44, 0, 5]))
    agrees(net.graph(net.actor("out", MapScale(4, Integer(True, 40), 9), x, scale, offset)), tmp_path, samples=50)


def test_values_shown_without_work_are_copied(tmp_path: Path) -> None:
    net = Builder("copy")
    x = net.input("image", StreamType(U8, 4, 6, 6))
    graph = net.graph(net.actor("narrow", Width(2), x))
    agrees(graph, tmp_path)


def test_a_window_nothing_takes_in_stands_alone(tmp_path: Path) -> None:
    net = Builder("alone")
    x = net.input("image", StreamType(U8, 20, 3, 3))
    x = net.actor("crop", Window((5, 4), 3, (1, 1), (2, 2), block=3), x)
    agrees(net.graph(net.actor("shift", MapAdd(3, Integer(False, 9)), x, net.rom("by", U8, np.array([7])))), tmp_path)


HOSTILE = ('a"; system("x"); /*', "int", "exp", "main", "9lives", "x1", " ", "*/ #error", "ü??/", "printf", "INT8_MAX",
           "a\nb", "linux", "residual_top", "class", "EOF", "y0", "conv_matvec", "patch", "%s%n")


def renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The same graph with other value names."""
    def new(name: str) -> str:
        return names.get(name, name)

    nodes = tuple(replace(n, results=tuple(map(new, n.results)), operands=tuple(map(new, n.operands)),
                          origin=f"onnx:/{new(n.name)}") for n in graph.nodes)
    constants = {new(k): replace(c, name=new(k)) for k, c in graph.constants.items()}
    inputs = tuple(replace(p, name=new(p.name)) for p in graph.inputs)
    outputs = tuple(Port(new(p.name), p.type, new(p.value)) for p in graph.outputs)
    return Graph("*/ \\ main??/\n", graph.level, inputs, outputs, constants, nodes)


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    graph = residual(1, 1, 1)
    values = [*graph.types, "out0"]
    names = {v: HOSTILE[i % len(HOSTILE)] + "_" * (i // len(HOSTILE)) for i, v in enumerate(values)}
    changed = renamed(graph, names)
    agrees(changed, tmp_path)
    compiled(CXX14, tmp_path)


def test_every_dataflow_op_is_emitted_or_refused() -> None:
    ops = {op for op in OPERATIONS.values() if Level.DATAFLOW in op.levels and op.__module__.startswith("irc.")}
    assert ops <= set(EMITTERS)


def test_an_op_without_an_emitter_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(EMITTERS, Reduce)
    (first, *_) = HLS.refused(residual(1, 1, 1))
    assert (first.code, first.place.node, first.place.operator) == ("E502", "pool", "reduce")


def test_sums_beyond_64_bits_are_refused() -> None:
    net = Builder("huge")
    x = net.input("samples", StreamType(Integer(True, 40), 1, 4))
    (problem,) = HLS.refused(net.graph(net.layer("fir", x, 2, 2, Integer(True, 30))))
    assert problem.code == "E502" and problem.place.node == "fir"


def test_no_compiler_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = residual(1, 1, 1)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(IrcError, match=r"E601.*Install gcc"):
        HLS.run(written(graph, tmp_path), graph, random_feeds(graph, 1), scratch=tmp_path / "scratch")


def test_a_broken_design_shows_what_the_compiler_said(tmp_path: Path) -> None:
    graph = residual(1, 1, 1)
    (written(graph, tmp_path) / "residual.c").write_text("#error no design\n")
    with pytest.raises(IrcError, match=r"E602.*no design"):
        HLS.run(tmp_path, graph, random_feeds(graph, 1), scratch=tmp_path / "scratch")


def test_values_outside_the_input_format_are_refused(tmp_path: Path) -> None:
    graph = residual(1, 1, 1)
    feeds = {"image": random_feeds(graph, 1)["image"] + 200}
    with pytest.raises(IrcError, match=r"E401.*'image'"):
        HLS.run(written(graph, tmp_path), graph, feeds, scratch=tmp_path / "scratch")


def test_same_graph_same_bytes() -> None:
    assert HLS.emit(residual(2, 2, 1)) == HLS.emit(residual(2, 2, 1))


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """A convolution, pooling and a dense layer of any small geometry and folding."""
    net = Builder("random", seed=draw(st.integers(0, 1000)))
    channels, rows = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2, 6]))
    lanes = draw(st.sampled_from([k for k in (1, 2, 4) if channels % k == 0]))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pads = draw(st.tuples(*[st.integers(0, 1)] * 4))
    form = draw(st.sampled_from([U8, S8, Integer(True, 17)]))
    x = net.input("image", StreamType(form, 30, channels, lanes))
    pe = draw(st.sampled_from([k for k in (1, 2, 3, 6) if rows % k == 0]))
    strides, weights = draw(st.tuples(st.integers(1, 2), st.integers(1, 3))), draw(st.sampled_from([S8, U8]))
    dilations, pad_value = draw(st.sampled_from([(1, 1), (2, 1), (1, 2)])), draw(st.sampled_from([0, 5]))
    window = Window((6, 5), channels, kernel, strides, pads, dilations, pad_value, repeat=rows // pe)
    x = net.layer("conv", net.actor("conv_window", window, x), rows, pe, weights)
    x = net.requantize("act", x, rows)
    pool = Window(window.output_size, rows, (2, 2), (1, 2), pads=(1, 1, 0, 0), block=pe)
    x = net.actor("pool", Reduce(4, pe, draw(st.sampled_from(["max", "sum"]))), net.actor("pool_window", pool, x))
    return net.graph(x)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(networks())
def test_random_networks(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> None:
    agrees(graph, tmp_path_factory.mktemp("random"), samples=3)
