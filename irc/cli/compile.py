"""`irc compile`: a model file in, a build folder out."""

from __future__ import annotations

import time
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


@click.command("compile", short_help="A model in, a build folder out.")
@click.argument("model", type=PATH)
@click.option("--passes", metavar="PIPELINE", help="What to do to the network, such as 'prune{sparsity=0.5}, "
              "default'; '@file' includes a file. Without it: default.")
@click.option("--target", default="verilog", show_default=True, metavar="NAME",
              help="What to emit; see 'irc backends'.")
@calibration_option
@judge_options
@click.option("-o", "--output", type=PATH, default="build", show_default=True, metavar="DIR", help="The build folder.")
@dump_option
@shape_option
@limit_option
@seed_option
@json_option
def command(model: Path, passes: str | None, target: str, calibration: Path | None, data: Path | None, labels: str,
            metric: str, output: Path, dump: Path | None, shape: dict[str, int], limit: dict[str, int], seed: int,
            as_json: bool) -> None:
    """Compile MODEL (.onnx or .irc) for a target.

    JSON: ok, build, target, pipeline, seconds, stages, files, inputs, outputs, metric (name, unit, samples, before,
    after; null without data), passes (each: pass, text, contract, seconds, nodes_before, nodes_after, deviation,
    notes).
    """
    from irc.cli.output import print_json, progress_bar
    from irc.cli.records import described_metric, print_records, timed_records
    from irc.compiler import Request, compile_model
    from irc.limits import limits
    from irc.pipeline.judge import Criterion

    start = time.perf_counter()
    with progress_bar() as progress:
        request = Request(model, target, passes, calibration, shape, seed, dump, limits(limit),
                          Criterion(data, labels, metric))
        build, compiled = compile_model(request, output, progress)
    seconds = round(time.perf_counter() - start, 3)
    if as_json:
        shown = ("target", "pipeline", "stages", "files", "inputs", "outputs", "metric")
        kept = {key: build.manifest[key] for key in shown}
        print_json({"ok": True, "build": str(output), "seconds": seconds, **kept,
                    "passes": timed_records(compiled.records)})
        return
    print_records(compiled.records)
    if build.manifest["metric"] is not None:
        click.echo(described_metric(build.manifest["metric"]))
    click.echo(f"{output}: {len(build.manifest['files'])} files for {target}, {seconds:.1f} s")
