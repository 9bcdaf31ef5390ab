"""`irc verify`: the ladder of equivalence on the user's data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from irc.cli.options import PATH, build_argument, json_option

if TYPE_CHECKING:
    from irc.verify import Comparison, Rung, Verdict


@click.command("verify", short_help="Compare all targets on your data.")
@build_argument
@click.option("--data", type=PATH, required=True, metavar="DATA.npz",
              help="Arrays by input name, first axis the samples; 'labels' optional.")
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Use the first N samples. Without it: all.")
@click.option("--frames", type=click.IntRange(min=1), default=100, show_default=True, metavar="N",
              help="How many of them targets with a clock run.")
@click.option("--only", metavar="NAMES", help="Run only these targets, such as 'sim,hls'. Without it: all.")
@json_option
def command(build: Path, data: Path, samples: int | None, frames: int, only: str | None, as_json: bool) -> int:
    """Run float, quantized and integer model and every target of BUILD on data, and compare them.

    Exit code 1 when a comparison does not hold. JSON: ok, rungs (name, samples, accuracy, cycles, seconds), drift
    (largest, largest_lsb, same_class), comparisons (what, expected, found, samples, equal, mismatch, cause, channels).
    """
    from irc.build import load_build
    from irc.cli.output import print_json, progress_bar
    from irc.samples import load_fitting
    from irc.verify import verify

    names = [name.strip() for name in only.split(",") if name.strip()] if only is not None else None
    made = load_build(build)
    with progress_bar() as progress:
        verdict = verify(made, load_fitting(data, made.last()), samples=samples, frames=frames, only=names,
                         progress=progress)
    if as_json:
        print_json(_to_json(verdict))
    else:
        _print(verdict)
    return 0 if verdict.ok else 1


def _to_json(verdict: Verdict) -> dict[str, Any]:
    drift = verdict.drift
    return {
        "ok": verdict.ok,
        "rungs": [{"name": r.name, "samples": r.samples, "accuracy": r.accuracy, "cycles": r.cycles or None,
                   "seconds": round(r.seconds, 3)} for r in verdict.rungs],
        "drift": dataclasses.asdict(drift) if drift else None,
        "comparisons": [_comparison_json(comparison) for comparison in verdict.comparisons],
    }


def _comparison_json(c: Comparison) -> dict[str, Any]:
    mismatch, cause = (m.to_json() if m else None for m in (c.mismatch, c.cause))
    return {"what": c.what, "expected": c.expected, "found": c.found, "samples": c.samples, "equal": c.equal,
            "mismatch": mismatch, "cause": cause, "channels": dict(c.channels) if c.channels is not None else None}


def _print(verdict: Verdict) -> None:
    from irc.cli.output import print_table

    columns = ("", "samples#", "accuracy#", "values", "cycles", "cycles a run#", "seconds#")
    print_table("", columns, [_row(rung, verdict) for rung in verdict.rungs])
    for comparison in verdict.comparisons:
        if comparison.mismatch is not None:
            click.echo(f"{comparison.found} differs from {comparison.expected}: {comparison.mismatch}")
        if comparison.cause is not None:
            click.echo(f"  first in {comparison.cause}")
        for channel in (name for name, equal in (comparison.channels or {}).items() if not equal):
            click.echo(f"  channel '{channel}' differs")
    click.echo("equal" if verdict.ok else "NOT equal")


def _row(rung: Rung, verdict: Verdict) -> tuple[str, ...]:
    accuracy = f"{100 * rung.accuracy:.2f} %" if rung.accuracy is not None else ""
    return (rung.name, str(rung.samples), accuracy, _values(rung, verdict), _cycles(rung, verdict),
            str(rung.cycles or ""), f"{rung.seconds:.2f}")


def _values(rung: Rung, verdict: Verdict) -> str:
    for comparison in verdict.comparisons:
        if comparison.found == rung.name and comparison.what == "values":
            return f"{_mark(comparison)} {comparison.expected}"
    if rung.name == "quantized model" and verdict.drift is not None:
        return _drift(verdict)
    return ""


def _drift(verdict: Verdict) -> str:
    assert verdict.drift is not None
    same = verdict.drift.same_class
    parts = [f"within {100 * verdict.drift.largest:.2f} % of the largest output"]
    parts += [f"{100 * same:.2f} % the same class"] if same is not None else []
    return ", ".join(parts)


def _cycles(rung: Rung, verdict: Verdict) -> str:
    for comparison in verdict.comparisons:
        if comparison.found == rung.name and comparison.channels is not None:
            count = f"{sum(comparison.channels.values())} of {len(comparison.channels)} channels"
            return f"{_mark(comparison)} {comparison.expected}, {count}"
    return ""


def _mark(comparison: Comparison) -> str:
    return "=" if comparison.equal else "NOT ="
