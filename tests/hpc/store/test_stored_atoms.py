"""Atoms that one run stores and others observe."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import Bench, files_of

from defectgen.samples import Resources, Sample
from hpc.description import read_description
from hpc.executors import start_executor
from hpc.generate import generate
from hpc.observables.atoms import Atoms
from hpc.store.inspect import atoms_of_row, verify
from hpc.store.store import Store
from pdfcalc import AtomicStructure

SOURCE = """
hosts_per_shard = 2
[library]
limit = 3
[defects]
supercell = [3, 3, 3]
variants_per_kind = 1
fraction = [0.01, 0.02]
[[stage]]
name = "strain"
hydrostatic = [-0.01, 0.01]
"""
ATOMS = SOURCE + "[observable.atoms]\n"
PDF = "[pdf]\nrmax = 6.0\npoints = 40\nrefine_host = true\n"
STORED = 'hosts_per_shard = 1\n[source.store]\npath = "atoms"\n'


def make(folder: Path, name: str, toml: str) -> Path:
    """The store of a description, by one serial run."""
    (folder / f"{name}.toml").write_text(toml)
    with start_executor("serial", 1) as execute:
        assert execute is not None
        generate(folder / name, read_description(folder / f"{name}.toml"), execute)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With a store of atoms, one of what is seen of them, and one of the same at once."""
    folder = tmp_path_factory.mktemp("stored")
    make(folder, "atoms", ATOMS)
    make(folder, "seen", STORED + PDF)
    make(folder, "at-once", SOURCE + PDF)
    return folder


def test_what_is_seen_of_stored_atoms_is_what_is_seen_of_them_at_once(folder):
    seen, at_once = Store(folder / "seen"), Store(folder / "at-once")
    names = {name for name, _ in at_once.group.arrays()}
    assert {name for name, _ in seen.group.arrays()} == names
    for name in names:
        np.testing.assert_array_equal(seen.array(name)[:], at_once.array(name)[:], err_msg=name)
    assert dict(seen.array("label").attrs) == dict(at_once.array("label").attrs)


def test_stored_atoms_are_those_of_the_description_to_the_last_bit(folder):
    for structure, variant in ((0, 0), (1, 3), (2, 4)):
        every = [atoms_of_row(folder / n, structure, variant) for n in ("atoms", "seen", "at-once")]
        for one in every[1:]:
            for name in ("lattice", "frac", "elements", "uiso", "occupancy"):
                np.testing.assert_array_equal(getattr(one, name), getattr(every[0], name))


def test_what_was_made_of_a_store_says_all_and_is_read_without_it(folder, tmp_path):
    shutil.copytree(folder / "seen", tmp_path / "seen")
    stored = dict(Store(tmp_path / "seen").group.attrs)["run"]["source"]["store"]
    assert stored["store_digest"] == verify(folder / "atoms")["digest"]
    assert stored["origin"]["defects"]["supercell"] == [3, 3, 3]
    hidden = folder / "atoms-elsewhere"
    (folder / "atoms").rename(hidden)
    try:
        assert verify(tmp_path / "seen")["ok"]
        assert Store(tmp_path / "seen").description.defects.supercell == (3, 3, 3)
        with pytest.raises(ValueError, match=r"source.store: .*atoms is not a store"):
            read_description(folder / "seen.toml")
    finally:
        hidden.rename(folder / "atoms")


def test_only_some_items_may_be_taken_and_stages_come_after(folder):
    source = STORED.replace('"atoms"', '"atoms"\nlimit = 2')
    some = Store(
        make(folder, "some", source + '[[stage]]\nname = "thermal"\n[observable.powder]\n')
    )
    assert list(some.array("id")[:]) == [Store(folder / "atoms").items[row].id for row in (0, 1)]
    # Another stage of the same kind would declare the same arrays.
    with pytest.raises(ValueError, match="store and strain both have an array 'strain'"):
        make(folder, "twice", source + '[[stage]]\nname = "strain"\n' + PDF)


def test_another_store_of_atoms_is_another_run(folder, tmp_path):
    pdf = PDF.replace("refine_host = true\n", "")
    make(tmp_path, "atoms", ATOMS)
    make(tmp_path, "seen", STORED + pdf)
    digest = verify(tmp_path / "atoms")["digest"]
    shutil.rmtree(tmp_path / "atoms")
    make(tmp_path, "atoms", "seed = 1\n" + ATOMS)
    with pytest.raises(ValueError, match=f"source.store.store_digest: the store has '{digest}'"):
        make(tmp_path, "seen", STORED + pdf)
    with pytest.raises(ValueError, match=f"has the digest .*, not {digest}: give the store"):
        make(tmp_path, "named", STORED + f'store_digest = "{digest}"\n' + pdf)
    item = Store(tmp_path / "seen").items[0]
    with pytest.raises(OSError, match="is another store now"):
        Store(tmp_path / "seen").description.source.draw(item, 0)


def test_a_store_without_atoms_and_an_unfinished_one_are_refused(folder, tmp_path):
    for name, complaint in (("seen", "keeps no atoms"), ("atoms", "is not complete: `defectpdf")):
        shutil.copytree(folder / name, tmp_path / name)
        (tmp_path / name / "ledger" / "records.jsonl").unlink()
        (tmp_path / "run.toml").write_text(STORED.replace('"atoms"', f'"{name}"') + PDF)
        with pytest.raises(ValueError, match=complaint):
            read_description(tmp_path / "run.toml")


def test_ions_and_isotopes_are_not_stored_as_elements(folder):
    sample = Store(folder / "atoms").description.source.draw(Store(folder / "atoms").items[0], 0)[1]
    for label in ("D", "Ni2+", "58-Ni"):
        atoms = sample.atoms()
        others = AtomicStructure(
            atoms.lattice, atoms.frac, [label] * len(atoms.frac), atoms.uiso, atoms.occupancy
        )
        changed = Sample(sample.key, lambda others=others: others)
        with pytest.raises(ValueError, match=re.escape(f"stored by element, and {label} is none")):
            Atoms().compute([changed], Resources())


@pytest.mark.slow
def test_every_engine_gives_the_same_bytes(folder, tmp_path):
    shutil.copytree(folder / "atoms", tmp_path / "atoms")
    bench = Bench(tmp_path, STORED + PDF)
    assert bench.generate("--engine=dask", "--workers=2").returncode == 0
    mine, other = files_of(bench.store), files_of(folder / "seen")
    # What says where the store of atoms is.
    assert {name for name in mine if mine[name] != other[name]} <= {"zarr.json"}
    assert mine.keys() == other.keys()
