"""`irc opt`: IR text in, IR text out; the tool of pass authors."""

from __future__ import annotations

from pathlib import Path

import click

from irc.cli.options import (
    PATH,
    calibration_option,
    dump_option,
    json_option,
    judge_options,
    limit_option,
    seed_option,
    shape_option,
)


@click.command("opt", short_help="IR text in, IR text out.")
@click.argument("source", type=PATH)
@click.option("--passes", required=True, metavar="PIPELINE", help="The passes to run, such as 'fold, clean'.")
@click.option("-o", "--output", type=PATH, metavar="OUT.irc",
              help="Where to write the graph (large constants go to OUT.npz). Without it: stdout.")
@calibration_option
@judge_options
@dump_option
@shape_option
@limit_option
@seed_option
@json_option
def command(source: Path, passes: str, output: Path | None, calibration: Path | None, data: Path | None, labels: str,
            metric: str, dump: Path | None, shape: dict[str, int], limit: dict[str, int], seed: int,
            as_json: bool) -> None:
    """Run passes on SOURCE (.irc or .onnx) and print the graph.

    JSON: ok, passes (as for compile), and graph (the text) or output (the path).
    """
    from irc.cli.output import print_json, progress_bar
    from irc.cli.records import timed_records
    from irc.compiler import read_model
    from irc.limits import limits
    from irc.pipeline.driver import run_pipeline
    from irc.pipeline.judge import Criterion
    from irc.pipeline.language import parse_pipeline
    from irc.samples import load_fitting
    from irc.text import print_graph, save_graph

    steps = parse_pipeline(passes)
    graph = read_model(source, shape, limits(limit))
    samples = load_fitting(calibration, graph) if calibration is not None else None
    judge = Criterion(data, labels, metric).judge(graph, samples)
    with progress_bar() as progress:
        outcome = run_pipeline(graph, steps, calibration=samples, dump=dump, progress=progress, seed=seed, judge=judge)
    if output is not None:
        save_graph(outcome.graph, output)
    shown = {"graph": print_graph(outcome.graph)} if output is None else {"output": str(output)}
    if as_json:
        print_json({"ok": True, "passes": timed_records(outcome.records), **shown})
    elif output is None:
        click.echo(shown["graph"], nl=False)
