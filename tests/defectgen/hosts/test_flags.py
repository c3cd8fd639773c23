from __future__ import annotations

from collections import Counter

import pytest

from defectgen.hosts.flags import flag_of
from defectgen.hosts.library import embedded_library
from defectgen.sources.defects import Defects, LibrarySettings


@pytest.fixture(scope="module")
def flags() -> dict[str, str]:
    return {host.id: reason for host in embedded_library() if (reason := flag_of(host))}


def test_entries_that_are_not_of_their_element_are_flagged_and_what_was_strained_from_them(flags):
    assert "holds hydrogen" in flags["amcsd-0011170"]
    assert flags["derived-194-Cr-0001"].startswith("strained from amcsd-0011170: ")
    # A prototype has the volume of another element, and only the shape of its parent.
    assert "derived-194-K-0001" not in flags


def test_each_entry_of_the_table_is_a_published_host(flags):
    published = {host.id for host in embedded_library(published_only=True)}
    kinds = Counter("vibrate" in reason for id_, reason in flags.items() if id_ in published)
    assert kinds == {False: 18, True: 34}


def test_hosts_that_would_melt_are_flagged():
    copper = next(host for host in embedded_library() if host.element == "Cu")
    assert flag_of(copper) is None
    assert "vibrate by 0.20 of the distance" in str(
        flag_of(copper.changed(copper.a, copper.c, (0.2 * copper.nearest_neighbour) ** 2 / 3))
    )


def test_flagged_hosts_are_left_out_where_a_run_says_so(flags):
    assert len(Defects().items()) == 1172
    left = Defects(library=LibrarySettings(flagged=False)).items()
    assert {host.id for host in left} == {host.id for host in embedded_library()} - flags.keys()
    assert "flagged" not in LibrarySettings().model_dump()
    assert LibrarySettings(flagged=False).model_dump()["flagged"] is False
