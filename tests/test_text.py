"""The IR text: what is printed reads back equal, and every error points at its place."""

from __future__ import annotations

import contextlib
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import Case, golden
from hypothesis import given
from hypothesis import strategies as st

import irc.ops  # noqa: F401 (fills the op table)
from irc.diagnostics import IrcError
from irc.graph import MISSING, Constant, Graph, Node, Port
from irc.operation import OPERATIONS, Op
from irc.ops.elementwise import Add, Clip, Relu
from irc.ops.quantization import Dequantize, Quantize
from irc.ops.shape import Concat, Transpose
from irc.text import large_constants, load_graph, print_graph, read_graph, save_graph
from irc.text.syntax import load_parser
from irc.text.values import plain, print_value, typed
from irc.types import Encoding, Float, Format, Integer, Level, PowerOfTwo, StreamType, TensorType

integers = st.builds(Integer, st.booleans(), st.integers(1, 64))
formats = st.one_of(st.builds(Float, st.sampled_from((32, 64))), integers,
                    st.builds(PowerOfTwo, st.integers(1, 8), st.integers(0, 30)))
odd_names = st.sampled_from(("in", "_", "from", "a.b", "inf"))
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6) | odd_names
scales = st.lists(st.floats(allow_nan=False), min_size=1).map(tuple)
encodings = st.none() | st.builds(Encoding, scales, st.integers() | st.floats(-1e6, 1e6), st.integers(0, 3),
                                  st.sampled_from(["half_even", "half_odd", "floor"]))
st.register_type_strategy(float, st.floats(allow_nan=False))


def attribute(wanted: Any) -> st.SearchStrategy[Any]:
    """Values of an attribute by its annotation; number formats within their limits."""
    known = {Integer: integers, Format: formats}
    return known[wanted] if wanted in known else st.from_type(wanted)


@st.composite
def ops(draw: st.DrawFn, cls: type[Op]) -> Op:
    hints = typing.get_type_hints(cls)
    return cls(**{f.name: draw(attribute(hints[f.name])) for f in cls.attributes()})


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@given(st.data())
def test_attributes_of_every_op_read_back_equal(name: str, data: st.DataObject) -> None:
    op = data.draw(ops(OPERATIONS[name]))
    tree = load_parser("irc.text", "ir.lark").parse(print_value(op), start="value")
    assert typed(plain(tree), OPERATIONS[name]) == op


@st.composite
def constants(draw: st.DrawFn, name: str) -> Constant:
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
    form = draw(st.sampled_from((Float(32), Float(64), Integer(True, 64), Integer(False, 7), PowerOfTwo(2, 6))))
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    if isinstance(form, Float):
        data = noise.standard_normal(shape) * 10.0 ** noise.integers(-30, 30, shape)
    elif isinstance(form, PowerOfTwo):
        data = noise.choice(form.values(), shape)
    else:
        data = noise.integers(form.minimum, form.maximum, shape, endpoint=True)
    return Constant(name, TensorType(form, shape), data)


