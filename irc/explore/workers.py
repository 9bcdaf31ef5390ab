"""Who runs trials: worker processes on this machine, through `concurrent.futures`.

Every worker computes with one thread, so that sums are formed in one order however many workers there are.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeAlias

from irc.diagnostics import IrcError, error
from irc.explore.trial import Task, Trial

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
LOST = (BrokenProcessPool, CancelledError, MemoryError)


@dataclass(frozen=True, slots=True)
class Pool:
    """Takes pipelines and promises trials. `require_answer` raises when nobody is there to keep the promise; it is
    called where no trial was finished for `patience` seconds. `broken`: what a trial raises whose worker was lost."""

    submit: Callable[[str], Future[Trial]]
    broken: tuple[type[Exception], ...] = LOST
    patience: float | None = None
    require_answer: Callable[[], None] = lambda: None


Workers: TypeAlias = Callable[[Task], AbstractContextManager[Pool]]


def finished(pool: Pool, pipelines: Sequence[str]) -> Iterator[Trial]:
    """The trials of these pipelines as they are finished. Raises E605 when a worker was lost, after all trials that
    were finished by then."""
    waiting = {pool.submit(pipeline) for pipeline in pipelines}
    try:
        while waiting:
            done, waiting = wait(waiting, timeout=pool.patience, return_when=FIRST_COMPLETED)
            if not done:
                pool.require_answer()
            lost = [future for future in done if future.cancelled() or future.exception() is not None]
            yield from (future.result() for future in done if future not in lost)
            for future in lost:
                future.result()
    except pool.broken as problem:
        pool.require_answer()
        raise _lost(problem) from None
    finally:
        for future in waiting:
            future.cancel()


def _lost(problem: Exception) -> IrcError:
    return error("E605", f"a worker ended before its trial did ({type(problem).__name__})",
                 remedy="Finished trials are kept: go on with --resume, with fewer --workers if memory ran out.")


def local(count: int) -> Workers:
    """So many processes on this machine."""
    @contextmanager
    def workers(task: Task) -> Iterator[Pool]:
        with _environment(dict.fromkeys(THREADS, "1")):
            executor = ProcessPoolExecutor(count, get_context("spawn"), _begin, (task,))
            try:
                yield Pool(lambda pipeline: executor.submit(_run, pipeline))
            finally:
                executor.shutdown(cancel_futures=True)

    return workers


_TASK: list[Task] = []  # of this process, when it is a worker


def _begin(task: Task) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says what is to be said
    Thread(target=_follow, daemon=True).start()
    _TASK[:] = [task]


def _follow() -> None:
    """End with the parent: a worker whose parent was killed would wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(pipeline: str) -> Trial:
    return _TASK[0].run(pipeline)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables for processes that are started within."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
