"""What the command line says when something is wrong: one line a problem on stderr, exit code 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click

from irc.diagnostics import Diagnostic

BAD_CALL = 2
REMEDIES = {  # where the problem itself carries none
    "E101": "Check the path, and that the file is complete.",
    "E102": "Export the model again; 'irc compile' takes .onnx and .irc files.",
    "E103": "Export the model again, with its nodes and outputs.",
    "E104": "Replace the operator in the model; 'irc check MODEL' lists all such places at once.",
    "E105": "Export the model again, or mend the name.",
    "E106": "Mend the shapes in the model.",
    "E107": "Train or export the model again; such weights have no meaning in hardware.",
    "E108": "Bind it with --shape NAME=VALUE.",
    "E109": "Raise it with --limit NAME=VALUE if you trust the file.",
    "E201": "See docs/ir.md.",
    "E202": "See docs/ir.md.",
    "E301": "See 'irc passes'.",
    "E302": "See 'irc passes'.",
    "E303": "See 'irc passes NAME'.",
    "E304": "See 'irc passes NAME'.",
    "E305": "Report it to the author of the pass; '--dump DIR' shows the graph before and after.",
    "E306": "See 'irc passes' for the level at which each pass works.",
    "E307": "Reinstall the package that provides it.",
    "E308": "Loosen the bound, or take steps that cost less.",
    "E401": "Arrays are named after the inputs, first axis the samples; 'irc check MODEL' shows the model.",
    "E402": "Give them with --calib data.npz.",
    "E501": "See 'irc backends'.",
    "E502": "Choose another target; 'irc check MODEL' tries them all.",
    "E503": "Choose a place that can be written and has room.",
    "E504": "Compile again.",
    "E505": "Explore into another folder with -o.",
    "E602": "Run the tool by hand to see all that it says.",
}


def report_problems(problems: Sequence[Diagnostic], json: bool) -> int:
    """Print the problems, with `--json` also as an object on stdout; returns the exit code."""
    problems = [with_remedy(problem) for problem in problems]
    for problem in problems:
        click.echo(" ".join(str(problem).split()), err=True)
    if json:
        from json import dumps

        click.echo(dumps({"ok": False, "diagnostics": [problem.to_json() for problem in problems]}, indent=2))
    return BAD_CALL


def with_remedy(problem: Diagnostic) -> Diagnostic:
    """The problem with what helps against all of its kind, where it carries no remedy of its own."""
    return replace(problem, remedy=problem.remedy or REMEDIES.get(problem.code, ""))


def usage_problem(problem: click.ClickException) -> Diagnostic:
    """What click did not understand, as one of our diagnostics."""
    name = problem.ctx.command_path if isinstance(problem, click.UsageError) and problem.ctx else "irc"
    return Diagnostic("E001", problem.format_message().rstrip("."), remedy=f"See '{name} --help'.")