@st.composite
def model_nodes(draw: st.DrawFn, name: str, reals: list[str], scale: str) -> list[Node]:
    """One or two nodes on 2 x 3 reals that end in a 2 x 3 real called `name`."""
    real, origin = TensorType(Float(32), (2, 3)), draw(st.just("") | names)
    x = draw(st.sampled_from(reals))
    form = draw(integers)
    q, t, d = f"{name}.q", TensorType(Float(32), (3, 2)), TensorType(Float(32), (4, 3))
    return draw(st.sampled_from((
        [Node((name,), Relu(), (x,), (real,), origin)],
        [Node((name,), Add(), (x, draw(st.sampled_from(reals))), (real,), origin)],
        [Node((name,), Clip(draw(st.floats(-9, 0)), 6.0), (x,), (real,), origin)],
        [Node((q,), Transpose((1, 0)), (x,), (t,)), Node((name,), Transpose((1, 0)), (q,), (real,), origin)],
        [Node((q,), Concat(0), (x, x), (d,)), Node((name,), Relu(), (x,), (real,))],
        [Node((q,), Quantize(form), (x, scale, MISSING), (TensorType(form, (2, 3)),), origin),
         Node((name,), Dequantize(), (q, scale), (real,), origin)],
    )))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Model-level graphs with any names, constants, origins and encodings."""
    x, scale, *values = draw(st.lists(names, min_size=4, max_size=8, unique=True))
    held = {scale: Constant(scale, TensorType(Float(64), ()), np.array(draw(st.floats(1e-30, 1e30))))}
    for name in values[:2]:
        held[name] = draw(constants(name))
    nodes: list[Node] = []
    for name in values[2:]:
        reals = [x, *(node.name for node in nodes if node.type == TensorType(Float(32), (2, 3)))]
        nodes += draw(model_nodes(name, reals, scale))
    port = Port(x, TensorType(Float(32), (2, 3)), "", draw(encodings))
    shown = draw(st.sampled_from([x, *held, *(node.name for node in nodes)]))
    graph = Graph(draw(names), Level.MODEL, (port,), (), held, tuple(nodes))
    return replace(graph, outputs=(Port(draw(names), graph.types[shown], shown),))


@given(graphs())
def test_graph_reads_back_equal(graph: Graph) -> None:
    if len(graph.types) == 1 + len(graph.constants) + len(graph.nodes):  # no generated name met another
        assert read_graph(print_graph(graph), large_constants(graph)) == graph


@given(st.floats(width=32, allow_nan=False))
def test_float32_constant_is_short_and_exact(value: float) -> None:
    graph = Graph("g", Level.MODEL, (), (), {"c": Constant("c", TensorType(Float(32), ()), np.array(value))}, ())
    assert read_graph(print_graph(graph)) == graph


def test_stream_ports_read_back_equal() -> None:
    stream = StreamType(Integer(False, 8), 4, 6, 2, 3, 17)
    port = Port("x", stream, "", Encoding((0.1,), 3, 2), TensorType(Float(32), (1, 6, 2, 2)), (0, 2, 3, 1))
    graph = Graph("g", Level.DATAFLOW, (port,), (replace(port, name="y", value="x"),), {}, ())
    assert read_graph(print_graph(graph)) == graph


@golden("text.case")
def test_canonical_text(case: Case) -> None:
    assert print_graph(read_graph(case.given + "\n")) == case.out + "\n"


@golden("text_errors.case")
def test_error(case: Case) -> None:
    with pytest.raises(IrcError) as problem:
        read_graph(case.given + "\n", file="g.irc")
    assert str(problem.value) == case.out


def big_graph() -> Graph:
    kind, data = TensorType(Integer(False, 8), (8, 8)), np.arange(64)
    held = [Constant(name, kind, data + i) for i, name in enumerate(("file", "a/b", "a/b.npy"))]
    return Graph("g", Level.INTEGER, (), (), {c.name: c for c in held}, ())


def test_large_constants_go_to_a_side_file(tmp_path: Path) -> None:
    save_graph(big_graph(), tmp_path / "g.irc")
    assert 'const file: u8[8, 8] = "file"' in (tmp_path / "g.irc").read_text()
    assert load_graph(tmp_path / "g.irc") == big_graph()


def test_files_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_graph(big_graph(), tmp_path / f"{name}.irc")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "a.irc").read_bytes() == (tmp_path / "b.irc").read_bytes()


def test_numpy_reads_the_side_file(tmp_path: Path) -> None:
    save_graph(big_graph(), tmp_path / "g.irc")
    with np.load(tmp_path / "g.npz") as archive:
        assert archive["file"].dtype == np.uint8
        np.testing.assert_array_equal(archive["file"], np.arange(64).reshape(8, 8))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_unreadable_text_is_e101(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "g.irc").write_bytes(content)
    with pytest.raises(IrcError, match="E101"):
        load_graph(tmp_path / "g.irc")


def test_broken_side_file_is_e101(tmp_path: Path) -> None:
    save_graph(big_graph(), tmp_path / "g.irc")
    (tmp_path / "g.npz").write_bytes((tmp_path / "g.npz").read_bytes()[:100])
    with pytest.raises(IrcError, match="E101"):
        load_graph(tmp_path / "g.irc")




@given(st.text("graph at model{}inout:=f32[],()_\"\n #", max_size=60))
def test_any_text_is_read_or_refused_with_a_diagnostic(text: str) -> None:
    with contextlib.suppress(IrcError):
        read_graph(text)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(IrcError, match=r"E201.*nested too deeply"):
        read_graph(f"graph g at model {{\n  const c: f32[] = {'[' * 5000}1{']' * 5000}\n}}")


def test_unwritable_place_is_e503(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IrcError, match="E503"):
        save_graph(big_graph(), tmp_path / "file" / "g.irc")


def test_numpy_numbers_in_attributes_print_as_numbers() -> None:
    assert print_value((np.int64(3), np.float64(0.5), True)) == "[3, 0.5, true]"


def test_large_constants_of_both_signs_keep_every_bit(tmp_path: Path) -> None:
    ends = np.array([[-(1 << 40) - 1, (1 << 40) + 1] * 64])
    kind = TensorType(Integer(True, 42), ends.shape)
    graph = Graph("g", Level.INTEGER, (), (Port("y", kind, "w"),), {"w": Constant("w", kind, ends)}, ())
    save_graph(graph, tmp_path / "g.irc")
    assert load_graph(tmp_path / "g.irc") == graph
