"""Stores of variants with two kinds of defect at once."""

from __future__ import annotations

import random
import shutil
import tomllib
import warnings

import numpy as np
import pytest
from defects import assert_holds_what_it_says
from runs import MIXED_TOML, TOML, Bench, files_of

from defectgen.point_defects.settings import KIND_SETS, KINDS, set_name
from defectgen.point_defects.variants import HostSupercell
from hpc.description import RunDescription
from hpc.store.input_record import hash_inputs
from hpc.store.inspect import atoms_of_row, verify
from hpc.store.store import Store
from pdfcalc import calculate_pdf


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("mixed"), MIXED_TOML)
    assert bench.generate().returncode == 0
    return bench


def test_it_says_how_many_of_each_kind_there_are(mixed):
    assert verify(mixed.store)["ok"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import xarray

        dataset = xarray.open_zarr(mixed.store).load()
    assert dataset.sizes == {"structure": 11, "variant": 11, "r": 60, "kind": 4}
    assert dataset.n_defects.dims == ("structure", "variant", "kind")
    assert dataset.kind.values.tolist() == list(KINDS)
    assert dataset.label.values.tolist() == [list(range(11))] * 11
    meanings = dataset.label.attrs["flag_meanings"].split()
    assert meanings == [set_name(kinds) for kinds in KIND_SETS]
    assert meanings[0] == "pristine"
    assert meanings[-1] == "substitution+interstitial"
    atoms = dataset.n_atoms.isel(variant=0)
    np.testing.assert_allclose(dataset.n_defects.sum("kind") / atoms, dataset.concentration)
    for label, kinds in enumerate(KIND_SETS):
        held = dataset.n_defects.isel(variant=label) > 0
        assert held.values.tolist() == [[kind in kinds for kind in KINDS]] * 11


def test_rows_are_the_pdfs_of_the_exported_atoms(mixed):
    store = Store(mixed.store)
    settings = store.description.pdf
    for structure in range(0, 11, 3):
        supercell = HostSupercell(store.items[structure], store.description.defects)
        for variant in range(5, 11):
            assert_holds_what_it_says(supercell, supercell.variant(0, variant))
            atoms = atoms_of_row(mixed.store, structure, variant)
            assert len(atoms.frac) == store.array("n_atoms")[structure, variant]
            _, expected = calculate_pdf(atoms, settings.parameters, "pairs")
            np.testing.assert_allclose(
                store.array("g")[structure, variant],
                expected[settings.stored],
                atol=2e-5 * np.abs(expected).max(),
            )


@pytest.mark.slow
def test_a_damaged_number_is_found_and_put_right(mixed, tmp_path):
    other = Bench(tmp_path / "other", MIXED_TOML)
    shutil.copytree(mixed.store, other.store)
    shard = random.Random(0).choice(
        [file for file in sorted((other.store / "n_defects" / "c").rglob("*")) if file.is_file()]
    )
    shard.unlink()
    assert not verify(other.store)["ok"]
    assert other.generate("--repair").returncode == 0
    assert files_of(other.store) == files_of(mixed.store)
    assert verify(other.store)["ok"]


def test_another_number_of_mixtures_is_another_run(mixed):
    mixed.run_toml.write_text(MIXED_TOML.replace("mixed_variants = 1", "mixed_variants = 2"))
    out = mixed.generate()
    assert out.returncode == 2
    assert "defects.mixed_variants: the store has 1, this run has 2" in out.stderr


def test_stores_without_mixtures_are_known_as_before_there_were_any():
    recorded = "143af95a6fb6093f61b19c7f7f8667c970ddd70ac3ee5e16e33b49c4e03daab8"
    assert hash_inputs(RunDescription(), []) == recorded
    small = RunDescription.model_validate(tomllib.loads(TOML))
    assert "mixed_variants" not in small.model_dump(mode="json")["defects"]
