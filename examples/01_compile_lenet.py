"""LeNet-5 to Verilog: 5-bit weights, 8-bit activations, and what the design looks like.

    $ python examples/01_compile_lenet.py
    design in build/01_lenet/verilog
    accuracy on 300 images: float 100.0 %, integers 100.0 %
    latency ... cycles, a frame every 7840 cycles
"""

from pathlib import Path

import numpy as np

from irc.build import Build
from irc.compiler import Request, compile_model
from irc.dataflow.timing import simulate_timing
from irc.interpreter import evaluate
from irc.samples import bind, load_samples, present

DATA = Path(__file__).parent / "data"


def accuracy(build: Build, stage: str) -> float:
    """Per cent of the test images that the graph of one stage gets right."""
    graph, samples = build.graph(stage), load_samples(DATA / "mnist.npz")
    (scores,) = present(graph, evaluate(graph, bind(graph, samples))).values()
    return 100 * float(np.mean(scores.argmax(axis=1) == samples["labels"]))


def main() -> None:
    request = Request(
        model=DATA / "mnist_lenet.onnx",
        passes="quantize{weights=s5 activations=u8}",
        calibration=DATA / "mnist_calibration.npz",
        target="verilog",
    )
    build, _ = compile_model(request, Path("build/01_lenet"))
    timing = simulate_timing(build.graph("dataflow"), frames=100)
    print(f"design in {build.design}")
    reals, integers = accuracy(build, "float"), accuracy(build, "integer")
    print(f"accuracy on 300 images: float {reals:.1f} %, integers {integers:.1f} %")
    print(f"latency {timing.latency} cycles, a frame every {timing.interval} cycles")


if __name__ == "__main__":
    main()
