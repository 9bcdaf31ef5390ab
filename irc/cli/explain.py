"""`irc explain`: what the passes did to a network and what came out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from irc.cli.options import build_argument, json_option

if TYPE_CHECKING:
    from irc.build import Build
    from irc.cost import ActorCost
    from irc.dataflow.timing import Timing


@click.command("explain", short_help="What the passes did; size and timing.")
@build_argument
@json_option
def command(build: Path, as_json: bool) -> None:
    """Show what each pass did to BUILD, and the size, folding and timing of the design.

    JSON: ok, model, target, pipeline, passes (as for compile, without seconds), stages (by name, each op's nodes,
    macs, weights, weight_bits), actors (node, op, origin, simd, pe, firings, latency, busy, macs, rom_bits,
    fifo_bits), timing (latency, interval).
    """
    from irc.build import load_build
    from irc.cli.output import print_json
    from irc.cost import design_costs

    made = load_build(build)
    actors, timing = design_costs(made.last()) if "dataflow" in made.stages else ([], None)
    if as_json:
        print_json(_to_json(made, actors, timing))
    else:
        _print(made, actors, timing)


def _to_json(build: Build, actors: list[ActorCost], timing: Timing | None) -> dict[str, Any]:
    from dataclasses import asdict

    from irc.cost import op_costs

    kept = {key: build.manifest[key] for key in ("model", "target", "pipeline", "passes")}
    stages = {stage: [asdict(cost) for cost in op_costs(build.graph(stage))] for stage in build.stages}
    clock = {"latency": timing.latency, "interval": float(timing.interval)} if timing else None
    return {"ok": True, **kept, "stages": stages, "actors": [asdict(actor) for actor in actors], "timing": clock}


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
    if timing is not None:
        print_table("Actors", ("actor", "op", "from", "SIMD#", "PE#", "firings#", "latency#", "busy#", "ROM bits#",
                               "FIFO bits#"), map(_actor_row, actors))
        click.echo(f"latency {timing.latency} cycles, a frame every {float(timing.interval):g} cycles")


def _actor_row(actor: ActorCost) -> tuple[object, ...]:
    return (actor.node, actor.op, actor.origin, actor.simd, actor.pe, actor.firings, actor.latency,
            f"{100 * actor.busy:.1f} %", actor.rom_bits or "", actor.fifo_bits)
