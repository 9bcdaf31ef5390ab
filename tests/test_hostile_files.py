"""Model files that mean harm: each is answered in one line, within 10 seconds and 1 GB, and nothing is read outside."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx_models import build, ints, one, save, weights

from irc.check import check_model
from irc.diagnostics import IrcError
from irc.frontend import check_onnx, read_onnx
from irc.limits import DEFAULTS, limits
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline

SECONDS, KILOBYTES = 10, 1 << 20


def answer(path: Path, *options: str) -> tuple[int, str]:
    """Exit code and stderr of `irc check`, which has to stay within the bounds."""
    command = [sys.executable, "-m", "irc", "check", str(path), "--passes", "", "--target", "sim", *options]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS)))
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    assert usage.ru_maxrss < KILOBYTES, f"{usage.ru_maxrss} kB"
    return child.returncode, said


def chain(length: int) -> ModelProto:
    return build([helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(length)], {"v0": (1, 2)},
                 outputs=[f"v{length}"])


def declared(*dims: int) -> ModelProto:
    """A weight whose shape promises more than there is."""
    model = one("Add", (1, 4), weights(w=(4,)))
    model.graph.initializer[0].dims[:] = dims
    return model


def doubling(levels: int) -> ModelProto:
    """Local functions, each of which calls the next one twice."""
    model = build([helper.make_node("f0", ["x"], ["y"], domain="local")], {"x": (1, 4)})
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    for i in range(levels):
        inner = {"op_type": f"f{i + 1}", "domain": "local"} if i + 1 < levels else {"op_type": "Relu"}
        body = [helper.make_node(inputs=[a], outputs=[b], **inner) for a, b in ("at", "tb")]
        model.functions.append(helper.make_function("local", f"f{i}", ["a"], ["b"], body, opsets))
    model.opset_import.append(opsets[1])
    return model


def recursive() -> ModelProto:
    model = doubling(2)
    model.functions[1].node[0].op_type, model.functions[1].node[0].domain = "f0", "local"
    return model


def called_with_too_much() -> ModelProto:
    model = doubling(1)
    model.graph.node[0].input.append("x")
    return model


def defined_twice() -> ModelProto:
    model = doubling(1)
    model.functions.append(model.functions[0])
    return model


def nested(levels: int) -> ModelProto:
    """If in If in If."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    for _ in range(levels):
        body = helper.make_graph(nodes, "g", [], [helper.make_empty_tensor_value_info("y")])
        nodes = [helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)]
    return build(nodes, {"x": (1, 2)}, {"c": np.array([True])})


def filled(*shape: int) -> ModelProto:
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    return build(nodes, {"x": (1,)}, {"s": ints(*shape)})


def tiled(*repeats: int) -> ModelProto:
    nodes = [helper.make_node("Tile", [f"w{i}", "r"], [f"w{i + 1}"]) for i in range(4)]
    return build([*nodes, helper.make_node("Add", ["x", "w4"], ["y"])], {"x": (1,)},
                 {"w0": np.ones((10,) * len(repeats), np.float32), "r": ints(*repeats)})


def many_constants() -> ModelProto:
    nodes = [helper.make_node("ConstantOfShape", ["s"], [f"c{i}"]) for i in range(200)]
    return build([*nodes, helper.make_node("Relu", ["x"], ["y"])], {"x": (1,)}, {"s": ints(1 << 23)})


def products() -> ModelProto:
    """Constants that take much time to fold and little memory."""
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["c0"])]
    nodes += [helper.make_node("MatMul", [f"c{i}", f"c{i}"], [f"c{i + 1}"]) for i in range(6)]
    return build([*nodes, helper.make_node("Add", ["x", "c6"], ["y"])], {"x": (1,)}, {"s": ints(4000, 4000)})


def convolved(image: int, kernel: int) -> ModelProto:
    return one("Conv", (1, 1, image, image), weights(w=(1, 1, kernel, kernel)))


