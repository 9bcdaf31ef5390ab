"""Accuracy on the whole test sets: float, 5-bit weights, weights of two powers of two; nothing is trained again.

The accuracy is that of the integer model, which all targets equal bit for bit (equality.py).
"""

from __future__ import annotations

import numpy as np
from report import Table
from workloads import QUANTIZE, Workload, arguments, available, load

from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.pipeline.driver import run_pipeline, steps_to
from irc.pipeline.language import parse_pipeline
from irc.samples import bind, load_samples, present
from irc.types import Level

SHIFT = "shift{terms=2}, quantize{activations=u8}"
SAME = ("mnist_mlp_dynbatch", "mnist_lenet_dynamo", "mnist_lenet_dynbatch")  # networks exported once more
WANTED = {"mnist_lenet": 99.1, "mnist_mlp": 97.7, "sentiment_cnn": 77.5, "sentiment_cnn_embedded": 77.5}
TABLE = Table("accuracy", "Accuracy after training, per cent of the whole test set", ("model",), {
    "model": "", "inputs": ",d", "float": ".2f", "s5_u8": ".2f", "at_least": ".1f", "shift_2_u8": ".2f",
    "shift_minus_float": "+.2f", "as_wanted": ""})


def accuracy(graph: Graph, work: Workload) -> float:
    """Per cent of the test set that the graph gets right."""
    (scores,) = present(graph, evaluate(graph, bind(graph, work.samples))).values()
    return 100 * float(np.mean(scores.argmax(axis=1) == work.samples["labels"]))


def compressed(model: Graph, passes: str, work: Workload) -> Graph:
    """The integer model that `passes` lead to."""
    steps = parse_pipeline(passes) + steps_to(Level.MODEL, Level.INTEGER)
    return run_pipeline(model, steps, calibration=load_samples(work.calibration)).graph


def row(work: Workload) -> dict[str, object]:
    model = read_onnx(work.model)
    real = accuracy(model, work)
    uniform, shift = (accuracy(compressed(model, passes, work), work) for passes in (QUANTIZE, SHIFT))
    wanted = WANTED.get(work.name)
    return {"model": work.name, "inputs": len(work.samples["labels"]), "float": real, "s5_u8": uniform,
            "at_least": wanted, "shift_2_u8": shift, "shift_minus_float": shift - real,
            "as_wanted": uniform >= (wanted or 0) and shift >= real - 0.5}


def main() -> None:
    shared = arguments(__doc__ or "").parse_args().shared
    rows = [row(load(name, shared)) for name in available(shared) if name not in SAME]
    TABLE.show(rows)
    TABLE.record(rows)


if __name__ == "__main__":
    main()
