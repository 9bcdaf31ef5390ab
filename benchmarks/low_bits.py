"""Weights of few bits without training: accuracy on the whole test sets, and the bytes that are stored.

`score` is top-1 accuracy in percent, or bits per character for `char_lstm`, whose state runs on through the text. It is
that of the quantized model, whose integers are those of the integer model, the C program and the simulator
(`same_in_c_and_sim`, on a few samples, for the networks whose ops have hardware). `plain` is the same width with every
weight rounded to the nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
from datasets import DATA, MODELS, shakespeare, streams
from report import Table
from workloads import SCRATCH, arguments

from irc.compiler import Request, compile_model
from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.metric import bits_per_symbol, top1
from irc.pipeline.driver import run_pipeline
from irc.pipeline.language import parse_pipeline
from irc.samples import bind
from irc.storage import stored_fraction
from irc.types import Array
from irc.verify import verify

CALIBRATION = 500  # unlabelled samples
STEPS, STREAMS, HIDDEN = 256, 16, 128  # of the language model: characters at once, texts side by side, size of a state
TABLE = Table("low_bits", "Few bits without training", ("model", "passes"), {
    "model": "", "passes": "", "inputs": ",d", "float": ".3f", "score": ".3f", "wanted": ".2f", "as_wanted": "",
    "plain": ".3f", "stored": ".2%", "cpu_seconds": ".1f", "same_in_c_and_sim": ""})


@dataclass(frozen=True, slots=True)
class Case:
    """Passes behind `fold, clean`, and the score that they must reach."""

    model: str
    passes: str
    wanted: float
    plain: str = ""
    hardware: bool = True


def quantized(model: str, bits: int, wanted: float, options: str = "", hardware: bool = True) -> Case:
    """Compensated rounding to some bits, beside rounding to the nearest."""
    plain = f"quantize{{weights=s{bits} activations=u8{options}}}"
    return Case(model, plain.replace("}", " rounding=gptq}"), wanted, plain, hardware)


def shifted(model: str, alphabet: str, wanted: float) -> Case:
    """Weights of powers of two."""
    passes = f"shift{{alphabet={alphabet} rounding=gptq}}, quantize{{activations=u8}}"
    return Case(model, passes, wanted, passes.replace(" rounding=gptq", ""))


def mixed(model: str, average: float, wanted: float) -> Case:
    """A width for each layer, so many bits a weight on average; beside the same, rounded to the nearest."""
    plain = f"quantize{{mixed=[2, 3, 4, 5, 6, 8] average={average} sensitivity=mse activations=u8}}"
    return Case(model, plain.replace("}", " rounding=gptq}"), wanted, plain)


def texts(bits: int, wanted: float) -> Case:
    """Weights only: the recurrent layer has no hardware yet."""
    plain = f"quantize{{weights=s{bits} activations=none scale_bits=8}}"
    return Case("char_lstm", plain.replace("}", " rounding=gptq}"), wanted, plain, hardware=False)


CASES = (
    quantized("cifar_resnet8", 4, 81.2), quantized("cifar_resnet8", 3, 79.0), quantized("cifar_resnet8", 2, 65.0),
    mixed("cifar_resnet8", 3.0, 80.73), mixed("cifar_resnet8", 3.07, 80.73),
    shifted("cifar_resnet8", "apot", 80.79), shifted("cifar_resnet8", "pot", 79.29),
    quantized("mlperf_kws_dscnn", 4, 89.4), quantized("mlperf_kws_dscnn", 3, 87.5),
    quantized("kws_resnet_heldout_theo", 4, 93.0, " granularity=tensor"),
    quantized("kws_resnet_heldout_theo", 2, 90.0),
    shifted("kws_resnet_heldout_theo", "apot", 92.4), shifted("kws_resnet_heldout_theo", "pot", 90.9),
    quantized("cifar_resnet20", 4, 80.03, hardware=False), quantized("cifar_resnet20", 3, 78.03, hardware=False),
    quantized("cifar_resnet20", 2, 66.03, hardware=False),
    quantized("sentiment_cnn", 5, 77.95), texts(4, 2.44), texts(3, 2.52),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """A network, its calibration data by input name, and how it is scored."""

    path: Path
    graph: Graph
    calibration: Mapping[str, Array]
    test: Mapping[str, Array]
    score: Callable[[Graph], float]
    lower: bool = False

    def run(self, passes: str) -> tuple[Graph, float]:
        """The network after the passes, and the CPU seconds they took."""
        start = process_time()
        steps = parse_pipeline(f"fold, clean, {passes}" if passes else "clean")
        found = run_pipeline(self.graph, steps, calibration=self.calibration, check=False)
        return found.graph, process_time() - start


def classifier(shared: Path, name: str) -> Trial:
    """A network with a data set of its own, top-1 in percent."""
    path = shared / "models" / MODELS[name]
    graph, samples = read_onnx(path), DATA[name](shared, CALIBRATION)
    (port,) = graph.inputs
    test = {port.name: samples.test}

    def score(found: Graph) -> float:
        return top1(evaluate(found, bind(found, test))[found.outputs[0].name], samples.labels)

    return Trial(path, graph, {port.name: samples.train}, test, score)


def language_model(shared: Path, name: str) -> Trial:
    """The character model, bits per character; the state of a text goes on from piece to piece."""
    path = shared / "models" / MODELS[name]
    graph = read_onnx(path, bind={"T": STEPS, "N": 1})
    train, test = shakespeare(shared)
    pieces = streams(test, STREAMS, (len(test) // STREAMS - 1) // STEPS * STEPS)

    def score(found: Graph) -> float:
        feeds, bits = states(STREAMS), list[float]()
        for at in range(0, pieces.shape[1] - 1, STEPS):
            out = evaluate(found, {"tokens": pieces[:, at : at + STEPS, None], **feeds})
            feeds = {"h0": out["hn"], "c0": out["cn"]}
            bits.append(bits_per_symbol(out["logits"], pieces[:, at + 1 : at + STEPS + 1]))
        return float(np.mean(bits))

    calibration = {"tokens": streams(train, CALIBRATION, STEPS)[:, :-1, None], **states(CALIBRATION)}
    return Trial(path, graph, calibration, {"tokens": pieces}, score, lower=True)


def states(count: int) -> dict[str, Array]:
    """Zero states of `count` texts."""
    return {name: np.zeros((count, 1, 1, HIDDEN)) for name in ("h0", "c0")}


def measured(case: Case, trial: Trial, real: float) -> dict[str, object]:
    """One row."""
    graph, seconds = trial.run(case.passes)
    score = trial.score(graph)
    plain = trial.score(trial.run(case.plain)[0]) if case.plain else None
    good = score <= case.wanted if trial.lower else score >= case.wanted
    return {"model": case.model, "passes": case.passes, "inputs": len(next(iter(trial.test.values()))), "float": real,
            "score": score, "wanted": case.wanted, "as_wanted": good, "plain": plain,
            "stored": stored_fraction(graph, trial.graph), "cpu_seconds": seconds,
            "same_in_c_and_sim": exact(case, trial) if case.hardware else None}


def exact(case: Case, trial: Trial) -> bool:
    """Whether C program and simulator give the integers of the integer model: 50 samples, and 2 frames."""
    folder = SCRATCH / "low_bits" / case.model
    folder.mkdir(parents=True, exist_ok=True)
    calibration = folder / "calibration.npz"
    np.savez(calibration, allow_pickle=False, **trial.calibration)
    passes = f"fold, clean, drop_softmax, {case.passes}"
    build, _ = compile_model(Request(trial.path, "hls", passes, calibration), folder / "design")
    few = {name: array[:50] for name, array in trial.test.items()}
    return verify(build, few, frames=2, only=("hls", "sim")).ok


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=sorted({case.model for case in CASES}))
    parser.add_argument("--only", default="", metavar="TEXT", help="passes that contain this")
    options = parser.parse_args()
    if not options.shared.is_dir():
        print(f"{options.shared} is not there: nothing to measure")
        return
    for name in options.models:
        trial = (language_model if name == "char_lstm" else classifier)(options.shared, name)
        real = trial.score(trial.run("")[0])
        for case in (c for c in CASES if c.model == name and options.only in c.passes):
            row = measured(case, trial, real)
            TABLE.record([row])
            TABLE.show([row])


if __name__ == "__main__":
    main()