def outer(size: int) -> ModelProto:
    """A sum over the products of four vectors: one number, size ** 4 steps."""
    return build([helper.make_node("Einsum", ["x"] * 4, ["y"], equation="a,b,c,d->")], {"x": (size,)})


def pooled(image: int, kernel: int) -> ModelProto:
    return one("MaxPool", (1, 1, image, image), kernel_shape=[kernel] * 2)


def recurring(time: int, hidden: int) -> ModelProto:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=hidden)
    return build([node], {"x": (time, 1, 4)}, weights(w=(1, 4 * hidden, 4), r=(1, 4 * hidden, hidden)))


def joined(operands: int) -> ModelProto:
    return build([helper.make_node("Concat", ["x"] * operands, ["y"], axis=1)], {"x": (1, 2)})


def parted(results: int) -> ModelProto:
    names = [f"y{i}" for i in range(results)]
    node = helper.make_node("Split", ["x"], names, axis=1, num_outputs=results)
    return build([node], {"x": (1, results)}, outputs=names[:1], opset=18)


def convolutions(times: int, image: int, channels: int) -> ModelProto:
    nodes = [helper.make_node("Conv", [f"v{i}", "w"], [f"v{i + 1}"], pads=[1] * 4) for i in range(times)]
    return build(nodes, {"v0": (1, channels, image, image)}, weights(w=(channels, channels, 3, 3)),
                 outputs=[f"v{times}"])


def shared_weight(times: int, size: int) -> ModelProto:
    """One weight of many layers, each of which will quantize it for itself."""
    nodes = [helper.make_node("MatMul", [f"v{i}", "w"], [f"v{i + 1}"]) for i in range(times)]
    return build(nodes, {"v0": (1, size)}, weights(w=(size, size)), outputs=[f"v{times}"])


def unrolled(times: int) -> ModelProto:
    """A loop of additions."""
    ports = [helper.make_tensor_value_info(*port) for port in
             (("i", TensorProto.INT64, []), ("c", TensorProto.BOOL, []), ("a", TensorProto.FLOAT, [1, 4]))]
    made = [helper.make_tensor_value_info(*port) for port in
            (("d", TensorProto.BOOL, []), ("b", TensorProto.FLOAT, [1, 4]))]
    body = helper.make_graph([helper.make_node("Add", ["a", "w"], ["b"]), helper.make_node("Identity", ["c"], ["d"])],
                             "body", ports, made)
    return build([helper.make_node("Loop", ["n", "t", "x"], ["y"], body=body)], {"x": (1, 4)},
                 {"n": np.array(times, np.int64), "t": np.array(True), **weights(w=(1, 4))})


def axes(count: int) -> ModelProto:
    """A transposition of so many axes that their orders cannot be tried one by one."""
    return build([helper.make_node("Transpose", ["x"], ["y"], perm=list(reversed(range(count))))],
                 {"x": (1,) * (count - 16) + (2,) * 16})


def fan(times: int) -> ModelProto:
    return build([helper.make_node("Relu", ["x"], [f"y{i}"]) for i in range(times)], {"x": (1, 2)},
                 outputs=[f"y{i}" for i in range(times)])


def enlarged() -> ModelProto:
    return one("Upsample", (1, 1, 64, 64), {"s": np.array([1, 1, 60, 60], np.float32)}, opset=9)


def largest_of(size: int) -> ModelProto:
    return build([helper.make_node("TopK", ["x", "k"], ["y", ""])], {"x": (1, size)}, {"k": ints(5)})


def all_products(size: int) -> ModelProto:
    return build([helper.make_node("Einsum", ["x"] * 4, ["y"], equation="a,b,c,d->abcd")], {"x": (size,)})


def grown(times: int) -> ModelProto:
    """Many values, none of them too large."""
    nodes = [helper.make_node("Sin", [f"v{i}"], [f"v{i + 1}"]) for i in range(times)]
    large = helper.make_node("Expand", ["x", "s"], ["v0"])
    return build([large, *nodes], {"x": (1, 1)}, {"s": ints(1 << 11, 1 << 12)}, outputs=[f"v{times}"])


