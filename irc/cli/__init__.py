"""The command line. `main` is the console script; a command is one module, imported when it is named.

Exit codes: 0 done and equal, 1 a check did not hold, 2 bad input or a bad call. Every problem is one line on stderr.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TextIO

import click

from irc.cli.failure import report_problems, usage_problem
from irc.diagnostics import Diagnostic, IrcError, Place, did_you_mean

COMMANDS = ("compile", "check", "opt", "verify", "explain", "explore", "run", "passes", "backends", "ops")
INTERRUPTED, PIPE_CLOSED = 130, 141  # what shells say for SIGINT and SIGPIPE


class Commands(click.Group):
    """The commands, imported only when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"irc.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context,
                        args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command '{args[0]}'. {did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="irc-compiler", message="%(package)s %(version)s")
def irc() -> None:
    """Compile trained neural networks to proven-equal Verilog, HLS C and a cycle-level simulator."""


def show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int,
                 file: TextIO | None = None, line: str | None = None) -> None:
    """A warning as one line on stderr."""
    click.echo(f"warning: {' '.join(str(message).split())}", err=True)


def main() -> None:
    """The console script."""
    if "_IRC_COMPLETE" in os.environ:  # a shell asks for completions, which only click's own `main` gives
        irc.main(prog_name="irc")
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    json = "--json" in arguments
    warnings.showwarning = show_warning
    try:
        with irc.make_context("irc", list(arguments)) as context:  # not `main`, which exits with 1 when a pipe closes
            code = irc.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as help_text:
        click.echo(help_text.format_message(), err=True)
        return 2
    except click.ClickException as problem:
        return report_problems([usage_problem(problem)], json)
    except IrcError as problem:
        return report_problems(problem.diagnostics, json)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit finds a reader
        return PIPE_CLOSED
    except OSError as problem:  # of temporary files; what the user named is reported where it is used
        said = Diagnostic("E503", problem.strerror or str(problem), Place(str(problem.filename or "")))
        return report_problems([said], json)
