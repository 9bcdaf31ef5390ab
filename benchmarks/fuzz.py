"""Damaged copies of the shipped models through `irc check`: each ends in an answer, soon, and writes nothing.

    python benchmarks/fuzz.py --count 5000

A copy has flipped bits, is cut off, or has two fields of its protobuf messages exchanged or set to something extreme.
"""

from __future__ import annotations

import argparse
import random
import signal
import traceback
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import onnx
from report import Table

from irc.check import check_model
from irc.diagnostics import IrcError
from irc.frontend import check_onnx

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "data"
SECONDS = 10
WHOLE = 0.02  # of the copies go on to the passes and a target, if they can be read
EXTREME = (0, -1, 1, 2**31, 2**62, -(2**62))
TABLE = Table("fuzz", "Damaged copies of the shipped models", ("count", "seed"), {
    "count": ",d", "seed": "d", "read": ",d", "refused": ",d", "tracebacks": "d", "hangs": "d", "files_written": "d",
    "as_wanted": ""})


class HangError(Exception):
    """An answer took longer than it may."""


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Some bits the other way round, mostly near the ends of the file, where the structure is."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        span = rng.choice((200, 2000, len(data)))
        at = rng.randrange(min(span, len(data)))
        made[at if rng.random() < 0.5 else -1 - at] ^= 1 << rng.randrange(8)
    return bytes(made)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def swapped(data: bytes, rng: random.Random) -> bytes:
    """Names, dimensions, types and attributes in each other's place, or extreme."""
    model = onnx.load_from_string(data)
    for _ in range(rng.randint(1, 3)):
        _swap(model.graph, rng)
    return model.SerializeToString()


def _swap(graph: onnx.GraphProto, rng: random.Random) -> None:
    a, b = rng.choice(graph.node), rng.choice(graph.node)
    tensor = rng.choice(graph.initializer)
    match rng.randrange(6):
        case 0:
            a.op_type, b.op_type = b.op_type, a.op_type
        case 1 if a.input:
            a.input[rng.randrange(len(a.input))] = rng.choice([*b.input, *b.output, ""])
        case 2 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(EXTREME)
        case 3:
            tensor.data_type = rng.randrange(24)
        case 4 if a.attribute:
            attribute = rng.choice(a.attribute)
            attribute.i = rng.choice(EXTREME)
            attribute.ints[:] = [rng.choice(EXTREME) for _ in attribute.ints]
        case _:
            dims = rng.choice(graph.input).type.tensor_type.shape.dim
            dims.add().dim_value = rng.choice(EXTREME)


def outcome(path: Path, *, whole: bool) -> str:
    """`read`, `refused`, `tracebacks` or `hangs`; `whole` goes on to passes and a target."""
    signal.alarm(SECONDS)
    try:
        problems = check_model(path, "sim").problems if whole else check_onnx(path)
        return "refused" if problems else "read"
    except IrcError:
        return "refused"
    except HangError:
        return "hangs"
    except Exception:  # any other exception is what this benchmark looks for
        traceback.print_exc()
        return "tracebacks"
    finally:
        signal.alarm(0)


def _late(number: int, frame: FrameType | None) -> None:
    raise HangError


def counted(count: int, seed: int, folder: Path) -> Counter[str]:
    rng = random.Random(seed)
    originals = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.onnx"))]
    path, found = folder / "damaged.onnx", Counter[str]()
    for _ in range(count):
        path.write_bytes(rng.choice((flipped, cut, swapped))(rng.choice(originals), rng))
        found[outcome(path, whole=rng.random() < WHOLE)] += 1
    found["files_written"] = len([p for p in folder.rglob("*") if p != path])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    signal.signal(signal.SIGALRM, _late)
    with TemporaryDirectory() as folder:
        found = counted(given.count, given.seed, Path(folder))
    kinds = ("read", "refused", "tracebacks", "hangs", "files_written")
    row = {"count": given.count, "seed": given.seed, **{kind: found[kind] for kind in kinds},
           "as_wanted": not any(found[kind] for kind in kinds[2:])}
    TABLE.record([row])
    TABLE.show([row])


if __name__ == "__main__":
    main()
