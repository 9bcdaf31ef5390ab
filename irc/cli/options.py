"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
seed_option = click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of all random choices.")
calibration_option = click.option("--calib", "calibration", type=PATH, metavar="DATA.npz",
                                  help="Calibration data: arrays by input name, first axis the samples.")
dump_option = click.option("--dump", type=PATH, metavar="DIR", help="Write the IR after every pass to DIR.")
build_argument = click.argument("build", type=PATH)


def judge_options(function: F) -> F:
    """`--data`, `--labels` and `--metric`: what networks are judged by."""
    options = (
        click.option("--data", type=PATH, metavar="DATA.npz", help="Data to judge the network by: arrays by input "
                     "name, first axis the samples. Without it: the calibration data."),
        click.option("--labels", default="", metavar="KEY|FILE", help="The array of the data that holds the labels, or "
                     "an .npy or .npz file with them. Without it: 'labels', when the data hold it."),
        click.option("--metric", default="", metavar="NAME", help="accuracy (largest output), bits (cross entropy), "
                     "mse or cosine (to the outputs of the model as it came in). Without it: accuracy where there are "
                     "labels, else cosine. It looks at the first output."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def shape_option(function: F) -> F:
    """`--shape name=value`, any number of times, as a mapping."""
    return click.option("--shape", multiple=True, callback=_shapes, metavar="NAME=VALUE",
                        help="Bind a symbolic dimension of the model; may be repeated.")(function)


def limit_option(function: F) -> F:
    """`--limit name=value`, any number of times, as a mapping."""
    return click.option("--limit", "limit", multiple=True, callback=_limits, metavar="NAME=VALUE",
                        help="Allow the model file more: file, nodes, depth, tensor, value, activations, window, "
                        "constants, work, rank, name or problems, such as tensor=1e9; may be repeated.")(function)


def _limits(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    return dict(_limit(text) for text in given)


def _limit(text: str) -> tuple[str, int]:
    name, _, value = text.rpartition("=")
    try:
        return name, int(float(value))
    except (ValueError, OverflowError):
        raise click.BadParameter(f"'{text}' is not of the form NAME=VALUE with a number") from None


def _shapes(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    return dict(_shape(text) for text in given)


def _shape(text: str) -> tuple[str, int]:
    name, _, size = text.rpartition("=")
    if not name or not size.isdecimal():
        raise click.BadParameter(f"'{text}' is not of the form NAME=VALUE with a whole number")
    return name, int(size)
