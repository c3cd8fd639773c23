"""How much memory this process may still take."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

# Limit, usage and what precedes the names in memory.stat, of cgroups v2 and v1.
_CGROUP_FILES = (
    ("memory.max", "memory.current", ""),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)


def memory_limit() -> int:
    """Bytes that this process may still take before it is refused more, or ended.

    The least of what the machine has available, what RLIMIT_AS and RLIMIT_DATA (`ulimit -v` and
    `-d`) leave, and what is left in each of its cgroups, which are how Slurm and containers limit
    memory. Pages of files that the kernel keeps but would drop count as free.
    """
    left = [psutil.virtual_memory().available, *_left_by_rlimits()]
    for folder in cgroup_folders():
        left += left_in_cgroup(folder)
    return max(0, min(left))


def _left_by_rlimits() -> Iterator[int]:
    used = psutil.Process().memory_info()
    for limit, taken in ((resource.RLIMIT_AS, used.vms), (resource.RLIMIT_DATA, used.data)):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft - taken


def cgroup_folders() -> Iterator[Path]:
    """This process's cgroups that may limit memory, and their parents, as far as it sees them."""
    mounts = {
        partition.fstype: Path(partition.mountpoint)
        for partition in psutil.disk_partitions(all=True)
        if partition.fstype == "cgroup2"
        or (partition.fstype == "cgroup" and "memory" in partition.opts.split(","))
    }
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)  # cgroups(7); version 2 names no controllers
        mount = mounts.get("cgroup" if controllers else "cgroup2")
        if mount is None or (controllers and "memory" not in controllers.split(",")):
            continue
        # Without a namespace of its own a container sees the path of the machine, which isn't
        # there, but finds its own cgroup at the mount, which is the last of the parents.
        own = mount / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(mount))


def left_in_cgroup(folder: Path) -> Iterator[int]:
    """Bytes left in a cgroup (v1 or v2), if that has a limit."""
    for limit, usage, prefix in _CGROUP_FILES:
        try:
            maximum = (folder / limit).read_text().strip()
            used = int((folder / usage).read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
        except OSError:
            continue  # of the other version, or the root, which has no limit
        if maximum != "max":
            pages = dict(line.split() for line in lines)
            files = (int(pages[f"{prefix}{kind}_file"]) for kind in ("inactive", "active"))
            yield int(maximum) - used + sum(files)
