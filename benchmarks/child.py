"""CPU time of other programs."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def children_cpu() -> float:
    """CPU seconds, user and system, of all child processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(work: Callable[[], Result]) -> tuple[Result, float]:
    """What some work gives, and the CPU seconds of the programs that it ran."""
    start = children_cpu()
    return work(), children_cpu() - start


def run(command: Sequence[str | Path], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None,
        ) -> tuple[str, float]:
    """Output and CPU seconds of a command. Raises CalledProcessError when it fails."""
    done, seconds = measured(lambda: subprocess.run(command, cwd=cwd, env=environment, check=True,
                                                    stdout=subprocess.PIPE, text=True))
    return done.stdout, seconds
