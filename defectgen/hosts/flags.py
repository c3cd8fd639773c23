"""Hosts that are in the library as published, but are hardly crystals of their element.

`data/flagged.csv` names published entries that later work, or the volume of their atoms, shows to
be another structure, a compound or a measurement that failed. They stay in the library, as they do
in the databases that others count; `[library] flagged = false` leaves them out.
"""

from __future__ import annotations

import csv
import re
from functools import lru_cache
from importlib.resources import files

from defectgen.hosts.host import Host

MELTS = 0.15
"""Root mean square displacement, of the distance of nearest neighbours, at which the last crystals
melt (F. A. Lindemann, Phys. Z. 11 (1910) 609)."""
_STRAINED = re.compile(r"rule strain: (\S+) ")


def flag_of(host: Host) -> str | None:
    """Why a host is flagged; None if it is not."""
    parent = _STRAINED.match(host.source)
    if reason := _flagged().get(host.id):
        return reason
    if parent and (reason := _flagged().get(parent[1])):
        return f"strained from {parent[1]}: {reason}"
    vibration = (3 * host.uiso) ** 0.5 / host.nearest_neighbour
    if vibration <= MELTS:
        return None
    at = f"at {host.pressure:g} GPa" if host.pressure else f"at {host.kelvin:g} K"
    return (
        f"its atoms would vibrate by {vibration:.2f} of the distance of nearest neighbours {at}, "
        "where crystals melt: its Uiso is that of another state"
    )


@lru_cache(maxsize=1)
def _flagged() -> dict[str, str]:
    text = files("defectgen.hosts").joinpath("data", "flagged.csv").read_text(encoding="utf-8")
    return {row["id"]: row["reason"] for row in csv.DictReader(text.splitlines())}
