"""Every bad input is one coded line a problem, with a remedy and exit code 2; nothing is written."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import CALIBRATION, DENSE, LENET, compile_dense, dense, dense_data, irc, tree
from onnx import helper
from onnx_models import build, one, sample, save

LINE = re.compile(r"error\[(E\d{3})\]: \S.*? Hint: \S.*")


def model_file(content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "m.onnx").write_bytes(content)
        return folder / "m.onnx"
    return write


def model(made: onnx.ModelProto) -> Callable[[Path], Path]:
    return lambda folder: save(made, folder, "m.onnx")


def text(content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "m.irc").write_text(content)
        return folder / "m.irc"
    return write


def with_weight(value: float) -> onnx.ModelProto:
    weight = sample((4, 3))
    weight[1, 2] = value
    return one("MatMul", (1, 4), {"w": weight})


DANGLING = build([helper.make_node("Relu", ["x_"], ["y"], name="/r")], {"x": (1, 3)})
MISFIT = one("MatMul", (1, 4), {"w": sample((5, 3))})

MODELS = {
    "missing file": (lambda folder: folder / "none.onnx", "E101", "none.onnx"),
    "a folder": (lambda folder: folder, "E101", ""),
    "not ONNX": (model_file(b"GIF89a, not a model"), "E102", "m.onnx"),
    "truncated": (model_file(LENET.read_bytes()[:5000]), "E102", "m.onnx"),
    "empty file": (model_file(b""), "E102", "m.onnx"),
    "empty graph": (model(build([], {"x": (1, 3)}, outputs=[])), "E103", "m.onnx"),
    "unsupported op": (model(one("Unique", (1, 3))), "E104", "/m/Unique"),
    "dangling name": (model(DANGLING), "E105", "/r"),
    "shape mismatch": (model(MISFIT), "E106", "/m/MatMul"),
    "NaN weights": (model(with_weight(np.nan)), "E107", "'w'"),
    "infinite weights": (model(with_weight(np.inf)), "E107", "'w'"),
    "symbolic size": (model(one("Relu", (1, "width"))), "E108", "width"),
    "syntax error": (text(DENSE.replace("matmul(", "matmul((")), "E201", "m.irc:4"),
    "unknown op": (text(DENSE.replace("matmul", "matmull")), "E203", "'matmul'"),
    "undefined value": (text(DENSE.replace("relu(h)", "relu(g)")), "E202", "'g'"),
    "not text": (lambda folder: model_file(b"\xff\xfe\x00")(folder).rename(folder / "m.irc"), "E101", "m.irc"),
}


def assert_refused(answer: Any, code: str, place: str, problems: int = 1) -> None:
    lines = answer.err.splitlines()
    assert answer.code == 2
    assert len(lines) == problems, answer.err
    assert all(LINE.fullmatch(line) for line in lines), answer.err
    assert {LINE.fullmatch(line)[1] for line in lines} == {code}
    assert place in answer.err
    assert answer.out == ""


@pytest.mark.parametrize("case", MODELS)
def test_model(case: str, tmp_path: Path) -> None:
    make, code, place = MODELS[case]
    answer = irc("compile", make(tmp_path), "--calib", CALIBRATION, "-o", tmp_path / "out")
    assert_refused(answer, code, place)
    assert not (tmp_path / "out").exists()


def test_each_unsupported_operator_is_a_line(tmp_path: Path) -> None:
    nodes = [helper.make_node(op, [a], [b], name=f"/{op}")
             for op, a, b in (("Unique", "x", "h"), ("Multinomial", "h", "i"), ("RandomNormalLike", "i", "y"))]
    answer = irc("compile", save(build(nodes, {"x": (1, 3)}), tmp_path), "-o", tmp_path / "out")
    assert_refused(answer, "E104", "/Multinomial", problems=3)


def npz(**arrays: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "c.npz", **arrays)
        return folder / "c.npz"
    return write


SAMPLES = np.zeros((2, 1, 28, 28), np.float32)
CALIBRATIONS = {
    "missing file": (lambda folder: folder / "none.npz", "E101", "none.npz"),
    "not npz": (lambda folder: LENET, "E101", "mnist_lenet.onnx"),
    "wrong shape": (npz(image=SAMPLES[:, :, 1:]), "E401", "[2, 1, 27, 28]"),
    "no samples": (npz(image=SAMPLES[:0]), "E401", "no samples"),
    "wrong dtype": (npz(image=SAMPLES.astype(complex)), "E401", "complex"),
    "text": (npz(image=np.array(["a", "b"])), "E401", "c.npz"),
    "objects": (npz(image=np.array([{}, None], dtype=object)), "E401", "c.npz"),
    "NaN": (npz(image=SAMPLES + np.nan), "E401", "NaN"),
    "wrong name": (npz(img=SAMPLES), "E401", "Rename 'img' to 'image'"),
}


@pytest.mark.parametrize("case", CALIBRATIONS)
def test_calibration(case: str, tmp_path: Path) -> None:
    make, code, place = CALIBRATIONS[case]
    answer = irc("compile", LENET, "--calib", make(tmp_path), "-o", tmp_path / "out")
    assert_refused(answer, code, place)
    assert not (tmp_path / "out").exists()


CALLS = {
    "no calibration": ([], "E402", "--calib"),
    "unknown pass": (["--passes", "quantise"], "E302", "'quantize'"),
    "unknown option": (["--passes", "fold, quantize{weigths=s5}"], "E303", "[1:16]"),
    "bad option value": (["--passes", "quantize{weights=q5}"], "E304", "1:"),
    "pipeline syntax": (["--passes", "fold, )clean"], "E301", "1:7"),
    "selector of no node": (["--passes", 'prune @ name("nothing")'], "E306", "prune"),
    "unknown target": (["--target", "verilogg"], "E501", "'verilog'"),
    "unknown shape": (["--shape", "width=3"], "E108", "width"),
    "shape without value": (["--shape", "width"], "E001", "NAME=VALUE"),
    "unknown flag": (["--traget", "sim"], "E001", "--target"),
    "seed is no number": (["--seed", "x"], "E001", "--seed"),
    "a file for an output": (["--calib", CALIBRATION, "-o", LENET], "E503", "mnist_lenet.onnx"),
    "unwritable output": (["--calib", CALIBRATION, "-o", "/proc/irc/build"], "E503", "/proc/irc/build"),
    "unwritable dump": (["--calib", CALIBRATION, "--dump", "/proc/irc/dump"], "E503", "/proc/irc/dump"),
}


@pytest.mark.parametrize("case", CALLS)
def test_call(case: str, tmp_path: Path) -> None:
    arguments, code, place = CALLS[case]
    output = [] if "-o" in arguments else ["-o", tmp_path / "out"]
    assert_refused(irc("compile", LENET, *arguments, *output), code, place)
    assert not list(tmp_path.iterdir())


def test_no_command_of_that_name() -> None:
    assert_refused(irc("compil"), "E001", "'compile'")


@pytest.mark.parametrize("command", [["verify", "{}", "--data", "{}/x.npz"], ["run", "{}", "--input", "{}/x.npz"],
                                     ["explain", "{}"]], ids=lambda c: c[0])
@pytest.mark.parametrize("manifest", [None, "", "[]", "{}", '{"layout": 99}', "\xff"])
def test_a_folder_that_is_no_build(command: list[str], manifest: str | None, tmp_path: Path) -> None:
    if manifest is not None:
        (tmp_path / "irc.json").write_text(manifest, "latin-1")
    assert_refused(irc(*(part.format(tmp_path) for part in command)), "E504", "irc.json")


@pytest.mark.parametrize("lost", ["ir/dataflow.irc", "sim/sim.py"])
def test_a_build_that_lost_a_file(lost: str, tmp_path: Path) -> None:
    folder = compile_dense(tmp_path, "sim")
    (folder / lost).unlink()
    assert_refused(irc("run", folder, "--input", dense_data(tmp_path)), "E504", Path(lost).name)


def test_run_refuses_one_array_for_what_is_no_array(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"not numpy")
    assert_refused(irc("run", compile_dense(tmp_path, "sim"), "--input", tmp_path / "x.npy"), "E101", "x.npy")


def test_verify_refuses_labels_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4)), labels=np.zeros((2, 2)))
    answer = irc("verify", compile_dense(tmp_path, "sim"), "--data", tmp_path / "x.npz", "--only", "sim")
    assert_refused(answer, "E401", "labels")


def test_a_missing_tool_names_what_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = compile_dense(tmp_path, "hls")
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = irc("verify", folder, "--data", dense_data(tmp_path), "--only", "hls")
    assert_refused(answer, "E601", "nstall")


def test_with_json_the_problems_are_an_object_too(tmp_path: Path) -> None:
    answer = irc("compile", tmp_path / "none.onnx", "-o", tmp_path / "out", "--json")
    assert answer.code == 2
    assert answer.json["ok"] is False
    assert [problem["code"] for problem in answer.json["diagnostics"]] == ["E101"]


def test_opt_does_not_write_where_it_cannot(tmp_path: Path) -> None:
    assert_refused(irc("opt", dense(tmp_path), "--passes", "clean", "-o", "/proc/irc/x.irc"), "E503", "/proc/irc")


@pytest.mark.parametrize("old", [None, b"the old file"])
def test_a_full_disk_leaves_no_half_of_a_graph(old: bytes | None, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    target, real = tmp_path / "out.irc", Path.write_bytes
    if old is not None:
        target.write_bytes(old)

    def write(path: Path, data: bytes) -> int:
        if "npz" in path.name:
            real(path, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    assert_refused(irc("opt", LENET, "--passes", "fold", "-o", target), "E503", "out.irc")
    assert tree(tmp_path) == ({} if old is None else {"out.irc": old})


def test_a_full_disk_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = compile_dense(tmp_path, "hls")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/scratch")

    monkeypatch.setattr("tempfile.TemporaryDirectory.__enter__", full)
    assert_refused(irc("run", folder, "--input", dense_data(tmp_path)), "E503", "/tmp/scratch")


def test_output_may_go_to_what_is_no_file(tmp_path: Path) -> None:
    assert irc("opt", dense(tmp_path), "--passes", "clean", "-o", "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("lost", ["verilog/files.f", "verilog/dense.v"])
def test_a_build_that_lost_its_verilog(lost: str, tmp_path: Path) -> None:
    folder = compile_dense(tmp_path, "verilog")
    (folder / lost).unlink()
    answer = irc("run", folder, "--input", dense_data(tmp_path))
    assert answer.code == 2
    assert LINE.fullmatch(answer.err.strip())
