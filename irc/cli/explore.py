"""`irc explore`: many pipelines tried, the best trades of score against size shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from irc.cli.options import (
    PATH,
    calibration_option,
    json_option,
    judge_options,
    limit_option,
    seed_option,
    shape_option,
)

if TYPE_CHECKING:
    from irc.explore.exploration import Exploration
    from irc.explore.trial import Trial
    from irc.explore.workers import Workers


@click.command("explore", short_help="Try many pipelines; the best trades of accuracy against size.")
@click.argument("model", type=PATH)
@click.option("--space", default="default", show_default=True, metavar="SPACE",
              help="Pipelines with holes, such as 'quantize{weights=?layer{s3 | s4 | s8}}': ?{a | b} is one choice, "
              "?layer{a | b} one for every layer; or '@file', or the name of a space: default, bits, sparsity.")
@calibration_option
@judge_options
@click.option("--trials", type=click.IntRange(1, 1_000_000), default=100, show_default=True, metavar="N",
              help="Pipelines to try. A space of at most so many is tried out.")
@click.option("--workers", type=click.IntRange(1, 1024), default=1, show_default=True, metavar="N",
              help="Processes on this machine.")
@click.option("--scheduler", metavar="ADDRESS", help="Run on a dask.distributed cluster instead, such as "
              "tcp://10.0.0.1:8786.")
@click.option("--timeout", type=click.FloatRange(0.1, 86_400), default=30.0, show_default=True, metavar="SECONDS",
              help="How long the cluster may be silent.")
@click.option("-o", "--output", type=PATH, default="exploration", show_default=True, metavar="DIR",
              help="The folder of the trials and the picture.")
@click.option("--resume", is_flag=True, help="Go on with what is in the folder; finished trials are not made again.")
@shape_option
@limit_option
@seed_option
@json_option
def command(model: Path, space: str, calibration: Path | None, data: Path | None, labels: str, metric: str,
            trials: int, workers: int, scheduler: str | None, timeout: float, output: Path, resume: bool,
            shape: dict[str, int], limit: dict[str, int], seed: int, as_json: bool) -> None:
    """Try pipelines on MODEL (.onnx or .irc), and show those that no other beats in score, stored bytes and
    multiply-accumulates (with weights other than zero) at once.

    DIR gets a line of JSON for each trial (trials.jsonl) and a picture (front.svg).

    JSON: ok, output, metric (name, unit, samples, before), before (stored_bytes, macs), trials (how many), failed
    (pipeline, error), front (each: pipeline, score, loss, stored_bytes, macs).
    """
    from irc.cli.output import print_json, progress_bar
    from irc.explore.exploration import Request, explore
    from irc.limits import limits
    from irc.pipeline.judge import Criterion

    request = Request(model, space, Criterion(data, labels, metric), calibration, trials, seed, shape, limits(limit))
    with progress_bar() as progress:
        found = explore(request, output, resume, _workers(workers, scheduler, timeout), progress)
    if as_json:
        print_json(_to_json(found, output))
    else:
        _print(found, output)


def _workers(count: int, scheduler: str | None, timeout: float) -> Workers:
    """Where the trials run."""
    if scheduler is not None:
        from irc.explore.cluster import cluster

        return cluster(scheduler, timeout)
    from irc.explore.workers import local

    return local(count)


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def _to_json(found: Exploration, output: Path) -> dict[str, Any]:
    metric = {"name": found.metric.name, "unit": found.metric.unit, "samples": found.samples,
              "before": found.score_before}
    before = {"stored_bytes": _bytes(found.sizes_before.bits), "macs": found.sizes_before.macs}
    points = [{"pipeline": trial.pipeline, "score": trial.score, "loss": trial.loss,
               "stored_bytes": _bytes(trial.sizes.bits), "macs": trial.sizes.macs} for trial in found.front]
    return {"ok": True, "output": str(output), "metric": metric, "before": before, "trials": len(found.trials),
            "failed": [trial.to_json() for trial in found.trials if trial.problem], "front": points}


def _print(found: Exploration, output: Path) -> None:
    from shlex import quote

    from irc.cli.output import print_table

    whole = found.sizes_before
    rows = [(str(number), f"{trial.score:.6g}", f"{_bytes(trial.sizes.bits):,}",
             f"{100 * trial.sizes.bits / max(whole.bits, 1):.1f} %", f"{trial.sizes.macs:,}")
            for number, trial in enumerate(found.front, 1)]
    before = "as it came in", f"{found.score_before:.6g}", f"{_bytes(whole.bits):,}", "100.0 %", f"{whole.macs:,}"
    print_table(f"Pareto front on {found.samples} samples", ("point#", f"{found.metric.name}#", "stored bytes#",
                "of before#", "MACs#"), [before, *rows])
    for number, trial in enumerate(found.front, 1):
        click.echo(f"{number}: --passes {quote(trial.pipeline)}")
    failed = [trial for trial in found.trials if trial.problem]
    click.echo(f"\n{output}: {len(found.trials)} trials, {len(found.front)} on the front"
               f"{_failures(failed) if failed else ''}")


def _failures(failed: list[Trial]) -> str:
    codes = dict.fromkeys(str((trial.problem or {}).get("code")) for trial in failed)
    return f", {len(failed)} failed ({', '.join(codes)}; see trials.jsonl)"
