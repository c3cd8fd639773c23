"""A Dask scheduler that runs already, named by its address or by its scheduler file."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from distributed import Client
from distributed.security import Security

from hpc.executors.workers import Workers
from pdfcalc.reading import SMALL, open_regular

log = logging.getLogger(__name__)

_SECONDS_TO_CONNECT = 10
_PACKAGE = "defectpdf"


@contextmanager
def existing_workers(scheduler: str) -> Iterator[Workers]:
    """The workers of a scheduler that was started by someone else and is left running.

    Args:
        scheduler: address (tls://HOST:PORT or, on loopback, tcp://HOST:PORT) or scheduler file.

    Raises:
        OSError: no scheduler answers there.
        ValueError: not an address, not safe, or without the same version of this package.
    """
    address = scheduler_address(scheduler)
    security = _credentials(address)
    try:
        client = Client(address, security=security, timeout=_SECONDS_TO_CONNECT)
    # Of another version, or no scheduler: what is read is not what is expected.
    except (OSError, ImportError, AssertionError, ValueError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address} within {_SECONDS_TO_CONNECT} s: is it "
            f"running, and with the same credentials? ({_first_line(error)})"
        ) from None
    with client:
        _require_same_package(client, address)
        if client.dashboard_link:
            log.info("Dask dashboard: %s", client.dashboard_link)
        if any(threads > 1 for threads in client.nthreads().values()):
            log.warning("a Dask worker does one task at a time: start them with --nthreads 1")
        hint = f"start some: dask worker {address} --nthreads 1"
        yield Workers(client, address, hint)


def scheduler_address(scheduler: str) -> str:
    """The address, from the scheduler file if `scheduler` is none itself.

    Raises:
        ValueError: it is neither, or the file may be written by others, or the address is plain
            tcp to another machine.
    """
    address = scheduler if "://" in scheduler else _read_scheduler_file(Path(scheduler))
    parts = urlsplit(address)
    try:
        complete = bool(parts.hostname and parts.port)
    except ValueError:
        complete = False
    if parts.scheme not in ("tcp", "tls") or not complete:
        raise ValueError(
            f"--scheduler {scheduler}: {address} is not an address tls://HOST:PORT or "
            "tcp://HOST:PORT"
        )
    if parts.scheme == "tcp" and not _is_loopback(parts.hostname or ""):
        raise ValueError(
            f"--scheduler {scheduler}: {address} is open to everyone, who could run code in your "
            "name: start scheduler and workers with TLS and give tls://HOST:PORT"
        )
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_scheduler_file(path: Path) -> str:
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            content = file.read(SMALL)
    except FileNotFoundError:
        raise ValueError(
            f"--scheduler {path}: neither an address (tls://HOST:PORT, tcp://127.0.0.1:PORT) nor "
            "a scheduler file"
        ) from None
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.getuid()):
        raise ValueError(
            f"--scheduler {path}: others may write this file and send your work where they want: "
            "make your own, and chmod go-w it"
        )
    try:
        return str(json.loads(content)["address"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"--scheduler {path}: not a scheduler file, it names no address") from None


def _credentials(address: str) -> Security | None:
    """What Dask's configuration has (distributed.comm.tls), if the address asks for it."""
    if not address.startswith("tls://"):
        return None
    security = Security(require_encryption=True)
    remedy = (
        "set distributed.comm.tls.ca-file, .client.cert and .client.key in Dask's configuration"
    )
    files = security.get_tls_config_for_role("client")
    if not files["ca_file"] or not files["cert"]:
        raise ValueError(f"{address} needs credentials: {remedy}")
    try:
        security.get_connection_args("client")
    except OSError as error:
        raise ValueError(
            f"{address}: the credentials {files['ca_file']}, {files['cert']} can't be used "
            f"({error.strerror or error}): {remedy}"
        ) from None
    return security


def _require_same_package(client: Client, address: str) -> None:
    """Only the same code gives the same bytes; what is asked for must be there to be run."""
    here = version(_PACKAGE)
    remedy = "start scheduler and workers in the environment of this command"
    try:
        found = client.run(version, _PACKAGE)
        found[address] = client.run_on_scheduler(version, _PACKAGE)
    except PackageNotFoundError:
        raise ValueError(f"{address}: {_PACKAGE} is not installed there: {remedy}") from None
    for place, there in found.items():
        if there != here:
            raise ValueError(f"{place} has {_PACKAGE} {there}, here is {here}: {remedy}")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
