"""The command line: start-up, help, tables, JSON, and exit codes."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from command_line import CALIBRATION, DENSE, LENET, compile_dense, dense, dense_data, irc
from onnx import helper
from onnx_models import build, one, save, weights

from irc.cli import COMMANDS, INTERRUPTED, PIPE_CLOSED
from irc.cli.output import progress_bar
from irc.cost import macs, op_costs
from irc.frontend import read_onnx
from irc.operation import OPERATIONS
from irc.pipeline.plugins import backend_names, pass_names
from irc.text import load_graph, read_graph

HEAVY = ("numpy", "onnx", "networkx", "lark", "rich")


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys; from irc.cli import invoke; invoke(['--help']); print({{*{HEAVY}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_help_takes_less_than_three_tenths_of_a_cpu_second() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "irc", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_help_lists_every_command_with_a_sentence() -> None:
    listed = irc("--help").out.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(len(line.split()) > 3 for line in listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_and_its_json(command: str) -> None:
    answer = irc(command, "--help")
    assert answer.code == 0
    assert "JSON: ok, " in answer.out


def test_version_is_that_of_the_distribution() -> None:
    assert irc("--version").out == "irc-compiler 0.1.0\n"


def test_no_arguments_show_the_help_and_fail() -> None:
    answer = irc()
    assert (answer.code, answer.out) == (2, "")
    assert "Commands:" in answer.err


def documented(command: str) -> set[str]:
    """The keys that the help of a command promises, parentheses left out."""
    text = " ".join(irc(command, "--help").out.partition("JSON:")[2].partition("Options:")[0].split())
    while "(" in text:
        text = re.sub(r"\([^()]*\)", "", text)
    return {word.split()[0] for word in re.split(r",| and | or ", text.rstrip(". ")) if word.strip()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_dense(tmp_path_factory.mktemp("dense"), "sim")


@pytest.mark.parametrize("command", COMMANDS)
def test_json_has_the_documented_keys(command: str, built: Path, tmp_path: Path) -> None:
    source, data = dense(tmp_path), dense_data(tmp_path)
    arguments = {"compile": [source, "--target", "sim", "-o", tmp_path / "b"], "check": [source],
                 "opt": [source, "--passes", "clean"], "verify": [built, "--data", data, "--only", "sim"],
                 "explain": [built], "run": [built, "--input", data],
                 "explore": [source, "--space", "?{clean | narrow}", "--data", data, "-o", tmp_path / "e"]}
    answer = irc(command, *arguments.get(command, []), "--json")
    assert (answer.code, answer.err) == (0, "")
    assert next(iter(answer.json)) == "ok"
    assert answer.json["ok"] is True
    assert set(answer.json) <= documented(command)


def test_the_catalogues_are_complete() -> None:
    assert [entry["name"] for entry in irc("passes", "--json").json["passes"]] == list(pass_names())
    assert [entry["name"] for entry in irc("backends", "--json").json["backends"]] == list(backend_names())
    assert [entry["name"] for entry in irc("ops", "--json").json["ops"]] == sorted(OPERATIONS)


def test_every_entry_and_option_has_help() -> None:
    passes = irc("passes", "--json").json["passes"]
    entries = [*passes, *irc("backends", "--json").json["backends"], *irc("ops", "--json").json["ops"]]
    options = [option for entry in passes for option in entry["options"]]
    assert not [entry["name"] for entry in (*entries, *options) if not entry["help"]]


def test_one_pass_is_explained_with_its_options() -> None:
    answer = irc("passes", "quantize")
    assert "contract: lossy" in answer.out
    assert re.search(r"^ weights .* s8 .* format of the weights", answer.out, re.MULTILINE)


def test_one_op_is_explained_with_its_attributes() -> None:
    assert re.search(r"^ group +a whole number +1 *$", irc("ops", "conv").out, re.MULTILINE)


@pytest.mark.parametrize(("command", "word", "hint"), [("passes", "quantise", "quantize"), ("ops", "convv", "conv"),
                                                       ("backends", "verilogg", "verilog")])
def test_an_unknown_entry_names_the_nearest(command: str, word: str, hint: str) -> None:
    answer = irc(command, word)
    assert answer.code == 2
    assert f"Did you mean '{hint}'?" in answer.err


def test_a_named_pipeline_is_shown() -> None:
    assert irc("passes", "to-dataflow").out.startswith("to-dataflow stands for: dataflow")


def test_check_counts_what_the_network_costs() -> None:
    answer = irc("check", LENET, "--json")
    costs = {cost["op"]: cost for cost in answer.json["stages"]["float"]}
    assert answer.code == 0
    assert costs["conv"]["macs"] == 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25
    assert costs["matmul"]["macs"] == 400 * 120 + 120 * 84 + 84 * 10
    assert sum(cost["weights"] for cost in costs.values()) == 61_706  # the number of parameters of LeNet-5


def test_check_counts_the_same_products_at_every_level() -> None:
    stages = irc("check", LENET, "--json").json["stages"]
    assert {sum(cost["macs"] for cost in costs) for costs in stages.values()} == {416_520}
    assert list(stages) == ["float", "quantized", "integer", "dataflow"]


def test_products_of_one_layer() -> None:
    graph = read_onnx(LENET)
    assert macs(graph, graph.producers["c2"]) == 240_000
    assert {cost.op: cost.nodes for cost in op_costs(graph)}["max_pool"] == 2


def test_check_says_what_is_not_supported_and_exits_with_1(tmp_path: Path) -> None:
    answer = irc("check", save(one("Unique", (1, 3)), tmp_path), "--json")
    problem, = answer.json["problems"]
    assert (answer.code, answer.json["ok"], problem["code"]) == (1, False, "E104")
    assert (problem["node"], problem["operator"]) == ("/m/Unique", "Unique")
    assert problem["remedy"]


def test_check_finds_all_that_the_lowering_refuses(tmp_path: Path) -> None:
    nodes = [helper.make_node(op, operands, [made], name=f"/{made}") for op, operands, made in (
        ("MatMul", ["x", "w"], "h"), ("Tanh", ["h"], "t"), ("MatMul", ["t", "v"], "g"), ("Softmax", ["g"], "y"))]
    answer = irc("check", save(build(nodes, {"x": (1, 4)}, weights(w=(4, 5), v=(5, 3))), tmp_path))
    assert answer.code == 1
    assert re.search(r"E306 .* tanh +tanh has no integer form +replace it", answer.out)
    assert re.search(r"E306 .* softmax +softmax has no integer form +run drop_softmax", answer.out)
    assert answer.out.endswith("2 problems\n")


def test_check_does_not_hide_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"damaged")
    assert irc("check", tmp_path / "m.onnx").code == 2


def test_opt_prints_text_that_reads_back(tmp_path: Path) -> None:
    answer = irc("opt", dense(tmp_path), "--passes", "clean")
    assert read_graph(answer.out) == read_graph(DENSE)


def test_opt_writes_graph_and_constants(tmp_path: Path) -> None:
    answer = irc("opt", LENET, "--passes", "fold, clean", "-o", tmp_path / "out.irc", "--json")
    assert [record["text"] for record in answer.json["passes"]] == ["fold", "clean"]
    assert load_graph(tmp_path / "out.irc").constants["f1_weight"].data.shape == (400, 120)


def test_opt_takes_shapes_and_limits(tmp_path: Path) -> None:
    path = save(build([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, "n")}), tmp_path)
    assert "f32[1, 7]" in irc("opt", path, "--passes", "clean", "--shape", "n=7").out
    assert irc("opt", path, "--passes", "clean", "--shape", "n=7", "--limit", "tensor=6").err.startswith("error[E109]")


def test_run_reads_npy_and_writes_npz(built: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((2, 4), 0.25))
    answer = irc("run", built, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npz", "--raw", "--json")
    assert answer.json["samples"] == 2
    with np.load(tmp_path / "y.npz") as found:
        assert found["y"].tolist() == [[14, 0, 14]] * 2


def test_explain_agrees_with_the_network(built: Path) -> None:
    answer = irc("explain", built, "--json").json
    layer = next(actor for actor in answer["actors"] if actor["op"] == "matvec")
    assert (layer["macs"], layer["origin"], layer["rom_bits"]) == (12, "onnx:/fc/MatMul", 48)
    assert answer["timing"]["interval"] == max(actor["firings"] for actor in answer["actors"])
    assert [record["pass"] for record in answer["passes"]] == ["dataflow", "parallelize", "size_fifos"]


def test_tables_are_for_people(built: Path) -> None:
    assert "a frame every 1 cycles" in irc("explain", built).out
    assert re.search(r"float +conv +2 +357,600 +2,572", irc("check", LENET).out)


def test_an_unknown_option_names_the_nearest() -> None:
    assert "--passes" in irc("compile", LENET, "--pases", "fold").err


def test_progress_says_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        progress("fold", 0, 2)
    assert capsys.readouterr() == ("", "")


def test_a_closed_pipe_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "irc", "ops"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, "")


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Group, "invoke", interrupted)
    answer = irc("ops")
    assert (answer.code, answer.err) == (INTERRUPTED, "interrupted\n")


def test_json_is_all_that_stdout_gets(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "irc", "compile", LENET, "--calib", CALIBRATION, "--target", "sim",
                           "-o", tmp_path / "b", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["target"] == "sim"
    assert done.stderr == ""


def test_shells_get_completions() -> None:
    asked = {**os.environ, "_IRC_COMPLETE": "bash_complete", "COMP_WORDS": "irc ver", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", "from irc.cli import main; main()"], capture_output=True, text=True,
                          env=asked, check=True)
    assert done.stdout == "plain,verify\n"
