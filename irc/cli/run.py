"""`irc run`: run a built artefact on data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from irc.cli.options import PATH, build_argument, json_option

if TYPE_CHECKING:
    from irc.types import Array


@click.command("run", short_help="Run a build on data.")
@build_argument
@click.option("--input", "given", type=PATH, required=True, metavar="X.npz",
              help="Arrays by input name, first axis the samples; .npy when there is one input.")
@click.option("-o", "--output", type=PATH, metavar="Y.npz", help="Where to write the outputs. Without it: print them.")
@click.option("--raw", is_flag=True, help="Give the integers of the outputs, not the reals that they mean.")
@json_option
def command(build: Path, given: Path, output: Path | None, raw: bool, as_json: bool) -> None:
    """Run the target of BUILD on data.

    JSON: ok, target, samples, cycles (null without a clock), and outputs (by name, nested lists) or output (the path).
    """
    from irc.build import load_build
    from irc.cli.output import print_json
    from irc.execution import load_inputs, run_build, save_outputs

    made = load_build(build)
    found = run_build(made, load_inputs(given, made.last()), raw=raw)
    if output is not None:
        save_outputs(output, found.outputs)
    if as_json:
        shown = ({"output": str(output)} if output is not None
                 else {"outputs": {name: values.tolist() for name, values in found.outputs.items()}})
        print_json({"ok": True, "target": made.target, "samples": found.samples, "cycles": found.cycles, **shown})
        return
    if output is None:
        _print(found.outputs)
    clock = f" in {found.cycles} cycles" if found.cycles is not None else ""
    click.echo(f"{found.samples} samples on {made.target}{clock}" + (f", outputs in {output}" if output else ""))


def _print(outputs: Mapping[str, Array]) -> None:
    import numpy as np

    for name, values in outputs.items():
        click.echo(f"{name}:\n{np.array2string(values, max_line_width=120, precision=6, suppress_small=True)}")
