"""Plug-ins by name: passes, backends, named pipelines and spaces come from entry points; only what is named is loaded.

An entry point of `irc.passes` names a class, one of `irc.backends` an instance, and one of `irc.pipelines` or
`irc.spaces` a table (name to text) in which the name of the entry point stands.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from irc.diagnostics import IrcError, did_you_mean, error
from irc.pipeline.step import Pass

PASSES, BACKENDS, PIPELINES, SPACES = "irc.passes", "irc.backends", "irc.pipelines", "irc.spaces"


class PluginWarning(UserWarning):
    """An installed plug-in that cannot be loaded was passed over."""


@cache
def registered(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of a group by name, names sorted; looked up once a process."""
    found = entry_points(group=group)
    return {name: tuple(found.select(name=name)) for name in sorted(found.names)}


def pass_names() -> tuple[str, ...]:
    """The words of all installed passes, sorted. Loads none."""
    return tuple(registered(PASSES))


def backend_names() -> tuple[str, ...]:
    """The words of all installed backends, sorted. Loads none."""
    return tuple(registered(BACKENDS))


def pipeline_names() -> tuple[str, ...]:
    """The names that stand for a pipeline text, sorted. Loads none."""
    return tuple(registered(PIPELINES))


def space_names() -> tuple[str, ...]:
    """The names that stand for a space to explore, sorted. Loads none."""
    return tuple(registered(SPACES))


def usable_passes() -> tuple[str, ...]:
    """The words of the passes that load; a `PluginWarning` for each that does not, so that one broken package does not
    take the others with it."""
    return tuple(name for name in pass_names() if _loads(find_pass, name))


def usable_backends() -> tuple[str, ...]:
    """The words of the backends that load; a `PluginWarning` for each that does not."""
    return tuple(name for name in backend_names() if _loads(find_backend, name))


def _loads(find: Callable[[str], Any], name: str) -> bool:
    try:
        find(name)
    except IrcError as problem:
        warnings.warn(str(problem), PluginWarning, stacklevel=3)
        return False
    return True


def find_pass(name: str) -> type[Pass]:
    """The pass called `name`. Raises E302 with the nearest name, or E307."""
    if name not in registered(PASSES):
        raise error("E302", f"there is no pass '{name}'", remedy=did_you_mean(name, pass_names() + pipeline_names()))
    found = _load(PASSES, name)
    if not (isinstance(found, type) and issubclass(found, Pass)):
        raise _broken(PASSES, name, "it is not a subclass of irc.pipeline.step.Pass")
    return found


def find_backend(name: str) -> Any:
    """The backend called `name`. Raises E501 with the nearest name, or E307."""
    if name not in registered(BACKENDS):
        raise error("E501", f"there is no backend '{name}'", remedy=did_you_mean(name, backend_names()))
    return _load(BACKENDS, name)


def find_pipeline(name: str) -> str:
    """The pipeline text that `name` stands for. Raises E302 with the nearest name, or E307."""
    if name not in registered(PIPELINES):
        raise error("E302", f"there is no pipeline '{name}'", remedy=did_you_mean(name, pipeline_names()))
    return _text(PIPELINES, name)


def find_space(name: str) -> str:
    """The text of the space called `name`. Raises E302 with the nearest name, or E307."""
    if name not in registered(SPACES):
        raise error("E302", f"there is no space '{name}'", remedy=did_you_mean(name, space_names()))
    return _text(SPACES, name)


def _text(group: str, name: str) -> str:
    table = _load(group, name)
    if not isinstance(table, Mapping) or not isinstance(table.get(name), str):
        raise _broken(group, name, f"it is not a table that maps '{name}' to a text")
    return cast(str, table[name])


def _load(group: str, name: str) -> Any:
    point, *others = registered(group)[name]
    if any(other.value != point.value for other in others):
        raise _broken(group, name, f"{', '.join(other.value for other in others)} has the same name",
                      "uninstall one of the packages")
    try:
        return cast(Any, point.load())
    except (ImportError, AttributeError, SyntaxError) as problem:
        raise _broken(group, name, str(problem)) from problem


def _broken(group: str, name: str, why: str, remedy: str = "reinstall the package that provides it") -> IrcError:
    kind = group.removeprefix("irc.")
    return error("E307", f"plug-in '{name}' of {kind} ({registered(group)[name][0].value}) cannot be loaded: {why}",
                 remedy=remedy)