BOMBS: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "declared": (lambda: declared(1 << 20, 1 << 20), "E109"),
    "declared beyond 64 bits": (lambda: declared(*(1 << 62,) * 30), "E109"),
    "declared, a little": (lambda: declared(1 << 20), "E102"),
    "negative": (lambda: declared(-1), "E102"),
    "rank": (lambda: declared(*(1,) * 70), "E109"),
    "input": (lambda: one("Relu", (1, 1 << 40)), "E109"),
    "chain": (lambda: chain(50_000), "E109"),
    "nodes": (lambda: chain(50_001), "E109"),
    "functions": (lambda: doubling(40), "E109"),
    "recursion": (recursive, "E102"),
    "function of too many operands": (called_with_too_much, "E102"),
    "function defined twice": (defined_twice, "E102"),
    "filled": (lambda: filled(10**12), "E104"),
    "filled many times": (many_constants, "E109"),
    "tiled": (lambda: tiled(1000, 1000), "E1"),
    "kernel": (lambda: one("MaxPool", (1, 1, 9, 9), kernel_shape=[1 << 40] * 2, pads=[1 << 39] * 4), "E109"),
    "pads": (lambda: one("Conv", (1, 1, 9, 9), weights(w=(1, 1, 1, 1)), pads=[1 << 40] * 4), "E109"),
    "padded": (lambda: one("Pad", (1, 9), {"p": ints(1 << 40, 0, 0, 0)}), "E109"),
    "expanded": (lambda: one("Expand", (1, 9), {"s": ints(1 << 40, 9)}), "E1"),
    "resized": (lambda: one("Upsample", (1, 1, 9, 9), {"s": np.array([1, 1, 1e9, 1e9], np.float32)}, opset=9), "E1"),
    "one large value": (lambda: one("Relu", (1, 1 << 25)), "E109"),
    "many large values": (lambda: grown(16), "E109"),
    "one value, sorted": (lambda: largest_of(20_000_000), "E109"),
    "multiplications": (lambda: convolutions(300, 64, 64), "E109"),
    "a weight of many layers": (lambda: shared_weight(100, 1000), "E109"),
    "operands": (lambda: joined(20_000), "E109"),
    "results": (lambda: parted(20_000), "E109"),
    "loop": (lambda: unrolled(5_970), "E109"),
    "resized, a little": (enlarged, "E109"),
    "products of four vectors": (lambda: all_products(60), "E109"),
    "windows": (lambda: convolved(1000, 300), "E109"),
    "windows of a pool": (lambda: pooled(2000, 900), "E109"),
    "einsum": (lambda: outer(1000), "E109"),
    "time steps": (lambda: recurring(100_000, 500), "E109"),
    "text": (lambda: one("MaxPool", (1, 1, 4, 4), kernel_shape=[2, 2], auto_pad="A" * 50_000_000), "E109"),
    "name": (lambda: build([helper.make_node("Relu", ["x"], ["y"], name="n" * 100_000)], {"x": (1,)}), "E109"),
    "terminal": (lambda: build([helper.make_node("Relu", ["x"], ["y"], name="\x1b[2J\n")], {"x": (1,)}), "E102"),
    "unknown names": (lambda: build([helper.make_node("Relu", [f"a{i}"], [f"b{i}"]) for i in range(20_000)],
                                    {"x": (1,)}, outputs=["b0"]), "E105"),
    "unknown operators": (lambda: build([helper.make_node(f"Rel{i}", ["x"], [f"b{i}"]) for i in range(20_000)],
                                        {"x": (1,)}, outputs=["b0"]), "E104"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb(bomb: str, tmp_path: Path) -> None:
    make, wanted = BOMBS[bomb]
    found = check_onnx(save(make(), tmp_path))
    assert found and all(problem.code.startswith(wanted) for problem in found), found[:3]


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_within_bounds(bomb: str, tmp_path: Path) -> None:
    code, said = answer(save(BOMBS[bomb][0](), tmp_path))
    assert code in (1, 2) and "Traceback" not in said and "\x1b" not in said


@pytest.mark.slow
@pytest.mark.parametrize("make", [
    lambda: chain(2_000), products, lambda: nested(10), lambda: convolutions(1_900, 2, 1), lambda: axes(32),
    lambda: fan(20_000), lambda: joined(1_000), lambda: unrolled(1_900)])
def test_large_but_allowed_within_bounds(make: Callable[[], ModelProto], tmp_path: Path) -> None:
    code, said = answer(save(make(), tmp_path))
    assert code in (0, 1, 2) and "Traceback" not in said


def test_the_axes_of_a_tensor_are_not_permuted_one_by_one(tmp_path: Path) -> None:
    assert check_model(save(axes(32), tmp_path), "sim", "").refusals == ()


def test_a_long_chain_of_sums_is_folded_exactly(tmp_path: Path) -> None:
    graph = read_onnx(save(unrolled(1_900), tmp_path))
    folded = run_pipeline(graph, parse_pipeline("fold"), check=True).graph
    (total,), (step,) = folded.constants.values(), graph.constants.values()
    np.testing.assert_allclose(total.data, 1_900 * step.data.astype(np.float64), rtol=2.0**-23)


def test_a_limit_names_the_flag_that_raises_it(tmp_path: Path) -> None:
    (found,) = check_onnx(path := save(one("Relu", (1, 1 << 25)), tmp_path))
    assert found.remedy == "If you trust the file: --limit value=33554432"
    read = read_onnx(path, limits=limits({"value": 1 << 25}))
    assert read.tensor(read.outputs[0].value).shape == (1, 1 << 25)


@pytest.mark.parametrize("given", [{"tensr": 1}, {"tensor": 0}])
def test_bad_limit(given: dict[str, int]) -> None:
    with pytest.raises(IrcError, match=r"E001.*tens"):
        limits(given)


def test_the_flag_reaches_the_reader(tmp_path: Path) -> None:
    code, said = answer(save(one("Relu", (1, 99)), tmp_path), "--limit", "tensor=1e1")
    assert code == 2 and said.startswith("error[E109]") and said.count("\n") == 1


def test_file_that_is_too_long(tmp_path: Path) -> None:
    with (path := tmp_path / "m.onnx").open("wb") as stream:
        stream.truncate(DEFAULTS.file + 1)
    assert [p.code for p in check_onnx(path)] == ["E109"]


def external(folder: Path, location: str, **more: str) -> list[str]:
    model = one("Add", (1, 4), weights(w=(4,)))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=v)
                                for k, v in {"location": location, **more}.items())
    return [p.code for p in check_onnx(save(model, folder))]


def test_external_data_is_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert external(tmp_path, "pipe") == ["E101"]


def test_external_data_is_no_folder(tmp_path: Path) -> None:
    assert external(tmp_path, ".") != [] and external(tmp_path, "a\0b") == ["E102"]


@pytest.mark.parametrize("more", [{"offset": "-1"}, {"offset": "x"}, {"offset": "99999999999999999999"},
                                  {"length": "x"}, {"offset": "8"}])
def test_external_data_at_impossible_places(more: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    assert external(tmp_path, "w.bin", **more)[0] in ("E101", "E102")


def test_external_data_read_no_further_than_the_shape(tmp_path: Path) -> None:
    with (tmp_path / "w.bin").open("wb") as stream:
        stream.truncate(1 << 40)
    assert external(tmp_path, "w.bin") == []


def test_names_of_printable_text_reach_no_path(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["../../y"], name='*/ "; `include')
    graph = read_onnx(save(build([node], {"x": (1, 2)}, outputs=["../../y"]), tmp_path))
    assert graph.nodes[0].name.isidentifier()
