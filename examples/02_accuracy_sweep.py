"""How many bits does a weight need? Accuracy of LeNet-5 on 300 test images, by the format of the weights.

Everything below the model level is exact, so the accuracy of the quantized graph is the accuracy of the hardware; no
design has to be emitted to know it.

    $ python examples/02_accuracy_sweep.py
    weights  accuracy
        f32  100.00 %
         s8  100.00 %
         s6  100.00 %
         s5  100.00 %
         s4  100.00 %
         s3   99.33 %
         s2   97.67 %
       p2e6  100.00 %
       p1e6  100.00 %
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.samples import bind, load_samples, present
from irc.types import Array

DATA = Path(__file__).parent / "data"
PIPELINES = {
    "f32": "fold",
    **{f"s{bits}": f"fold, quantize{{weights=s{bits} activations=u8}}" for bits in (8, 6, 5, 4, 3, 2)},
    "p2e6": "fold, shift{terms=2}, quantize{activations=u8}",
    "p1e6": "fold, shift{terms=1}, quantize{activations=u8}",
}


def accuracy(graph: Graph, samples: Mapping[str, Array]) -> float:
    """Per cent of the samples that the graph gets right."""
    (scores,) = present(graph, evaluate(graph, bind(graph, samples))).values()
    return 100 * float(np.mean(scores.argmax(axis=1) == samples["labels"]))


def main() -> None:
    model = read_onnx(DATA / "mnist_lenet.onnx")
    samples, calibration = load_samples(DATA / "mnist.npz"), load_samples(DATA / "mnist_calibration.npz")
    print("weights  accuracy")
    for name, pipeline in PIPELINES.items():
        outcome = run_pipeline(model, parse_pipeline(pipeline), calibration=calibration, check=False)
        print(f"{name:>7}  {accuracy(outcome.graph, samples):6.2f} %")


if __name__ == "__main__":
    main()
