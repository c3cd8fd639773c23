from __future__ import annotations

import csv
import json
import os
import threading
from collections import Counter, defaultdict
from importlib.resources import files

import numpy as np
import pytest
import spglib
from hypothesis import given
from hypothesis import strategies as st

from defectgen.hosts.build_library import (
    FRAMEWORK_VOLUME,
    MIX,
    build,
    positions,
    published_cells,
    volume_per_atom,
)
from defectgen.hosts.elements import atomic_number, atomic_volume, debye_uiso, metals
from defectgen.hosts.library import (
    LibraryFile,
    embedded_library,
    open_library,
    read_library,
    take,
    write_library,
)

# spglib announces a change of its error handling at every call.
pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")

LIBRARY = embedded_library()
STRUCTURE_TYPES = {
    (225, "4a"): 4,
    (229, "2a"): 2,
    (194, "2c"): 2,
    (194, "2a+2c"): 4,
    (139, "2a"): 2,
    (141, "4a"): 4,
    (140, "8h"): 8,
}


def cell_of(host):
    return host.lattice, host.frac, [atomic_number(host.element)] * len(host.frac)


def test_library_has_the_mix_of_the_reference_study():
    assert Counter(host.space_group for host in LIBRARY) == MIX
    assert len(LIBRARY) == 1172


def test_ids_are_unique_and_elements_known():
    assert len({host.id for host in LIBRARY}) == len(LIBRARY)
    assert {host.element for host in LIBRARY} == set(metals())


def test_no_element_has_the_same_cell_twice():
    cells = defaultdict(list)
    for host in LIBRARY:
        cells[host.element, host.space_group, host.wyckoff].append((host.a, host.c))
    for key, lengths in cells.items():
        a_and_c = np.array(lengths)
        relative = np.abs(a_and_c[:, None] / a_and_c[None] - 1).max(axis=-1)
        relative[np.diag_indices_from(relative)] = 1
        assert relative.min() > 1e-4, key


def test_derived_entries_spread_over_the_elements():
    for group in (225, 194, 229):
        counts = Counter(host.element for host in LIBRARY if host.space_group == group)
        assert set(counts) == set(metals())
        assert min(counts.values()) >= 3
    assert {host.element for host in LIBRARY if host.space_group == 139} == set(metals())
    for group in (141, 140):
        counts = Counter(host.element for host in LIBRARY if host.space_group == group)
        assert len(counts) >= MIX[group] - 3


def test_published_only_is_the_published_part():
    published = embedded_library(published_only=True)
    assert 400 < len(published) < len(LIBRARY)
    assert {host.origin for host in published} == {"published"}
    assert {host.id for host in published} <= {cell.id for cell in published_cells()}


def test_every_host_names_its_source_and_parent():
    published = {cell.id: cell.source for cell in published_cells()}
    for host in LIBRARY:
        if host.origin == "published":
            assert host.source == published[host.id]
        else:
            assert host.id.startswith(f"derived-{host.space_group}-{host.element}-")
            rule, parent = host.source.split(" (")[0].split(": ")
            assert rule in ("rule strain", "rule prototype")
            assert published[parent] in host.source


@pytest.mark.parametrize("column", ["authors", "year", "journal", "volume", "page", "a"])
def test_every_published_cell_is_cited(column):
    text = (
        files("defectgen.hosts").joinpath("data", "published_cells.csv").read_text(encoding="utf-8")
    )
    rows = list(csv.DictReader(text.splitlines()))
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(row[column].strip() for row in rows)
    assert all(bool(row["c"]) == (row["space_group"] not in ("225", "229")) for row in rows)
    assert all(bool(row["x"]) == (row["space_group"] == "140") for row in rows)


def test_published_volumes_are_physical():
    for cell in published_cells():
        framework = FRAMEWORK_VOLUME if cell.space_group == 140 else 1.0
        ratio = volume_per_atom(cell) / (framework * atomic_volume(cell.element))
        # Cs-IV at 8 GPa is the densest; delta-Pu and hcp Ni (with hydrogen, probably) the loosest.
        assert 0.3 < ratio < 1.25, cell.id


