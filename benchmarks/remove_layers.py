"""Blocks of a ResNet-56 removed one by one without training: what is left of it after each, against its accuracy.

Blocks are chosen by their effect on the outputs, the layers around each gap are fitted again on calibration images, and
removal stops before the loss on other training images exceeds the floor. Labels of the test set are used for the curve
alone. ONNX Runtime evaluates it on the `--target onnx` file, after it agreed with the interpreter on some images.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from curve import Point, drawn
from report import RESULTS, Table
from workloads import SCRATCH, arguments

from backends.onnx import ONNX
from irc.cost import macs
from irc.frontend import read_onnx
from irc.graph import Graph
from irc.interpreter import evaluate
from irc.metric import find_metric
from irc.pipeline.judge import Judge
from irc.pipeline.step import Context
from irc.text import save_graph
from irc.types import Array
from passes.remove_layers.remove_layers import RemoveLayers
from passes.simplify.clean import Clean
from passes.simplify.fold import Fold

MODEL = "models/third_party/cifar_resnet56.onnx"
FLOOR = 1.0  # points
EVERY = 10_000  # test images
COMPARED = 20  # images on which the interpreter and ONNX Runtime must agree
MEAN, DEVIATION = ((np.array(x).reshape(3, 1, 1)) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
TABLE = Table("remove_layers", "ResNet-56 on CIFAR-10: residual blocks removed without training",
              ("priority", "compensate", "blocks"), {
    "priority": "", "compensate": "", "blocks": "d", "block": "", "priority_of_block": ".3f", "nodes": "d",
    "million_macs": ".1f", "judged_loss": "+.2f", "test_images": ",d", "test_accuracy": ".2f", "test_loss": "+.2f",
    "within_floor": ""})


@dataclass(frozen=True)
class Witness(Judge):
    """A judge that remembers what it has seen, and has enough after `most` graphs."""

    most: int = 0
    seen: list[tuple[Graph, float]] = field(default_factory=list)

    def loss(self, graph: Graph) -> float:
        if self.most and len(self.seen) == self.most:
            return float("inf")
        self.seen.append((graph, super().loss(graph)))
        (SCRATCH / "remove_layers").mkdir(parents=True, exist_ok=True)
        save_graph(graph, SCRATCH / "remove_layers" / f"{len(self.seen)}.irc")
        print(f"{len(self.seen)} blocks: loss {self.seen[-1][1]:+.2f}", flush=True)
        return self.seen[-1][1]


def images(shared: Path, split: str, start: int, count: int) -> tuple[Array, Array]:
    """Normalized images [count, 1, 3, 32, 32] and labels."""
    try:
        from PIL import Image
    except ImportError:
        sys.exit("the images are stored as JPEG: pip install pillow")
    data = np.load(shared / "data" / "research_only" / f"cifar10_{split}_jpeg.npz")
    head, body, at = data["header"].tobytes(), data["body"].tobytes(), data["offset"][start : start + count + 1]
    raw = (head + body[a:b] for a, b in pairwise(at))
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in raw]).transpose(0, 3, 1, 2)
    return ((pixels / 255 - MEAN) / DEVIATION)[:, None].astype(np.float32), data["y"][start : start + count]


def answers(graph: Graph, x: Array) -> Array:
    """The outputs in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in ONNX.emit(graph).items():
            (Path(folder) / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        (found,) = ONNX.run(Path(folder), graph, {graph.inputs[0].name: x}, scratch=Path(folder)).outputs.values()
    return found


def agreement(graph: Graph, x: Array) -> float:
    """Largest difference between the interpreter and ONNX Runtime, relative to the largest output."""
    (exact,) = evaluate(graph, {graph.inputs[0].name: x}).values()
    return float(np.abs(answers(graph, x) - exact).max() / np.abs(exact).max())


def measured(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """The network as it came in, then with one block less each time, the first one beyond the floor included."""
    graph = Clean().run(Fold().run(read_onnx(options.shared / MODEL), Context()), Context())
    name, notes = graph.inputs[0].name, list[tuple[str, object, str]]()
    calibration, _ = images(options.shared, "train", 0, options.calibration)
    held, labels = images(options.shared, "train", options.calibration, options.judged)
    judge = Witness(find_metric("accuracy"), graph, {name: held}, labels, options.most)
    removal = RemoveLayers(0, FLOOR, options.priority, options.compensate, options.ranked)

    def note(key: str, value: object, node: str = "") -> None:
        notes.append((key, value, node))

    removal.run(graph, Context({name: calibration}, note=note, judge=judge))
    x, wanted = images(options.shared, "test", 0, EVERY)
    before = None
    for blocks, (shorter, loss) in enumerate([(graph, 0.0), *judge.seen]):
        right = correct(shorter, x, wanted)
        before = right if before is None else before
        yield {"priority": options.priority, "compensate": options.compensate, "blocks": blocks,
               **chosen(notes, blocks), "nodes": len(shorter.nodes),
               "million_macs": sum(macs(shorter, node) for node in shorter.nodes) / 1e6, "judged_loss": loss,
               "test_images": len(x), "test_accuracy": right, "test_loss": before - right,
               "within_floor": before - right <= FLOOR}


def correct(graph: Graph, x: Array, labels: Array) -> float:
    """Per cent of images that ONNX Runtime gets right, after it agreed with the interpreter on some."""
    spread = x[:: len(x) // COMPARED]  # the test set is sorted by class
    difference = agreement(graph, spread)
    assert difference < 1e-4, f"ONNX Runtime and the interpreter differ by {difference}"
    return 100 * float(np.mean(answers(graph, x).argmax(axis=-1).reshape(-1) == labels))


def chosen(notes: list[tuple[str, object, str]], blocks: int) -> dict[str, object]:
    """The name and the priority of the block that went last, as the pass noted them."""
    names = [node for key, value, node in notes if key == "removed block" and value == blocks]
    facts = {node: value for key, value, node in notes if key == "priority"}
    beyond = [node for key, _, node in notes if key == "stops before a loss of"]
    name = names[0] if names else beyond[0] if blocks and beyond else ""
    return {"block": name, "priority_of_block": facts.get(name)}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--priority", default="output", choices=("activation", "gain", "output"))
    parser.add_argument("--compensate", default="refit", choices=("none", "mean", "refit"))
    parser.add_argument("--calibration", type=int, default=300, help="training images, without labels")
    parser.add_argument("--judged", type=int, default=400, help="other training images, with labels")
    parser.add_argument("--ranked", type=int, default=24, help="calibration images that blocks are ranked on")
    parser.add_argument("--most", type=int, default=0, help="stop after so many blocks; 0: at the floor")
    options = parser.parse_args()
    if not (options.shared / MODEL).is_file():
        sys.exit(f"{options.shared} is not there: nothing to measure")
    rows = list(measured(options))
    TABLE.show(rows)
    TABLE.record(rows)
    (RESULTS / "remove_layers.svg").write_text(picture(), "utf-8", newline="\n")


def picture() -> str:
    """All recorded curves."""
    points: dict[str, list[Point]] = {}
    for row in TABLE.rows():
        points.setdefault(f"{row['priority']}, {row['compensate']}", []).append(
            Point(float(str(row["blocks"])), float(str(row["test_accuracy"]))))
    return drawn("ResNet-56, blocks removed without training", "blocks removed", "test accuracy, %", points)


if __name__ == "__main__":
    main()
