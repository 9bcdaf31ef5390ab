"""Random models through irc and ONNX Runtime: how many disagree, how many end in a traceback.

The models are drawn by tests/model_strategies.py: operator sets 7 to the newest that ONNX Runtime runs, tensors of two
to five axes, windows in one to three dimensions, recurrent and quantized layers.

    python benchmarks/random_models.py --count 2000
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from hypothesis import HealthCheck, Phase, given, seed, settings
from report import Table

from irc.diagnostics import IrcError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from model_strategies import models
from onnx_models import interpret, read, runtime, sample

TOLERANCE = 1e-4  # of the largest output
TABLE = Table("random_models", "Random models against ONNX Runtime", ("count", "seed"), {
    "count": ",d", "seed": "d", "operators": "d", "operator_sets": "d",
    "equal": ",d", "refused": "d", "mismatches": "d", "tracebacks": "d", "as_wanted": ""})


def outcome(model: onnx.ModelProto, folder: Path) -> str:
    """`equal`, `refused`, `mismatches` or `tracebacks`."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    feeds = {"x": sample([dim.dim_value for dim in dims], 7)}
    (theirs,) = runtime(model, feeds)
    try:
        (ours,) = interpret(read(model, folder), feeds)
    except IrcError as refusal:
        print(refusal)
        return "refused"
    except Exception:  # any other exception is what this benchmark looks for
        traceback.print_exc()
        return "tracebacks"
    same = ours.shape == theirs.shape and np.abs(ours - theirs).max() <= TOLERANCE * max(1.0, np.abs(theirs).max())
    return "equal" if same else "mismatches"


def counted(count: int, number: int, folder: Path) -> tuple[Counter[str], set[str], set[int]]:
    """Outcomes of `count` models drawn from a seed; the operators and operator sets in them."""
    found, operators, opsets = Counter[str](), set[str](), set[int]()

    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(models())
    def each(model: onnx.ModelProto) -> None:
        operators.update(node.op_type for node in model.graph.node)
        opsets.add(model.opset_import[0].version)
        found[outcome(model, folder)] += 1

    each()
    return found, operators, opsets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given_ = parser.parse_args()
    with TemporaryDirectory() as folder:
        found, operators, opsets = counted(given_.count, given_.seed, Path(folder))
    row = {"count": found.total(), "seed": given_.seed, "operators": len(operators), "operator_sets": len(opsets),
           **{kind: found[kind] for kind in ("equal", "refused", "mismatches", "tracebacks")},
           "as_wanted": found["equal"] == found.total()}
    TABLE.record([row])
    TABLE.show([row])


if __name__ == "__main__":
    main()
