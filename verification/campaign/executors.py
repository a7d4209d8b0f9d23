"""Where tasks run: processes of this machine, or the workers of a Dask cluster.

Which it is changes no row: a task is a value, its row depends on nothing else, and a worker that holds other
code refuses it (`runner.run`).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from semilinear.integrators.common import checks, limits
from semilinear.integrators.common.messages import shown

from ..problems.cache import fingerprint

PROCESSES, DASK = "processes", "dask"
SECONDS = 10
"""In which a scheduler must answer."""
ADDRESS = re.compile(r"dask://([A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


def check(where: str, workers: int | None = None) -> None:
    """Raise ValueError unless `opened` takes these, as far as can be told without connecting."""
    address = ADDRESS.fullmatch(where)
    if where not in (PROCESSES, DASK) and not (address and 0 < int(address[2]) < 2**16):
        raise ValueError(f"executor must be processes, dask or dask://HOST:PORT, got {shown(where)}")
    if workers is not None:
        checks.integer("workers", workers, 1, limits.WORKERS)
    if address and workers is not None:
        raise ValueError(f"workers are those of the cluster at {where}, got {workers}")


@contextmanager
def opened(where: str = PROCESSES, workers: int | None = None) -> Iterator[Executor]:
    """An executor: "processes", "dask" (a cluster of this machine), or "dask://HOST:PORT" (a scheduler's).

    workers: how many processes, one per core when absent; a cluster that is there has its own.
    Raises ValueError, before anything runs, for other texts, a cluster that does not answer, has no workers
    or several threads in one, or holds other code; BrokenExecutor where workers die too often.
    """
    check(where, workers)
    count = workers or os.cpu_count() or 1
    if where == PROCESSES:
        with ProcessPoolExecutor(count) as pool:
            yield pool
        return
    try:
        import distributed
    except ModuleNotFoundError as missing:
        raise ValueError(f"executor {where} needs Dask: pip install 'semilinear[dask]'") from missing
    with _cluster(distributed, where, count) as client:
        _check_workers(client, where)
        try:
            yield client.get_executor(pure=False)
        except distributed.KilledWorker as error:
            raise BrokenExecutor(str(error)) from error
        except CancelledError as error:
            raise BrokenExecutor(f"the cluster at {where} was lost") from error


@contextmanager
def _cluster(distributed: Any, where: str, count: int) -> Iterator[Any]:
    """A client of a cluster, which is this machine's own and ends with it, or is there and goes on."""
    if where == DASK:
        quiet = logging.CRITICAL  # a worker that dies is started again: what cannot be helped is raised
        with (
            distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, dashboard_address=None, silence_logs=quiet
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(where.replace("dask://", "tcp://"), timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"executor {where}: no scheduler answers there ({error})") from error
    with client:
        yield client


def _check_workers(client: Any, where: str) -> None:
    threads = client.nthreads()
    if not threads:
        raise ValueError(f"executor {where}: the cluster has no workers")
    if several := [name for name, number in threads.items() if number != 1]:
        raise ValueError(
            f"executor {where}: workers must have one thread (--nthreads 1), unlike {several[0]}"
        )
    try:
        codes = client.run(fingerprint)
    except Exception as error:  # whatever goes wrong over there
        raise ValueError(f"executor {where}: its workers do not run this package: {error}") from error
    if other := [name for name, code in codes.items() if code != fingerprint()]:
        raise ValueError(f"executor {where}: other code or packages on worker {other[0]}")
