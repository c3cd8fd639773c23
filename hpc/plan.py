"""From a run description to hosts and tasks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defectgen.host import Host
from hpc.description import LibrarySettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """The unit of work and of writing: the hosts of one shard."""

    index: int
    start: int
    stop: int


def plan_tasks(n_hosts: int, hosts_per_shard: int) -> list[Task]:
    """Consecutive runs of hosts, one a shard."""
    starts = range(0, n_hosts, hosts_per_shard)
    return [Task(i, s, min(s + hosts_per_shard, n_hosts)) for i, s in enumerate(starts)]


def select_hosts(settings: LibrarySettings) -> list[Host]:
    """The hosts of a run, in the order of the store.

    Raises:
        ValueError: the source does not exist or holds no usable host.
    """
    hosts = _read_hosts(settings)
    if not hosts:
        raise ValueError(f"{settings.source}: no usable host; see `defectpdf library`")
    if settings.limit is not None and settings.limit < len(hosts):
        hosts = _evenly_spaced(hosts, settings.limit)
    return hosts


def _read_hosts(settings: LibrarySettings) -> list[Host]:
    from defectgen.library import embedded_library, read_library

    if settings.source == "embedded":
        return embedded_library(published_only=settings.published_only)
    path = Path(settings.source)
    if path.is_dir():
        from defectgen.cif import read_cif_folder

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
    hosts = read_library(path)
    return [host for host in hosts if host.origin == "published" or not settings.published_only]


def _evenly_spaced(hosts: Sequence[Host], count: int) -> list[Host]:
    return [hosts[i * len(hosts) // count] for i in range(count)]
