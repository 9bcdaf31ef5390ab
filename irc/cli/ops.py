"""`irc ops`: the op table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from irc.cli.catalogue import help_of, print_catalogue, print_entry
from irc.cli.options import json_option

if TYPE_CHECKING:
    from irc.operation import Op


@click.command("ops", short_help="The ops of the IR.")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the ops of the IR, or explain the one called NAME.

    JSON: ok, ops (name, operands, levels, help, attributes).
    """
    import irc.ops  # noqa: F401 (fills the table)
    from irc.operation import OPERATIONS, find_operation

    if name is not None:
        print_entry("ops", _described(find_operation(name)), ("operands", "levels"), "attributes", as_json=as_json)
        return
    table = [_described(OPERATIONS[known]) for known in sorted(OPERATIONS)]
    print_catalogue("ops", table, ("name", "operands", "levels"), as_json=as_json)


def _described(cls: type[Op]) -> dict[str, Any]:
    from irc.operation import signature
    from irc.text.values import describe, field_types, is_required, print_value
    from irc.types import Level

    types = field_types(cast(type, cls))
    attributes = [{"name": f.name, "takes": describe(types[f.name]),
                   "default": "" if is_required(f) else print_value(f.default)} for f in cls.attributes()]
    levels = ", ".join(level.value for level in Level if level in cls.levels)
    return {"name": cls.name, "operands": signature(cls), "levels": levels, "help": help_of(cls),
            "attributes": attributes}
