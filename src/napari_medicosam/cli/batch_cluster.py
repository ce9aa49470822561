"""Tasks on a Dask cluster: processes of this machine, or those of a scheduler. Only here `distributed` is imported."""

from __future__ import annotations

import logging
import signal
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from napari_medicosam.cli.batch_tasks import Outcome, run_task
from napari_medicosam.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

    from napari_medicosam.cli.batch_tasks import BatchTask, Terms

MAX_IN_FLIGHT = 2000
"""Tasks that the scheduler holds at once: more than clusters have workers, and few enough for millions of images."""

WORKER_BYTES = 4 * 1024**3
"""What one process may need: torch and a model, a CT with its copies, and embeddings in memory."""


def local_shape(workers: int | None, threads: int | None, on_gpu: bool) -> tuple[int, int]:
    """How many processes on this machine, and how many cores for each: what is not given follows from the machine.

    Raises:
        ClusterError: when Dask is not installed.
    """
    _distributed()
    from dask.system import CPU_COUNT  # of the machine, or what a container or job may use of it
    from distributed.system import MEMORY_LIMIT

    if workers is None:
        fitting = max(1, MEMORY_LIMIT // WORKER_BYTES)
        workers = 1 if on_gpu else max(1, min(CPU_COUNT // (threads or 1), fitting))
    return workers, threads or max(1, CPU_COUNT // workers)


@contextmanager
def open_cluster(scheduler: str | None, workers: int) -> Iterator[Any]:
    """A `distributed.Client`: of the scheduler at that address, or of `workers` new processes here, which end with it.

    Raises:
        ClusterError: when Dask is not installed or the scheduler does not answer.
    """
    distributed = _distributed()
    from distributed.utils import silence_logging_cmgr

    if scheduler is not None:
        try:
            client = distributed.Client(scheduler, timeout="20s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {scheduler}: wanted tcp://HOST:PORT of one"
            ) from error
        with silence_logging_cmgr(logging.CRITICAL), client:  # a lost scheduler is told here, in one line
            yield client
        return
    # No limit of memory: Dask would stop giving work to a process that is over it, and wait for ever.
    cluster = distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address=None,
        processes=True,
        host="127.0.0.1",
        preload=[__name__],  # for `dask_setup`
        silence_logs=logging.CRITICAL,
    )
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


def dask_setup(worker: object) -> None:
    """Dask calls it in each new process of `open_cluster`: Ctrl-C reaches them all, and one is enough to say so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def num_workers(client: Any) -> int:
    """How many processes there are now."""
    return len(client.nthreads())


def run_on_cluster(client: Any, tasks: Iterable[BatchTask], terms: Terms, retries: int) -> Iterator[Outcome]:
    """Outcomes in the order in which they come in; a task that failed is tried again so many times.

    Tasks of a worker that dies go to others: the scheduler sees to that. One that workers died of again and again has
    failed.

    Raises:
        ClusterError: when the scheduler is lost.
    """
    waiting = iter(tasks)
    running: dict[Any, tuple[BatchTask, int]] = {}
    finished = _distributed().as_completed(loop=client.loop)

    def start(task: BatchTask, tries: int) -> None:
        future = client.submit(run_task, task, terms, pure=False)  # a key of its own, which holds no name
        running[future] = task, tries
        finished.add(future)

    for task in islice(waiting, MAX_IN_FLIGHT):
        start(task, 1)
    while running:
        future = next(finished)
        task, tries = running.pop(future)
        outcome = _outcome_of(future, task)
        if outcome.state == "failed" and tries <= retries and future.status == "finished":
            start(task, tries + 1)
            continue
        for another in islice(waiting, 1):
            start(another, 1)
        yield replace(outcome, tries=tries)


def _outcome_of(future: Any, task: BatchTask) -> Outcome:
    """`run_task` raises nothing, so an error is one of the cluster."""
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    if future.status != "error":
        raise ClusterError("the scheduler was lost or stopped; what is done is kept, run again to go on")
    error = future.exception()
    if isinstance(error, _distributed().KilledWorker):
        reason = "each worker that tried it died, perhaps for want of memory"
    else:
        reason = f"workers could not start it ({type(error).__name__}): have they the same napari-medicosam?"
    return Outcome(task.name, "failed", 0.0, reason)


def _distributed() -> ModuleType:
    try:
        import distributed
    except ImportError as error:
        raise ClusterError(
            "many images are worked on with Dask, which is not installed: wanted pip install "
            "'napari-medicosam[cluster]', or --workers 0 for one after another"
        ) from error
    return distributed