@pytest.mark.parametrize(("group", "wyckoff"), STRUCTURE_TYPES)
def test_structure_types_are_in_the_standard_setting(group, wyckoff):
    host = next(
        host
        for host in LIBRARY
        if host.space_group == group and set(host.wyckoff) == set(wyckoff.split("+"))
    )
    assert len(host.frac) == STRUCTURE_TYPES[group, wyckoff]
    # spglib's default setting of 141 is origin choice 1; Hall number 427 is origin choice 2.
    found = spglib.get_symmetry_dataset(
        cell_of(host), symprec=1e-4, hall_number=427 * (group == 141)
    )
    assert found.number == group
    assert list(found.wyckoffs) == [position[-1] for position in host.wyckoff]
    np.testing.assert_allclose(found.transformation_matrix, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(found.std_lattice, host.lattice, atol=1e-6)
    # The standard origin may differ by a lattice translation of the cell only.
    shift = np.array(host.frac)[:, None] - found.std_positions[None]
    distance = np.abs(shift - np.round(shift)).max(axis=-1)
    assert distance.min(axis=1).max() < 1e-6


@pytest.mark.slow
def test_every_host_has_its_space_group():
    for host in LIBRARY:
        assert spglib.get_symmetry_dataset(cell_of(host), symprec=1e-2).number == host.space_group


def test_hosts_are_physically_sensible():
    for host in LIBRARY:
        volume = abs(np.linalg.det(host.lattice)) / len(host.frac)
        sphere = (2**0.5 * volume) ** (1 / 3)
        assert 0.75 < host.nearest_neighbour / sphere < 1.01, host.id
        if host.space_group == 139:
            assert all(abs(host.c / host.a / cubic - 1) > 0.02 for cubic in (1, 2**0.5)), host.id
        temperature = 300.0 if host.temperature is None else host.temperature
        assert host.uiso == pytest.approx(debye_uiso(host.element, temperature), rel=1e-4)
        assert host.uiso_source == "debye"


def test_nearest_neighbour_of_beta_tin():
    tin = next(host for host in LIBRARY if host.id == "lit-141-Sn-1961")
    # 4 neighbours at sqrt((a/2)^2 + (c/4)^2) = 3.022 A.
    assert tin.nearest_neighbour == pytest.approx(3.0224, abs=1e-4)


def test_unknown_position_is_an_error():
    with pytest.raises(KeyError):
        positions(225, "8c")


def test_building_again_gives_the_committed_bytes(tmp_path):
    write_library(tmp_path / "library.json", build())
    committed = files("defectgen.hosts").joinpath("data", "library.json").read_bytes()
    assert (tmp_path / "library.json").read_bytes() == committed


def test_round_trip(tmp_path):
    path = tmp_path / "some.json"
    write_library(path, LIBRARY[:7])
    assert read_library(path) == LIBRARY[:7]
    write_library(path, [])
    assert read_library(path) == []


def test_embedded_library_is_a_fresh_list():
    embedded_library().clear()
    assert len(embedded_library()) == len(LIBRARY)


def broken(change):
    hosts = [json.loads(host.model_dump_json()) for host in LIBRARY[:2]]
    change(hosts)
    return json.dumps(hosts)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("not json", "Invalid JSON"),
        ("{}", "valid array"),
        (broken(lambda hosts: hosts[1].pop("a")), r"1\.a: Field required"),
        (broken(lambda hosts: hosts[0].update(space_group=1)), r"0\.space_group"),
        (broken(lambda hosts: hosts[1].update(id=hosts[0]["id"])), "more than once"),
    ],
)
def test_broken_library_is_named_with_its_problem(tmp_path, text, problem):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"broken\.json.*{problem}"):
        read_library(path)


def test_missing_library_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the library .*none\.json"):
        read_library(tmp_path / "none.json")


@pytest.fixture(scope="module")
def library_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("library") / "library.json"
    write_library(path, LIBRARY[:40])
    return path


def test_hosts_with_a_line_each_are_read_when_asked_for(library_file):
    hosts = open_library(library_file)
    assert isinstance(hosts, LibraryFile)
    assert list(hosts) == read_library(library_file) == LIBRARY[:40]
    assert (len(hosts), hosts[0], hosts[-1]) == (40, LIBRARY[0], LIBRARY[39])
    assert LIBRARY[7] in hosts
    with pytest.raises(IndexError):
        hosts[40]


