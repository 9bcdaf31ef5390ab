"""`irc compile`: the build folder is complete, repeatable, and replaced as a whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import CALIBRATION, IMAGES, LENET, compile_dense, compile_lenet, dense, dense_data, irc, tree

from irc.build import load_build
from irc.compiler import Request, Stages, compile_design, level_after, planned
from irc.frontend import read_onnx
from irc.interpreter import evaluate
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.pipeline.plugins import find_backend
from irc.samples import load_samples
from irc.text import load_graph
from irc.types import Level


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lenet") / "build"
    assert compile_lenet(folder, "sim").code == 0
    return folder


def words(pipeline: str, target: str = "sim") -> list[str]:
    return [step.word for step in planned(read_onnx(LENET), pipeline, find_backend(target))]


def test_the_manifest_lists_every_file(lenet: Path) -> None:
    manifest = load_build(lenet).manifest
    assert sorted((*manifest["files"], "irc.json")) == sorted(tree(lenet))


def test_the_manifest_names_the_model_by_its_digest(lenet: Path) -> None:
    digest = hashlib.sha256(LENET.read_bytes()).hexdigest()
    assert load_build(lenet).manifest["model"] == {"file": "mnist_lenet.onnx", "sha256": digest}


def test_the_manifest_tells_a_host_how_to_feed_the_ports(lenet: Path) -> None:
    port, = load_build(lenet).manifest["inputs"]
    assert port["tensor"] == "u8[1, 1, 28, 28]"
    assert port["order"] == [0, 2, 3, 1]
    assert port["encoding"]["zero"] == 0


def test_every_stage_is_kept(lenet: Path) -> None:
    build = load_build(lenet)
    assert build.stages == ("float", "quantized", "integer", "dataflow")
    levels = [build.graph(stage).level for stage in build.stages]
    assert levels == [Level.MODEL, Level.MODEL, Level.INTEGER, Level.DATAFLOW]


def test_the_float_stage_is_the_network_before_anything_lossy(lenet: Path) -> None:
    image = load_samples(IMAGES)["image"][:4, None]
    ours = evaluate(load_build(lenet).graph("float"), {"image": image})
    np.testing.assert_allclose(ours["logits"], evaluate(read_onnx(LENET), {"image": image})["logits"])


def test_two_builds_in_other_processes_are_equal_to_the_byte(tmp_path: Path) -> None:
    for seed, folder in (("1", "a"), ("2", "b")):
        subprocess.run([sys.executable, "-m", "irc", "compile", LENET, "--calib", CALIBRATION, "-o", tmp_path / folder],
                       check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_lenet_compiles_within_ten_cpu_seconds() -> None:
    start = time.process_time()
    compile_design(Request(LENET, "verilog", calibration=CALIBRATION))
    assert time.process_time() - start < 10


def test_steps_of_the_target_follow_those_of_the_user() -> None:
    assert words("default")[-3:] == ["dataflow", "parallelize", "size_fifos"]
    assert words("quantize, parallelize{interval=9000}")[-2:] == ["parallelize", "size_fifos"]
    assert words("quantize, size_fifos").count("size_fifos") == 1
    assert "parallelize" not in words("quantize, size_fifos")


def test_the_level_after_steps_counts_automatic_descents() -> None:
    assert level_after(Level.MODEL, parse_pipeline("fold, clean")) is Level.MODEL
    assert level_after(Level.MODEL, parse_pipeline("parallelize")) is Level.DATAFLOW


def test_a_lossy_pass_ends_the_float_stage() -> None:
    graph = read_onnx(LENET)
    stages = Stages(graph)
    run_pipeline(graph, parse_pipeline("prune{sparsity=0.5}, fold"), observe=stages.observe)
    assert stages.graphs()["float"] is graph
    assert stages.graphs()["quantized"] is not graph


def test_integer_text_compiles_without_passes(tmp_path: Path) -> None:
    build = load_build(compile_dense(tmp_path, "hls"))
    assert build.stages == ("integer", "dataflow")
    assert build.manifest["pipeline"] == ""


def test_dump_writes_the_graph_after_every_pass(tmp_path: Path) -> None:
    irc("compile", dense(tmp_path), "--target", "sim", "-o", tmp_path / "b", "--dump", tmp_path / "d")
    names = sorted(path.name for path in (tmp_path / "d").glob("*.irc"))
    assert names == ["00-input.irc", "01-dataflow.irc", "02-parallelize.irc", "03-size_fifos.irc"]
    assert load_graph(tmp_path / "d" / names[-1]) == load_build(tmp_path / "b").graph("dataflow")


def test_a_new_build_replaces_the_old_one(tmp_path: Path) -> None:
    folder = compile_dense(tmp_path, "sim")
    assert irc("compile", dense(tmp_path), "--target", "hls", "-o", folder).code == 0
    assert not (folder / "sim").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense.irc", "sim"]


def test_a_folder_that_is_no_build_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    answer = irc("compile", dense(tmp_path), "-o", tmp_path / "mine")
    assert answer.code == 2
    assert "error[E503]" in answer.err
    assert tree(tmp_path / "mine") == {"thesis.txt": b"years of work"}


@pytest.mark.parametrize("writes", [0, 1, 3])
def test_a_full_disk_leaves_the_old_build_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                     writes: int) -> None:
    folder = compile_dense(tmp_path, "sim")
    before, real, done = tree(folder), Path.write_bytes, []

    def write(path: Path, data: bytes) -> int:
        if len(done) == writes:
            real(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.append(path)
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    answer = irc("compile", tmp_path / "dense.irc", "--target", "hls", "-o", folder)
    assert (answer.code, answer.err.count("error[E503]: No space left on device")) == (2, 1)
    assert tree(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense.irc", "sim"]


def test_a_failed_move_brings_the_old_build_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = compile_dense(tmp_path, "sim")
    before, real = tree(folder), Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    assert irc("compile", tmp_path / "dense.irc", "--target", "hls", "-o", folder).code == 2
    assert tree(folder) == before


def test_a_file_size_limit_of_the_system_stops_a_build_cleanly(tmp_path: Path) -> None:
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); " \
              "from irc.cli import invoke; sys.exit(invoke(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", limited, "compile", dense(tmp_path), "-o", tmp_path / "b"],
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error[E503]: File too large")
    assert [path.name for path in tmp_path.iterdir()] == ["dense.irc"]


def test_a_build_runs_again_and_gives_the_integers_of_the_interpreter(tmp_path: Path) -> None:
    folder, data = compile_dense(tmp_path, "sim"), dense_data(tmp_path)
    raw = irc("run", folder, "--input", data, "--raw", "--json").json["outputs"]["y"]
    x = np.rint(np.load(data)["x"][:, None] * 4).astype(np.int64)
    expected = evaluate(load_build(folder).graph("integer"), {"x": x})["y"][:, 0]
    assert raw == expected.tolist()
    real = irc("run", folder, "--input", data, "--json").json["outputs"]["y"]
    assert real == (expected * 0.5).tolist()


def test_notes_reach_the_manifest(lenet: Path) -> None:
    manifest = json.loads((lenet / "irc.json").read_text())
    notes = {(p["pass"], n["key"]): n["value"] for p in manifest["passes"] for n in p["notes"]}
    assert notes["parallelize", "interval"] == 7840
