"""What the command line says when something is wrong: one line a problem on stderr, exit code 2."""

from __future__ import annotations

from collections.abc import Sequence

import click

from irc.diagnostics import Diagnostic

BAD_CALL = 2


def report_problems(problems: Sequence[Diagnostic], json: bool) -> int:
    """Print the problems, with `--json` also as an object on stdout; returns the exit code."""
    for problem in problems:
        click.echo(" ".join(str(problem).split()), err=True)
    if json:
        from json import dumps

        click.echo(dumps({"ok": False, "diagnostics": [problem.to_json() for problem in problems]}, indent=2))
    return BAD_CALL


def usage_problem(problem: click.ClickException) -> Diagnostic:
    """What click did not understand, as one of our diagnostics."""
    name = problem.ctx.command_path if isinstance(problem, click.UsageError) and problem.ctx else "irc"
    return Diagnostic("E001", problem.format_message().rstrip("."), remedy=f"See '{name} --help'.")
