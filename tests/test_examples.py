"""Every example runs, and prints what its docstring says."""

from __future__ import annotations

import ast
import doctest
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
PACKAGE = EXAMPLES / "05_third_party_pass"


def call(*command: str, cwd: Path, more: Mapping[str, str] | None = None) -> str:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, **(more or {})}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def promised(script: Path) -> str:
    """What the docstring shows below the command; `...` stands for anything."""
    doc = ast.get_docstring(ast.parse(script.read_text("utf-8")), clean=False) or ""
    _, found, output = doc.partition(f"    $ python examples/{script.name}\n")
    assert found, f"{script.name} shows no output"
    return "".join(f"{line.removeprefix('    ').rstrip()}\n" for line in output.rstrip().splitlines())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_prints_what_it_promises(script: Path, tmp_path: Path) -> None:
    printed = call(sys.executable, str(script), cwd=tmp_path)
    assert doctest.OutputChecker().check_output(promised(script), printed, doctest.ELLIPSIS), printed


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The third-party package as a user would install it, in a folder of its own; the environment that sees it."""
    folder = tmp_path_factory.mktemp("third_party")
    source = shutil.copytree(PACKAGE, folder / "source")
    call(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
         "--target", str(folder / "site"), str(source), cwd=folder)
    return {"PYTHONPATH": str(folder / "site")}


def test_the_third_party_pass_is_found_by_its_entry_point(installed: Mapping[str, str], tmp_path: Path) -> None:
    assert "clip_weights" in call("irc", "passes", cwd=tmp_path, more=installed)
    assert "clip_weights" not in call("irc", "passes", cwd=tmp_path)


def test_the_third_party_pass_is_a_word_of_the_pipeline_language(installed: Mapping[str, str], tmp_path: Path) -> None:
    model = str(EXAMPLES / "data/mnist_lenet.onnx")
    text = call("irc", "opt", model, "--passes", "clip_weights{sigmas=2.5} @ first", cwd=tmp_path, more=installed)
    assert text.startswith("graph mnist_lenet at model")


def test_the_third_party_pass_clips_the_selected_layer_only(installed: Mapping[str, str], tmp_path: Path) -> None:
    program = """if True:
        from irc.frontend import read_onnx
        from irc.pipeline.driver import run_pipeline
        from irc.pipeline.language import parse_pipeline
        before = read_onnx({model!r})
        after = run_pipeline(before, parse_pipeline("clip_weights{{sigmas=2}} @ op(conv)")).graph
        changed = [n for n, c in before.constants.items() if c != after.constants[n]]
        assert len(changed) == 2, changed
        for name in changed:
            old, new = before.constants[name].data, after.constants[name].data
            assert abs(new).max() <= 2.001 * old.std() < abs(old).max()
    """.format(model=str(EXAMPLES / "data/mnist_lenet.onnx"))
    call(sys.executable, "-c", program, cwd=tmp_path, more=installed)


def test_the_third_party_pass_is_short() -> None:
    assert len((PACKAGE / "clip_weights.py").read_text("utf-8").splitlines()) < 25
