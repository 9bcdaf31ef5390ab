"""What `irc passes`, `irc backends` and `irc ops` print: one table, or all about one entry."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import click

Entry = Mapping[str, Any]  # what JSON shows: name, help, and what the kind of entry has


def print_catalogue(kind: str, entries: Sequence[Entry], columns: Sequence[str], *, as_json: bool) -> None:
    """One row an entry with the given keys; in full when there is a single one."""
    from irc.cli.output import print_json, print_table

    if as_json:
        print_json({"ok": True, kind: list(entries)})
        return
    rows = [[*(shown(entry[column]) for column in columns), first_line(entry.get("summary", entry["help"]))]
            for entry in entries]
    print_table("", (*columns, "what it is"), rows)


def shown(value: object) -> str:
    """A fact as a person writes it."""
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def print_entry(kind: str, entry: Entry, facts: Sequence[str], parameters: str, *, as_json: bool) -> None:
    """All about one entry: its help, `facts`, and a table of the entries under the key `parameters`."""
    from irc.cli.output import print_json, print_table

    if as_json:
        print_json({"ok": True, kind: [entry]})
        return
    click.echo(f"{entry['name']}\n\n{entry['help']}\n")
    for fact in facts:
        click.echo(f"{fact}: {shown(entry[fact])}")
    rows = entry.get(parameters, ())
    if rows:
        print_table(parameters, tuple(rows[0]), [tuple(row.values()) for row in rows])


def first_line(text: str) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join(text.partition("\n\n")[0].split())


def help_of(thing: object) -> str:
    """The docstring of a class or module, without its indentation."""
    return inspect.getdoc(thing) or ""
