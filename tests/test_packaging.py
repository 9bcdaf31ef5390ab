"""What the package declares about itself: dependencies without Rust, data files in the wheel, the licence."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
APACHE_2 = "3b83ef96387f14655fc854ddc3c6bd57"  # of https://www.apache.org/licenses/LICENSE-2.0.txt
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def needed(name: str, seen: set[str]) -> Iterator[str]:
    """A distribution and everything that it needs at run time."""
    if name in seen:
        return
    seen.add(name)
    yield name
    for requirement in map(Requirement, distribution(name).requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield from needed(requirement.name, seen)


RUNTIME = sorted(needed("irc-compiler", set()))
CLUSTER = sorted(needed("distributed", set(RUNTIME)))  # the extra `cluster`


@pytest.mark.parametrize("name", [*RUNTIME, *CLUSTER])
def test_no_runtime_dependency_carries_rust(name: str) -> None:
    found = distribution(name)
    assert "maturin" not in (found.read_text("WHEEL") or "")
    libraries = [Path(str(found.locate_file(f))) for f in found.files or () if f.suffix in (".so", ".pyd", ".dylib")]
    assert [library.name for library in libraries if b"/rustc/" in library.read_bytes()] == []


def test_every_data_file_of_the_packages_is_declared() -> None:
    declared = PROJECT["tool"]["setuptools"]["package-data"]
    for package in ("irc", "passes", "backends"):
        present = {p for p in (ROOT / package).rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
        assert present == {p for pattern in declared[package] for p in (ROOT / package).glob(pattern)}


def test_the_licence_is_the_standard_text() -> None:
    assert hashlib.md5((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    assert PROJECT["project"]["license"] == "Apache-2.0"


@pytest.mark.parametrize("group", ["irc.passes", "irc.backends", "irc.pipelines", "irc.spaces"])
def test_every_plug_in_is_where_the_entry_point_says(group: str) -> None:
    for target in PROJECT["project"]["entry-points"][group].values():
        module = target.partition(":")[0]
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
