"""From a run description to hosts and tasks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library, open_library, take
from hpc.description import LibrarySettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work and of writing: a run of consecutive hosts."""

    index: int
    start: int
    stop: int

    @property
    def n_hosts(self) -> int:
        return self.stop - self.start


class Task(BaseModel):
    """A shard with its hosts, so that who computes it needs no library."""

    model_config = ConfigDict(frozen=True)

    index: int
    start: int
    hosts: tuple[Host, ...]

    @property
    def stop(self) -> int:
        return self.start + len(self.hosts)


def plan_shards(n_hosts: int, hosts_per_shard: int) -> list[Shard]:
    """Consecutive runs of hosts, one a shard."""
    starts = range(0, n_hosts, hosts_per_shard)
    return [Shard(i, s, min(s + hosts_per_shard, n_hosts)) for i, s in enumerate(starts)]


def task_of(shard: Shard, hosts: Sequence[Host]) -> Task:
    """The task of a shard of `hosts`, of which it reads only its own."""
    own = tuple(hosts[shard.start : shard.stop])
    return Task(index=shard.index, start=shard.start, hosts=own)


def select_hosts(settings: LibrarySettings) -> Sequence[Host]:
    """The hosts of a run, in the order of the store; those of a large library stay in its file.

    Raises:
        ValueError: the source does not exist or holds no usable host. What is wrong with a host
            in a large library is found when it is read.
    """
    hosts = _read_hosts(settings)
    if not hosts:
        raise ValueError(f"{settings.source}: no usable host; see `defectpdf library`")
    if settings.limit is not None and settings.limit < len(hosts):
        hosts = evenly_spaced(hosts, settings.limit)
    return hosts


def _read_hosts(settings: LibrarySettings) -> Sequence[Host]:
    if settings.source == "embedded":
        return embedded_library(published_only=settings.published_only)
    path = Path(settings.source)
    if path.is_dir():
        from defectgen.hosts.cif import read_cif_folder

        if settings.published_only:
            raise ValueError(f"{path}: published_only is for libraries, not for CIF files")

        folder = read_cif_folder(path)
        if folder.quarantined:
            log.info(
                "%d of the CIF files are not used; `defectpdf library --cif %s` says why",
                len(folder.quarantined),
                path,
            )
        return folder.hosts
    hosts = open_library(path)
    if not settings.published_only:
        return hosts
    return take(hosts, np.flatnonzero([host.origin == "published" for host in hosts]))


def evenly_spaced(hosts: Sequence[Host], count: int) -> Sequence[Host]:
    """So many of the hosts, from the whole of them."""
    return take(hosts, np.arange(count) * len(hosts) // count)
