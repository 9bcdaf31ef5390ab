"""CPU seconds of LeNet's integer model on the whole test set: exact integer products through float64 BLAS."""

from __future__ import annotations

import time

from accuracy import compressed
from report import Table
from workloads import QUANTIZE, arguments, load

from irc.frontend import read_onnx
from irc.interpreter import evaluate
from irc.samples import bind

WANTED = 20.0  # CPU seconds for 10,000 images
TABLE = Table("integer_speed", "The integer model of LeNet-5", ("model", "inputs"), {
    "model": "", "inputs": ",d", "cpu_seconds": ".2f", "at_most": ".0f", "inputs_a_cpu_second": ",.0f",
    "as_wanted": ""})


def main() -> None:
    work = load("mnist_lenet", arguments(__doc__ or "").parse_args().shared)
    graph = compressed(read_onnx(work.model), QUANTIZE, work)
    feeds = bind(graph, work.samples)
    start = time.process_time()
    evaluate(graph, feeds)
    seconds, count = time.process_time() - start, len(work.samples["labels"])
    rows = [{"model": work.name, "inputs": count, "cpu_seconds": seconds, "at_most": WANTED,
             "inputs_a_cpu_second": count / seconds, "as_wanted": seconds < WANTED}]
    TABLE.show(rows)
    TABLE.record(rows)


if __name__ == "__main__":
    main()
