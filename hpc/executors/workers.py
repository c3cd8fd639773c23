"""What all kinds of Dask workers have in common, and those of this machine."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from distributed import Client, LocalCluster, SpecCluster

from hpc.workers.resources import ONE_THREAD

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
ENVIRONMENT = ONE_THREAD | {
    # Dask has workers give memory back at once; taking it again for every array costs more
    # time than the computation, and the little that a worker holds does not matter.
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
}


def _nothing_to_check(n_workers: int) -> None:
    pass


@dataclass(frozen=True)
class Workers:
    """Workers of a scheduler.

    Attributes:
        client: connected to the scheduler.
        address: of the scheduler.
        hint: what a user can do where no worker comes.
        check: raises OSError where none can come any more, given how many there are.
        on_this_machine: how many there are, if all are here.
    """

    client: Client
    address: str
    hint: str
    check: Callable[[int], None] = _nothing_to_check
    on_this_machine: int | None = None


def connect(cluster: SpecCluster) -> Client:
    """A client of a cluster in this process; the log says where the dashboard is."""
    client = Client(cluster)
    port = urlsplit(client.dashboard_link).port
    log.info(
        "Dask dashboard: http://%s:%s/status (from elsewhere, first: ssh -N -L %s:%s:%s %s)",
        *(LOOPBACK, port),
        *(port, LOOPBACK, port, socket.gethostname()),
    )
    return client


def quieten(client: Client) -> None:
    """Have the workers say nothing more: all went well, and they are about to be ended.

    One that is about to send a sign of life when the scheduler goes would print a traceback.
    """
    client.run(_say_nothing_more, on_error="ignore")


def _say_nothing_more() -> None:
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


@contextmanager
def local_workers(workers: int) -> Iterator[Workers]:
    """Scheduler, workers and dashboard listen on loopback only."""
    # Workers inherit this: an interrupt is for the client, which then ends them.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            memory_limit=0,
            env=ENVIRONMENT,
            silence_logs=logging.ERROR,
        )
    finally:
        signal.signal(signal.SIGINT, interrupt)
    with cluster, connect(cluster) as client:
        hint = "they are started again by themselves"
        yield Workers(client, cluster.scheduler_address, hint, on_this_machine=workers)
