"""`irc check`: what would be refused, where, why, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from irc.cli.failure import with_remedy
from irc.cli.options import PATH, json_option, limit_option, shape_option

if TYPE_CHECKING:
    from irc.check import Findings


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

    Exit code 1 when something does. JSON: ok, stages (by name, each op's nodes, macs, weights, weight_bits), problems
    (code, message, remedy, and the place: file, line, column, node, operator).
    """
    from irc.check import check_model
    from irc.cli.output import print_json
    from irc.cost import op_costs
    from irc.limits import limits

    findings = check_model(model, target, passes, shape, limits(limit))
    if as_json:
        from dataclasses import asdict

        stages = {stage: [asdict(cost) for cost in op_costs(graph)] for stage, graph in findings.stages.items()}
        problems = [with_remedy(problem).to_json() for problem in findings.problems]
        print_json({"ok": not problems, "stages": stages, "problems": problems})
    else:
        _print(findings)
    return 1 if findings.problems else 0


def _print(findings: Findings) -> None:
    from irc.cli.output import print_table
    from irc.cost import op_costs

    rows = [(stage, cost.op, cost.nodes, f"{cost.macs:,}" if cost.macs else "", f"{cost.weights:,}",
             f"{cost.weight_bits:,}") for stage, graph in findings.stages.items() for cost in op_costs(graph)]
    if rows:
        print_table("Operations", ("stage", "op", "nodes#", "MACs#", "weights#", "weight bits#"), rows)
    if findings.problems:
        shown = [(p.code, p.place.node, p.place.operator, p.message, p.remedy)
                 for p in map(with_remedy, findings.problems)]
        print_table("Problems", ("code", "node", "operator", "reason", "remedy"), shown)
    count = len(findings.problems)
    click.echo(f"{count} problem{'s' * (count > 1)}" if count else "can be compiled")
