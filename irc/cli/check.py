"""`irc check`: what would be refused, where, why, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from irc.cli.failure import with_remedy
from irc.cli.options import PATH, json_option, limit_option, shape_option

if TYPE_CHECKING:
    from irc.check import Findings
    from irc.graph import Graph

SHOWN = 100  # problems in the table


@click.command("check", short_help="What would be refused, where and why.")
@click.argument("model", type=PATH)
@click.option("--target", metavar="NAME", help="Check for this target only. Without it: for all.")
@click.option("--passes", metavar="PIPELINE", help="The passes to check with. Without it: default.")
@shape_option
@limit_option
@json_option
def command(model: Path, target: str | None, passes: str | None, shape: dict[str, int],
            limit: dict[str, int], as_json: bool) -> int:
    """Tell whether MODEL (.onnx or .irc) can be compiled, and everything that stands in the way.

    Exit code 1 when something does. JSON: ok, stages (by name, each op's nodes, macs, weights, weight_bits),
    activation_bits (by stage, the most at once), problems (code, message, remedy, the targets that it keeps from being
    reached, and the place: file, line, column, node, operator).
    """
    from irc.check import check_model
    from irc.cli.output import print_json
    from irc.cost import activation_bits, op_costs
    from irc.limits import limits

    findings = check_model(model, target, passes, shape, limits(limit))
    if as_json:
        from dataclasses import asdict

        stages = {stage: [asdict(cost) for cost in op_costs(graph)] for stage, graph in findings.stages.items()}
        memory = {stage: activation_bits(graph) for stage, graph in findings.stages.items()}
        problems = [with_remedy(found.problem).to_json() | {"targets": list(found.targets)}
                    for found in findings.refusals]
        print_json({"ok": not problems, "stages": stages, "activation_bits": memory, "problems": problems})
    else:
        _print(findings)
    return 1 if findings.refusals else 0


def _totals(stage: str, graph: Graph) -> tuple[str, ...]:
    """A row: one inference, weights, and the activations that are needed at once."""
    from irc.cost import activation_bits, op_costs

    costs = op_costs(graph)
    bits = sum(cost.weight_bits for cost in costs), activation_bits(graph)
    counts = (len(graph.nodes), sum(cost.macs for cost in costs), sum(cost.weights for cost in costs))
    return stage, *(f"{count:,}" for count in (*counts, *(-(-b // 8) for b in bits)))


def _print(findings: Findings) -> None:
    from irc.cli.output import print_table
    from irc.cost import op_costs

    rows = [(stage, cost.op, cost.nodes, f"{cost.macs:,}" if cost.macs else "", f"{cost.weights:,}",
             f"{cost.weight_bits:,}") for stage, graph in findings.stages.items() for cost in op_costs(graph)]
    if rows:
        print_table("Operations", ("stage", "op", "nodes#", "MACs#", "weights#", "weight bits#"), rows)
        print_table("Totals", ("stage", "nodes#", "MACs#", "weights#", "weight bytes#", "activation bytes#"),
                    [_totals(stage, graph) for stage, graph in findings.stages.items()])
    if findings.refusals:
        shown = [(p.code, p.place.node, p.place.operator, p.message, p.remedy, ", ".join(found.targets))
                 for found in findings.refusals[:SHOWN] for p in [with_remedy(found.problem)]]
        print_table("Problems", ("code", "node", "operator", "reason", "remedy", "not for"), shown)
    if len(findings.refusals) > SHOWN:
        click.echo(f"the first {SHOWN} are shown, --json has all")
    count = len(findings.refusals)
    click.echo(f"{count} problem{'s' * (count > 1)}" if count else "can be compiled")
