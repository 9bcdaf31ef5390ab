"""Channels removed without training: accuracy on the whole test sets, and the pruned network against the masked one.

`pruned` is the accuracy of the smaller network of reals, `quantized` that of 8-bit weights and activations behind it;
the integers of the C program and the simulator are those of the integer model (`same_in_c_and_sim`, for networks whose
ops have hardware). `to_masked` is the largest difference between the outputs of the pruned network and of the one that
has zeros in place of these channels, relative to the largest output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from datasets import MODELS
from low_bits import Case, Trial, classifier, exact
from report import Table
from workloads import arguments

from irc.cost import macs
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.samples import bind
from passes.prune.structured import Target, pruned

SHARES = (0.3, 0.5)  # of the multiply-accumulates
COMPARED = 50  # test samples on which the pruned and the masked network must agree
CLOSE = 1e-5
LONGEST = 5.0  # CPU seconds of a pass on LeNet
QUANTIZE = "quantize{weights=s8 activations=u8}"
# how many points the loss may be; None where nothing is asked for
ALLOWED: dict[str, float | None] = {
    "mnist_lenet": None, "kws_resnet_heldout_theo": 3.0, "mlperf_kws_dscnn": None, "cifar_resnet20": None}
NO_HARDWARE = ("cifar_resnet20",)  # channels padded with zeros
TABLE = Table("channel_pruning", "Channels pruned without training", ("model", "passes"), {
    "model": "", "passes": "", "inputs": ",d", "macs_gone": ".1%", "weights_gone": ".1%", "to_masked": ".1e",
    "float": ".2f", "pruned": ".2f", "loss": "+.2f", "at_most": ".1f", "quantized": ".2f", "as_wanted": "",
    "cpu_seconds": ".1f", "same_in_c_and_sim": ""})


@dataclass(frozen=True, slots=True)
class Way:
    """How channels are chosen; the first of them carries the targets."""

    criterion: str = "second_order"
    compensate: bool = True

    def passes(self, share: float) -> str:
        more = "" if self.criterion == "second_order" else f" criterion={self.criterion}"
        return f"prune_channels{{macs={share}{more}{'' if self.compensate else ' compensate=false'}}}"


WAYS = (Way(), Way("l2"), Way("l2", compensate=False))


def work(graph: Graph) -> int:
    """Multiply-accumulates a sample."""
    return sum(macs(graph, node) for node in graph.nodes)


def weights(graph: Graph) -> int:
    return sum(constant.type.size for constant in graph.constants.values())


def to_masked(trial: Trial, way: Way, share: float) -> float:
    """Largest difference between the pruned and the masked network."""
    graph = trial.run("clean")[0]
    found = pruned(graph, Target(macs=share), way.criterion, bind(graph, trial.calibration), way.compensate)
    feeds = bind(graph, {name: array[:COMPARED] for name, array in trial.test.items()})
    (ours,), (theirs,) = (evaluate(one, feeds).values() for one in (found.graph, found.masked))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def row(name: str, trial: Trial, real: float, way: Way, share: float) -> dict[str, object]:
    """One network, pruned in one way."""
    passes = way.passes(share)
    before, (graph, seconds) = trial.run("clean")[0], trial.run(passes)
    first = way == WAYS[0]
    score, near = trial.score(graph), to_masked(trial, way, share)
    gone, limit = 1 - work(graph) / work(before), ALLOWED[name] if first and share == SHARES[0] else None
    case = Case(name, f"{passes}, {QUANTIZE}", 0.0)
    good = near <= CLOSE and gone >= share and (limit is None or real - score <= limit)
    return {"model": name, "passes": passes, "inputs": len(next(iter(trial.test.values()))), "macs_gone": gone,
            "weights_gone": 1 - weights(graph) / weights(before), "to_masked": near, "float": real, "pruned": score,
            "loss": real - score, "at_most": limit,
            "quantized": trial.score(trial.run(case.passes)[0]) if first else None,
            "as_wanted": good and (name != "mnist_lenet" or seconds <= LONGEST), "cpu_seconds": seconds,
            "same_in_c_and_sim": exact(case, trial) if first and name not in NO_HARDWARE else None}


def rows(name: str, trial: Trial) -> Iterator[dict[str, object]]:
    """All ways at the first share, the best one at the others."""
    real = trial.score(trial.run("")[0])
    for share in SHARES:
        for way in WAYS if share == SHARES[0] else WAYS[:1]:
            yield row(name, trial, real, way, share)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(ALLOWED))
    options = parser.parse_args()
    if not options.shared.is_dir():
        print(f"{options.shared} is not there: nothing to measure")
        return
    for name in options.models:
        for found in rows(name, classifier(options.shared, name)):
            TABLE.record([found])
            TABLE.show([found])


if __name__ == "__main__":
    main()
