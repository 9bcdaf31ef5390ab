"""`irc passes`: the installed passes and named pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from irc.cli.catalogue import help_of, print_catalogue, print_entry
from irc.cli.options import json_option

if TYPE_CHECKING:
    from irc.pipeline.step import Pass


@click.command("passes", short_help="The installed passes and pipelines.")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the installed passes and named pipelines, or explain the one called NAME; 'try' explains guards.

    JSON: ok, passes (name, contract, requires, ensures, help, options), pipelines (name, text), metrics (of guards:
    name, unit, better, labels).
    """
    from irc.pipeline import plugins

    if name is None:
        _print_all(as_json)
    elif name == "try" and name not in plugins.pass_names():
        _print_guards(as_json)
    elif name in plugins.pipeline_names() and name not in plugins.pass_names():
        _print_pipeline(name, as_json)
    else:
        facts = ("contract", "requires", "ensures")
        print_entry("passes", _described(name, plugins.find_pass(name)), facts, "options", as_json=as_json)


def _print_all(as_json: bool) -> None:
    from irc.cli.output import print_json, print_table
    from irc.pipeline import plugins

    passes = [_described(name, plugins.find_pass(name)) for name in plugins.usable_passes()]
    pipelines = {name: plugins.find_pipeline(name) for name in plugins.pipeline_names()}
    if as_json:
        named = [{"name": name, "text": text} for name, text in pipelines.items()]
        print_json({"ok": True, "passes": passes, "pipelines": named, "metrics": _metrics()})
        return
    print_catalogue("passes", passes, ("name", "contract", "requires"), as_json=False)
    print_table("Named pipelines", ("name", "stands for"), list(pipelines.items()))
    click.echo("try(prune{sparsity=0.9}) until accuracy>=-0.5 holds steps to a score: see 'irc passes try'")


def _print_guards(as_json: bool) -> None:
    from irc.cli.output import print_json, print_table
    from irc.pipeline import guard

    if as_json:
        print_json({"ok": True, "passes": [], "pipelines": [], "metrics": _metrics()})
        return
    click.echo(help_of(guard))
    print_table("metrics", ("name", "unit", "better", "labels"), [tuple(entry.values()) for entry in _metrics()])


def _metrics() -> list[dict[str, str]]:
    from irc.metric import METRICS

    return [{"name": metric.name, "unit": metric.unit, "better": "higher" if metric.higher else "lower",
             "labels": "needed" if metric.labelled else "no"} for metric in METRICS.values()]


def _print_pipeline(name: str, as_json: bool) -> None:
    from irc.cli.output import print_json
    from irc.pipeline.plugins import find_pipeline

    if as_json:
        print_json({"ok": True, "passes": [], "pipelines": [{"name": name, "text": find_pipeline(name)}]})
    else:
        click.echo(f"{name} stands for: {find_pipeline(name)}")


def _described(name: str, cls: type[Pass]) -> dict[str, Any]:
    from dataclasses import asdict

    from irc.pipeline.language import options_of

    return {"name": name, "contract": str(cls.keeps), "requires": cls.requires.value if cls.requires else "any level",
            "ensures": cls.ensures.value if cls.ensures else "the same level", "help": help_of(cls),
            "options": [asdict(option) for option in options_of(cls)]}
