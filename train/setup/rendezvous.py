"""Where the processes of a training find each other: a store that unpickles nothing.

On one machine it is a file in a folder of the user's alone. On several, one process opens a port on
the one address that the others know; torch by itself would listen on every interface.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch.distributed as dist

STORE, ATTEMPT = "DEFECTPDF_STORE", "DEFECTPDF_ATTEMPT"
"""Variables with a file or HOST:PORT, and with the number of restarts before."""
_START_UP = timedelta(minutes=10)
"""In which all nodes of a job must have begun."""


def open_port(head: str) -> dist.TCPStore:
    """Serve the store of several nodes, on the address of `head` and no other.

    Args:
        head: HOST:PORT, an address of this machine.

    Raises:
        ValueError: it is none, or one that no other node can reach.
        OSError: the port is taken, or the address is not of this machine.
    """
    import torch.distributed as dist

    host, port = split_head(head)
    family, address = _resolve(host, port)
    if ipaddress.ip_address(address).is_loopback and host != address:
        raise ValueError(
            f"{host} is {address} on this machine, where no other node comes: give an address of "
            "the network between the nodes (jobs/train.sh: DEFECTPDF_INTERFACE)"
        )
    try:
        listener = socket.create_server((address, port), family=family)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), head) from error
    return dist.TCPStore(
        address,
        port,
        is_master=True,
        wait_for_workers=False,
        timeout=_START_UP,
        master_listen_fd=listener.detach(),
    )


def reach_port(head: str) -> dist.TCPStore:
    """The store that another process serves; waits until it is there."""
    import torch.distributed as dist

    return dist.TCPStore(
        *split_head(head), is_master=False, wait_for_workers=False, timeout=_START_UP
    )


def own_store(environment: Mapping[str, str], size: int) -> dist.Store | None:
    """The store of a process that `defectpdf launch` has started; None for any other."""
    import torch.distributed as dist

    place = environment.get(STORE)
    if place is None:
        return None
    if os.path.isabs(place):
        return dist.FileStore(place, size)
    # What an attempt before has left are the addresses of processes now dead.
    return dist.PrefixStore(f"processes/{environment[ATTEMPT]}", reach_port(place))


def split_head(head: str) -> tuple[str, int]:
    """HOST and PORT of HOST:PORT; ValueError if it is not that."""
    host, _, port = head.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"--head {head!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def interface_settings(head: str | None) -> dict[str, str]:
    """Variables that have gloo and NCCL listen on one interface.

    Args:
        head: HOST:PORT, to which that interface leads; None for loopback.
    """
    address = _own_address(*split_head(head)) if head else "127.0.0.1"
    name = _interface_of(address)
    return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": f"={name}"}


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ValueError(f"--head: no address of {host} is known here ({error.strerror})") from None
    return family, str(address[0])


def _own_address(host: str, port: int) -> str:
    """The address of this machine from which it reaches another."""
    family, address = _resolve(host, port)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, port))  # of a datagram socket: sends nothing
        return str(probe.getsockname()[0])


def _interface_of(address: str) -> str:
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(found.address.partition("%")[0] == address for found in addresses):
            return name
    # An address of loopback beside the usual one.
    if ipaddress.ip_address(address).is_loopback and address != "127.0.0.1":
        return _interface_of("127.0.0.1")
    raise ValueError(f"no network interface of this machine has the address {address}")
