"""Who runs trials: the workers of a dask.distributed cluster (`pip install 'irc-compiler[cluster]'`).

Workers need `irc` and the packages of the passes, in the same versions; the network and the data are sent to them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from irc.diagnostics import IrcError, error
from irc.explore.trial import Task, Trial
from irc.explore.workers import LOST, Pool, Workers


def cluster(address: str, timeout: float) -> Workers:
    """The workers of the cluster with a scheduler at `address`; raises E601 without `distributed`, E604 when no worker
    answers within `timeout` seconds."""
    @contextmanager
    def workers(task: Task) -> Iterator[Pool]:
        with _client(address, timeout) as client:
            from distributed import KilledWorker

            answer = partial(_require_worker, client, address, timeout)
            answer()
            shared = _sent(client, task, address)
            executor = client.get_executor(pure=False)
            lost = *LOST, KilledWorker, OSError
            yield Pool(lambda pipeline: executor.submit(_run, shared, pipeline), lost, timeout, answer)

    return workers


def _sent(client: Any, task: Task, address: str) -> Any:
    """The task at every worker."""
    try:
        return client.scatter(task, broadcast=True, hash=False)
    except OSError as problem:
        raise _silent(address, problem) from None


def _run(task: Task, pipeline: str) -> Trial:
    return task.run(pipeline)


@contextmanager
def _client(address: str, timeout: float) -> Iterator[Any]:
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise error("E601", "--scheduler needs the package 'distributed'",
                    remedy="pip install 'irc-compiler[cluster]'") from None
    connect: Any = Client  # has no annotations
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what is lost is reported as a diagnostic
    try:
        get_address_host_port(address)  # a client that was not made properly complains when it is collected
        client = connect(address, timeout=timeout, set_as_default=False)
    except (OSError, ValueError) as problem:
        raise _silent(address, problem) from None
    with client:
        yield client


def _require_worker(client: Any, address: str, timeout: float) -> None:
    """E604 unless the scheduler answers and has a worker."""
    try:
        client.wait_for_workers(1, timeout=timeout)
    except (OSError, RuntimeError, ValueError) as problem:
        raise _silent(address, problem) from None


def _silent(address: str, problem: BaseException) -> IrcError:
    said = " ".join(str(problem).split()) or type(problem).__name__
    return error("E604", f"the cluster at {address} does not answer: {said}",
                 remedy="Check the address, and that the scheduler and a worker run; finished trials are kept, go on "
                        "with --resume.")
