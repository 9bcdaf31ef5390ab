"""The documentation is true: generated parts are fresh, commands run, numbers and links hold.

Fenced blocks are run when they say so: `sh run` is a list of commands; `console` shows commands (`$ ...`) with their
output, in which `...` stands for anything, and with `numbers=measured` only the numbers may differ.
"""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from irc.dataflow.timing import simulate_timing
from irc.diagnostics import CODES
from irc.text import print_graph, read_graph

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)")


def load(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE, PICTURE = load("generate"), load("picture")


@dataclass(frozen=True, slots=True)
class Shell:
    """A copy of the examples in which commands of a page are run."""

    folder: Path

    def run(self, line: str) -> str:
        """Run a line; installing irc itself, its extras checked, has happened already."""
        wanted = re.fullmatch(r"pip install '\.\[(\w+)\]' && (.*)", line)
        if wanted:
            assert wanted[1] in EXTRAS
            line = wanted[2]
        line = line.replace("pip install ", f"{shlex.quote(sys.executable)} -m pip install --no-index --target site ")
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        done = subprocess.run(line, shell=True, cwd=self.folder, capture_output=True, text=True, check=False,
                              env={**os.environ, "PATH": path, "PYTHONPATH": str(self.folder / "site")})
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


def blocks(page: Path, language: str, note: str) -> Iterator[tuple[str, str]]:
    """Notes and content of the fenced blocks of a page in one language with `note` behind it."""
    for found, notes, content in FENCE.findall(page.read_text("utf-8")):
        if found == language and note in notes:
            yield notes, content


def commands(page: Path) -> list[tuple[str, str, str]]:
    """Every command of a page in order, with its notes and the output it shows (empty: none is shown)."""
    found: list[tuple[str, str, str]] = []
    for language, notes, content in FENCE.findall(page.read_text("utf-8")):
        if language == "sh" and "run" in notes:
            found += [(line, notes, "") for line in content.splitlines()]
        if language == "console":
            shown = re.findall(r"^\$ ([^\n]*)\n(.*?)(?=^\$ |\Z)", content, re.MULTILINE | re.DOTALL)
            found += [(line, notes, output) for line, output in shown]
    return found


def agrees(shown: str, printed: str, notes: str) -> bool:
    if "numbers=measured" in notes:
        shown, printed = (re.sub(r"\d[\d.]*", "#", text) for text in (shown, printed))
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(shown.strip(), printed.strip(), options)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_every_command_of_a_page_does_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for line, notes, shown in commands(page):
        if line.startswith("cat "):
            (tmp_path / line.removeprefix("cat ")).write_text(shown, "utf-8")
            continue
        printed = shell.run(line)
        assert not shown or agrees(shown, printed, notes), f"{line}\n{printed}"


def test_the_test_command_of_the_readme_names_an_extra_with_pytest() -> None:
    assert "pip install '.[test]' && pytest\n" in (ROOT / "README.md").read_text("utf-8")
    assert any(requirement.startswith("pytest") for requirement in EXTRAS["test"])


@pytest.mark.parametrize("page", GENERATE.pages())
def test_generated_parts_are_fresh(page: str) -> None:
    assert (ROOT / "docs" / page).read_text("utf-8") == GENERATE.rendered(page), "run python docs/generate.py"


def test_the_picture_is_fresh() -> None:
    assert (ROOT / "docs" / "irc.svg").read_text("utf-8") == PICTURE.picture(), "run python docs/picture.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_ir_in_the_text_is_ir_as_it_is_printed(page: Path) -> None:
    for _, content in blocks(page, "irc", ""):
        graph = read_graph(content)
        graph.verify()
        assert print_graph(graph).split() == content.split()


def test_worked_example_says_the_starts_that_the_law_gives() -> None:
    text = (ROOT / "docs" / "timing.md").read_text("utf-8")
    schedule = simulate_timing(read_graph(GENERATE.example_graph()), 3).schedule
    actors = {actor.name: a for a, actor in enumerate(schedule.network.actors)}
    found = re.findall(r"`start\((\S+), (\d+)\) = max\(([^)]*)\) = (\d+)`", text)
    assert len(found) == 6
    for actor, firing, terms, result in found:
        assert max(sum(map(int, term.split("+"))) for term in terms.split(",")) == int(result)
        frame, place = divmod(int(firing), schedule.network.actors[actors[actor]].count)
        assert schedule.starts(actors[actor], frame)[place] == int(result)


def test_operators_named_in_the_readme_can_be_read() -> None:
    listed = re.search(r"Hardware exists for ([^;]*);", (ROOT / "README.md").read_text("utf-8"))
    assert listed and set(re.findall(r"\b[A-Z]\w+", listed[1])) <= set(GENERATE.OPERATORS)


def test_codes_named_in_the_text_exist() -> None:
    named = {code for page in PAGES for code in re.findall(r"\bE\d{3}\b", page.read_text("utf-8"))}
    assert named <= set(CODES) | {"E123"}
