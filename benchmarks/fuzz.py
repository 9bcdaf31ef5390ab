"""Damaged copies of models through `irc`: each ends in an answer, soon, in bounded memory, and writes nothing outside.

    python benchmarks/fuzz.py --count 5000
    python benchmarks/fuzz.py --only 1234          # one case again, with all that it says

The models are the shipped ones, the small ones of the collection (see workloads.py) and some made in originals.py; how
they are damaged is in damage.py. All copies are read; a share goes on through the default passes into a build folder.
Time is CPU time, and what a process may hold is bounded as in the tests of hostile files.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import numpy as np
from damage import cut, flipped, mutated
from originals import Original, originals
from report import Table

from irc.check import made_up
from irc.compiler import Request, compile_model
from irc.diagnostics import IrcError
from irc.frontend import read_onnx

SECONDS, MEMORY = 10, 1 << 30
BLOCKED = 120  # seconds of real time, for what waits without working
WHOLE = 0.3  # of the copies go on to the passes and a target, if they can be read
TARGETS = ("sim", "hls", "verilog", "onnx", "qonnx")
KINDS = ("read", "compiled", "refused", "tracebacks", "hangs", "files_written")
TABLE = Table("fuzz", "Damaged copies of models", ("count", "seed"), {
    "count": ",d", "seed": "d", "models": "d", **dict.fromkeys(("read", "compiled", "refused"), ",d"),
    "tracebacks": "d", "hangs": "d", "files_written": "d", "as_wanted": ""})
WRITES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree"}


class HangError(BaseException):
    """An answer took longer than it may."""


class Watch:
    """Takes note of every path outside of a folder that is opened for writing, made or removed."""

    def __init__(self) -> None:
        self.allowed = os.devnull
        self.strays: list[str] = []
        self.on = False
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and (event in WRITES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))):
            path = os.path.realpath(str(arguments[0]))
            if not path.startswith((self.allowed, os.devnull)):
                self.strays.append(f"{event} {path}")


def case(number: int, seed: int, folder: Path, watch: Watch) -> Counter[str]:
    """One damaged copy: `read`, `compiled`, `refused`, `tracebacks` or `hangs`, and `files_written`."""
    rng = random.Random(f"{seed} {number}")
    whole = rng.random() < WHOLE
    original = rng.choice([o for o in models() if o.quick or not whole])
    path, output = folder / "model" / "damaged.onnx", folder / "output"
    for place in (path.parent, output):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    for name, content in original.beside.items():
        (path.parent / name).write_bytes(content)
    path.write_bytes(rng.choice((flipped, cut, mutated, mutated, mutated, mutated))(original.data, rng))
    watch.allowed, watch.strays, watch.on = os.path.realpath(output), [], True
    found = Counter([outcome(path, output, rng.choice(TARGETS) if whole else None)])
    watch.on = False
    found["files_written"] = len(watch.strays)
    if any(found[kind] for kind in KINDS[3:]):
        print(f"case {number}: {original.name} {dict(found)} {watch.strays}", flush=True)
    return found


@cache
def models() -> list[Original]:
    return originals()


def outcome(path: Path, output: Path, target: str | None) -> str:
    """What became of one copy; with a target it goes on through the default passes."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(BLOCKED)
    try:
        graph = read_onnx(path)
        if target is None:
            return "read"
        np.savez(output / "data.npz", **(made_up(graph) or {}))
        compile_model(Request(path, target, calibration=output / "data.npz"), output / "build")
        return "compiled"
    except IrcError:
        return "refused"
    except HangError:
        traceback.print_exc()
        return "hangs"
    except Exception:  # any other exception is what this benchmark looks for
        traceback.print_exc()
        return "tracebacks"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)


def _late(number: int, frame: FrameType | None) -> None:
    raise HangError


def counted(numbers: Iterable[int], seed: int) -> Counter[str]:
    """The outcomes of some cases, in a process with bounded memory."""
    signal.signal(signal.SIGALRM, _late)
    signal.signal(signal.SIGPROF, _late)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    watch, found = Watch(), Counter[str]()
    with TemporaryDirectory() as folder:
        for number in numbers:
            found += case(number, seed, Path(folder), watch)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, help="run this case and record nothing")
    given = parser.parse_args()
    if given.only is not None:
        print(dict(counted([given.only], given.seed)))
        return
    parts = [range(given.count)[i :: given.jobs] for i in range(given.jobs)]
    with ProcessPoolExecutor(given.jobs) as pool:
        found = sum(pool.map(counted, parts, [given.seed] * given.jobs), Counter[str]())
    row = {"count": given.count, "seed": given.seed, "models": len(models()), **{kind: found[kind] for kind in KINDS},
           "as_wanted": not any(found[kind] for kind in KINDS[3:])}
    TABLE.record([row])
    TABLE.show([row])


if __name__ == "__main__":
    main()