@given(
    start=st.none() | st.integers(-50, 50),
    stop=st.none() | st.integers(-50, 50),
    step=st.none() | st.integers(-5, 5).filter(bool),
    places=st.lists(st.integers(0, 39), unique=True),
)
def test_parts_of_a_library_file_are_those_of_a_list(library_file, start, stop, step, places):
    chosen = slice(start, stop, step)
    hosts = open_library(library_file)[chosen]
    expected = LIBRARY[:40][chosen]
    assert list(hosts) == expected
    assert [hosts[i] for i in range(-len(expected), len(expected))] == expected * 2
    some = [place for place in places if place < len(expected)]
    indices = np.array(some, dtype=int)
    assert list(take(hosts, indices)) == take(expected, indices) == [expected[i] for i in some]


@pytest.mark.parametrize(
    "layout",
    [
        lambda lines: json.dumps([json.loads(line) for line in lines], indent=1),
        lambda lines: json.dumps([json.loads(line) for line in lines], indent=0),
        lambda lines: f"[{','.join(lines)}]",
        lambda lines: "[\n" + ",\n".join(lines) + "\n]",
        lambda lines: "[\n" + ",\n".join([f"{lines[0]}, {lines[1]}", *lines[2:]]) + "\n]\n",
        lambda lines: "[\r\n" + ",\r\n".join(lines) + "\r\n]\r\n",
        lambda lines: "[\n\n" + ",\n".join(lines) + "\n]\n",
        lambda lines: "[\n" + ",\n\n".join(lines) + "\n]\n",
    ],
)
def test_every_layout_is_read(tmp_path, layout):
    lines = [host.model_dump_json() for host in LIBRARY[:4]]
    path = tmp_path / "library.json"
    path.write_bytes(layout(lines).encode())
    hosts = open_library(path)
    assert list(hosts) == read_library(path) == LIBRARY[:4]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: lines.insert(4, lines.pop(4).replace('"a":', '"b":')), r"3\.a: Field"),
        (lambda lines: lines.insert(4, lines.pop(4).replace(":", ";", 1)), "Invalid JSON"),
        (lambda lines: lines.insert(2, lines[3]), "host id '.*' occurs more than once"),
        (lambda lines: lines.insert(4, lines.pop(4).rstrip(",")), "Invalid JSON"),
        (lambda lines: lines.pop(), "Invalid JSON"),
        (lambda lines: lines.append("{}"), "Invalid JSON"),
    ],
)
def test_broken_lines_are_named_with_their_problem(tmp_path, library_file, change, problem):
    lines = library_file.read_text().splitlines()
    change(lines)
    path = tmp_path / "broken.json"
    path.write_text("\n".join(lines) + "\n")
    for read in (read_library, open_library):
        with pytest.raises(ValueError, match=rf"broken\.json.*{problem}"):
            list(read(path))


def test_a_host_is_named_by_its_place_in_the_file(tmp_path, library_file):
    path = tmp_path / "broken.json"
    lines = library_file.read_text().splitlines()
    lines[31] = lines[31].replace('"a":', '"b":')
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"broken\.json is not a library of hosts at 30\.a"):
        list(open_library(path)[20:])


def test_different_ids_of_one_hash_are_no_repetition(library_file, monkeypatch):
    monkeypatch.setattr("defectgen.hosts.library.hash", lambda _: 5, raising=False)
    assert len(list(open_library(library_file))) == 40


def test_a_library_that_vanishes_meanwhile_is_named(tmp_path):
    path = tmp_path / "library.json"
    write_library(path, LIBRARY[:3])
    hosts = open_library(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot read the library .*library\.json"):
        hosts[0]


def test_writing_takes_hosts_as_they_come_and_leaves_the_old_file_if_it_fails(tmp_path):
    path = tmp_path / "library.json"
    write_library(path, iter(LIBRARY[:5]))
    before = path.read_bytes()

    def failing():
        yield LIBRARY[0]
        assert path.read_bytes() == before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_library(path, failing())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["library.json"]


def test_a_library_may_be_written_over_itself(tmp_path):
    path = tmp_path / "library.json"
    write_library(path, LIBRARY[:5])
    write_library(path, open_library(path)[1:])
    assert read_library(path) == LIBRARY[1:5]


def test_writing_follows_links_and_leaves_pipes_in_place(tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_library(tmp_path / "link.json", LIBRARY[:2])
    assert (tmp_path / "link.json").is_symlink()
    assert read_library(tmp_path / "real.json") == LIBRARY[:2]
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_library(pipe, LIBRARY[:2])
    reader.join(timeout=30)
    assert received == [(tmp_path / "real.json").read_bytes()]
    assert pipe.is_fifo()
