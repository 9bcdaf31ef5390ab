"""`irc backends`: the installed targets."""

from __future__ import annotations

from typing import Any

import click

from irc.cli.catalogue import help_of, print_catalogue, print_entry
from irc.cli.options import json_option


@click.command("backends", short_help="The installed targets.")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the installed targets, or explain the one called NAME.

    JSON: ok, backends (name, level, clocked, finish, summary, help).
    """
    from irc.pipeline.plugins import usable_backends

    if name is not None:
        print_entry("backends", _described(name), ("summary", "level", "clocked", "finish"), "", as_json=as_json)
        return
    print_catalogue("backends", [_described(known) for known in usable_backends()], ("name", "level", "clocked",
                    "finish"), as_json=as_json)


def _described(name: str) -> dict[str, Any]:
    from irc.backend import Backend
    from irc.pipeline.plugins import find_backend

    backend: Backend = find_backend(name)
    return {"name": name, "level": backend.requires.value, "clocked": backend.clocked, "finish": backend.finish,
            "summary": backend.help, "help": help_of(type(backend))}
