"""`irc explain`: what the passes did to a network and what came out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from irc.cli.options import build_argument, calibration_option, json_option, judge_options

if TYPE_CHECKING:
    from irc.build import Build
    from irc.cost import ActorCost
    from irc.dataflow.timing import Timing
    from irc.graph import Graph
    from irc.pipeline.blame import LayerError
    from irc.pipeline.judge import Criterion

_LARGEST = 12  # constants that are shown by name


@click.command("explain", short_help="What the passes did; size and timing.")
@build_argument
@judge_options
@calibration_option
@json_option
def command(build: Path, data: Path | None, labels: str, metric: str, calibration: Path | None, as_json: bool) -> None:
    """Show what each pass did to BUILD, and the size, folding and timing of the design.

    With data, also the error of every layer's output against the float model, and which layer costs most.

    JSON: ok, model, target, pipeline, passes (as for compile, without seconds), stages (by name, each op's nodes,
    macs, weights, weight_bits), storage (of the quantized model's constants: name, shape, format, nonzeros, encoding,
    bits, dense_bits), actors (node, op, origin, simd, pe, firings, latency, busy, macs, rom_bits,
    fifo_bits), timing (latency, interval), metric (as for compile), layers (layer, origin, op, unit: lsb or
    relative, mean, largest, cost: squared error of the output, relative, with this layer alone compressed), costliest
    (layer, exclusion; null when none).
    """
    from irc.build import load_build
    from irc.cli.output import print_json
    from irc.cost import design_costs
    from irc.pipeline.judge import Criterion

    made = load_build(build)
    found = judged(made, Criterion(data, labels, metric), calibration)
    actors, timing = design_costs(made.last()) if "dataflow" in made.stages else ([], None)
    if as_json:
        print_json(_to_json(made, actors, timing) | _found_json(found))
    else:
        _print(made, actors, timing)
        _print_found(found)


@dataclass(frozen=True, slots=True)
class Findings:
    """What the data say: the score of the build, the error of every layer on how many samples, the worst layer."""

    metric: Mapping[str, Any] | None
    layers: tuple[LayerError, ...] = ()
    samples: int = 0
    worst: LayerError | None = None


def judged(build: Build, criterion: Criterion, calibration: Path | None) -> Findings:
    """The findings on the user's data; without any, the score that was measured when the build was made."""
    from irc.compiler import measured
    from irc.pipeline.blame import Blame, costliest
    from irc.samples import load_fitting

    graphs = {stage: build.graph(stage) for stage in build.stages}
    first = next(iter(graphs.values()))
    judge = criterion.judge(first, load_fitting(calibration, first) if calibration is not None else None)
    if judge is None:
        return Findings(build.manifest.get("metric"))
    blame = Blame(first, graphs.get("quantized", first), judge.data)
    errors = blame.errors()
    return Findings(measured(judge, graphs), errors, blame.samples, costliest(errors))


def _found_json(found: Findings) -> dict[str, Any]:
    worst = {"layer": found.worst.layer, "exclusion": found.worst.exclusion} if found.worst else None
    return {"metric": found.metric, "layers": [asdict(layer) for layer in found.layers], "costliest": worst}


def _print_found(found: Findings) -> None:
    from irc.cli.records import described_metric, print_layer_errors

    if found.layers:
        print_layer_errors(found.layers, found.worst, found.samples)
    if found.metric is not None:
        click.echo(described_metric(found.metric))


def _to_json(build: Build, actors: list[ActorCost], timing: Timing | None) -> dict[str, Any]:
    from irc.cost import op_costs
    from irc.storage import stored

    kept = {key: build.manifest[key] for key in ("model", "target", "pipeline", "passes")}
    stages = {stage: [asdict(cost) for cost in op_costs(build.graph(stage))] for stage in build.stages}
    stored_rows = [asdict(row) for row in stored(build.graph("quantized"))] if "quantized" in build.stages else []
    clock = {"latency": timing.latency, "interval": float(timing.interval)} if timing else None
    return {"ok": True, **kept, "stages": stages, "storage": stored_rows,
            "actors": [asdict(actor) for actor in actors], "timing": clock}


def _print(build: Build, actors: list[ActorCost], timing: Timing | None) -> None:
    from irc.cli.output import print_table
    from irc.cli.records import described
    from irc.cost import op_costs

    click.echo(f"{build.manifest['model']['file']} for {build.target}, pipeline: {build.manifest['pipeline']}")
    print_table("Passes", ("pass", "contract", "moved by", "nodes#"), map(described, build.manifest["passes"]))
    notes = [(record["text"], note["node"], note["key"], note["value"])
             for record in build.manifest["passes"] for note in record["notes"]]
    print_table("Notes", ("pass", "node", "what", "value"), notes)
    sizes = []
    for stage in build.stages:
        costs = op_costs(build.graph(stage))
        sizes.append((stage, *(f"{sum(getattr(c, key) for c in costs):,}"
                               for key in ("nodes", "macs", "weights", "weight_bits"))))
    print_table("Size", ("stage", "nodes#", "MACs#", "weights#", "weight bits#"), sizes)
    if "quantized" in build.stages:
        _print_storage(build.graph("quantized"))
    if timing is not None:
        print_table("Actors", ("actor", "op", "from", "SIMD#", "PE#", "firings#", "latency#", "busy#", "ROM bits#",
                               "FIFO bits#"), map(_actor_row, actors))
        click.echo(f"latency {timing.latency} cycles, a frame every {float(timing.interval):g} cycles")


def _print_storage(graph: Graph) -> None:
    """The largest constants, each in the encoding that takes the fewest bits, and all of them together."""
    from irc.cli.output import print_table
    from irc.storage import stored

    rows = stored(graph)
    largest = [(row.name, "x".join(map(str, row.shape)), row.format, row.encoding, f"{row.bits:,}",
                f"{row.dense_bits:,}") for row in sorted(rows, key=lambda row: -row.bits)[:_LARGEST]]
    total = (f"{sum(row.bits for row in rows):,}", f"{sum(row.dense_bits for row in rows):,}")
    print_table("Storage", ("constant", "shape", "format", "encoding", "bits#", "dense bits#"),
                [*largest, (f"all {len(rows)} constants", "", "", "", *total)])


def _actor_row(actor: ActorCost) -> tuple[object, ...]:
    return (actor.node, actor.op, actor.origin, actor.simd, actor.pe, actor.firings, actor.latency,
            f"{100 * actor.busy:.1f} %", actor.rom_bits or "", actor.fifo_bits)
