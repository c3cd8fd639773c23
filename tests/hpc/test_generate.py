"""Stores are complete, the same for every engine, and survive whatever happens to a run."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tomllib
import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from runs import TOML, files_of

from defectgen.hosts.library import embedded_library, write_library
from defectgen.samples import UnusableItem
from defectgen.sources.defects import Defects, LibrarySettings
from hpc.description import RunDescription, read_description
from hpc.executors import start_executor
from hpc.generate import Summary, generate
from hpc.store.inspect import atoms_of_row, status, verify
from hpc.store.store import Store
from hpc.workers.work import item_rows
from pdfcalc import PDFParameters, calculate_pdf

SMALL = RunDescription.model_validate(tomllib.loads(TOML))


def run_serial(path: Path, description: RunDescription | None = SMALL) -> Summary:
    with start_executor("serial", 1) as execute:
        assert execute is not None
        return generate(path, description, execute)


@pytest.fixture
def description(tmp_path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(TOML)
    return path


def test_the_store_is_complete_and_consistent(oracle):
    found = verify(oracle)
    assert found["ok"], found["problems"]
    assert (found["n_structures"], found["n_pdfs"]) == (11, 11 * 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import xarray

        dataset = xarray.open_zarr(oracle).load()
    assert dataset.g.dims == ("structure", "variant", "r")
    assert dataset.g.dtype == np.float32
    assert dataset.g.units == "angstrom-2"
    assert dataset.sizes == {"structure": 11, "variant": 5, "r": 60}
    assert dataset.label.values.tolist() == [[0, 1, 2, 3, 4]] * 11
    assert np.isfinite(dataset.g.values).all()
    concentration = dataset.concentration.values
    assert (concentration[:, 0] == 0).all()
    assert ((concentration[:, 1:] > 0) & (concentration[:, 1:] <= 0.1)).all()
    assert ((dataset.impurity.values > 0) == [[False, False, False, True, True]] * 11).all()
    assert dataset.attrs["run"] == SMALL.model_dump(mode="json")


def test_stored_values_are_the_pdfs_of_the_exported_atoms(oracle):
    store = Store(oracle)
    g, n_atoms = (np.asarray(store.array(name)[:]) for name in ("g", "n_atoms"))
    settings = store.description.pdf
    parameters = PDFParameters(**settings.model_dump(exclude={"points"}))
    for structure, variant in [(0, 0), (3, 1), (5, 2), (8, 3), (10, 4)]:
        atoms = atoms_of_row(oracle, structure, variant)
        assert len(atoms.frac) == n_atoms[structure, variant]
        r, expected = calculate_pdf(atoms, parameters, "pairs")
        at = np.rint(store.array("r")[:] / settings.rstep).astype(int) - round(r[0] / 0.01)
        np.testing.assert_allclose(
            g[structure, variant], expected[at], atol=2e-5 * np.abs(expected).max()
        )


def test_the_order_of_tasks_does_not_matter(oracle, tmp_path):
    rng = random.Random(1)

    def shuffled(work, tasks):
        yield from map(work, sorted(tasks, key=lambda _: rng.random()))

    generate(tmp_path / "store.zarr", SMALL, shuffled)
    assert files_of(tmp_path / "store.zarr") == files_of(oracle)


def test_a_finished_store_is_left_alone(oracle):
    before = {file: file.stat().st_mtime_ns for file in oracle.rglob("c/*")}
    assert run_serial(oracle).n_computed == 0
    assert {file: file.stat().st_mtime_ns for file in oracle.rglob("c/*")} == before


def test_only_missing_shards_are_computed(oracle, tmp_path):
    class Stopped(Exception):
        pass

    def stop_after_two(work, tasks):
        yield from map(work, islice(tasks, 2))
        raise Stopped

    store = tmp_path / "store.zarr"
    with pytest.raises(Stopped):
        generate(store, SMALL, stop_after_two)
    found = status(store)
    assert (found["n_done"], found["n_missing"], found["complete"]) == (4, 7, False)
    assert not verify(store)["ok"]
    assert run_serial(store).n_computed == 7
    assert files_of(store) == files_of(oracle)


@pytest.mark.parametrize(
    "last",
    [
        pytest.param("library.json", marks=pytest.mark.slow),
        pytest.param("g/zarr.json", marks=pytest.mark.slow),
        "zarr.json",
    ],
)
def test_half_made_stores_are_made_again(oracle, tmp_path, last):
    store = tmp_path / "store.zarr"
    (store / "ledger").mkdir(parents=True)
    for name in ("ledger/lock", "ledger/unfinished"):
        (store / name).touch()
    shutil.copytree(oracle / "label", store / "n_defects")  # of another description
    for name in ("library.json", "g/zarr.json", "zarr.json"):
        (store / name).parent.mkdir(exist_ok=True)
        (store / name).write_bytes((oracle / name).read_bytes())
        if name == last:
            (store / name).write_bytes((oracle / name).read_bytes()[:20])
            break
    run_serial(store)
    assert files_of(store) == files_of(oracle)


@pytest.fixture
def store(oracle, tmp_path) -> Path:
    """A finished store to change, the same as `oracle`."""
    return Path(shutil.copytree(oracle, tmp_path / "store.zarr"))


def test_half_written_files_are_made_good(oracle, store):
    (store / "g" / "c" / "1" / "0" / "0.123.partial").write_bytes(b"half")
    (store / "ledger" / "000001.json").write_text('{"task": 1, "inp')
    run_serial(store)
    assert files_of(store) == files_of(oracle)
    assert verify(store)["ok"]


def test_changed_hosts_are_found(store):
    library = store / "library.json"
    library.write_text(library.read_text().replace('"uiso":0.0', '"uiso":0.1', 1))
    assert "library.json" in " ".join(verify(store)["problems"])
    library.unlink()
    found = verify(store)
    assert not found["ok"]
    assert "library.json" in found["problems"][0]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("label/zarr.json", "pristine vacancy", "vacancy pristine"),
        ("zarr.json", "angstrom-2", "furlong-2"),
        ("r/zarr.json", '"float64"', '"int64"'),
    ],
)
def test_changed_metadata_are_found(store, file, old, new):
    text = (store / file).read_text()
    assert old in text
    (store / file).write_text(text.replace(old, new))
    found = verify(store)
    assert not found["ok"]
    assert "metadata were changed" in found["problems"][0]


def test_lost_consolidated_metadata_are_found_and_lose_nothing(store):
    metadata = json.loads((store / "zarr.json").read_text())
    del metadata["consolidated_metadata"]
    (store / "zarr.json").write_text(json.dumps(metadata))
    assert "consolidated" in verify(store)["problems"][0]
    with pytest.raises(ValueError, match="holds another run"):
        run_serial(store, SMALL.model_copy(update={"seed": 7}))
    assert run_serial(store).n_computed == 0


def test_where_the_hosts_came_from_does_not_matter(oracle, tmp_path):
    hosts = Store(oracle).items
    write_library(tmp_path / "mine.json", hosts)
    (tmp_path / "run.toml").write_text(
        TOML.replace("limit = 11", 'source = "mine.json"')  # as seen from the file's folder
    )
    store = tmp_path / "store.zarr"
    run_serial(store, read_description(tmp_path / "run.toml"))
    assert verify(store)["digest"] == verify(oracle)["digest"]
    write_library(tmp_path / "mine.json", hosts[::-1])
    with pytest.raises(ValueError, match="the hosts have changed"):
        run_serial(store, read_description(tmp_path / "run.toml"))


def test_limit_takes_hosts_from_the_whole_library(oracle):
    groups = {host.space_group for host in Store(oracle).items}
    assert len(groups) >= 4


def test_published_only_leaves_derived_hosts_out(tmp_path):
    write_library(tmp_path / "all.json", embedded_library())
    for source in ("embedded", str(tmp_path / "all.json")):
        hosts = Defects(library=LibrarySettings(source=source, published_only=True)).items()
        assert {host.origin for host in hosts} == {"published"}
        assert len(hosts) == len(embedded_library(published_only=True))


def test_values_that_are_not_finite_are_the_fault_of_the_host(oracle, monkeypatch):
    monkeypatch.setattr(
        "hpc.observables.pdf.PairDistributionFunction.compute",
        lambda self, samples, on: {"g": np.full((len(samples), 60), np.nan)},
    )
    store = Store(oracle)
    with pytest.raises(UnusableItem, match="g is not finite"):
        next(item_rows(store.items[0], store.description, 5, lambda _: None))


def test_another_description_is_refused_with_the_difference(oracle):
    other = SMALL.model_copy(update={"seed": 7})
    with pytest.raises(ValueError, match="seed: the store has 0, this run has 7"):
        run_serial(oracle, other)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "2025.json").write_text("important")
    with pytest.raises(ValueError, match="exists and is not a store"):
        run_serial(tmp_path)
    (tmp_path / "ledger" / "lock").touch()
    with pytest.raises(ValueError, match="is not a store"):
        run_serial(tmp_path)
    assert (tmp_path / "ledger" / "2025.json").read_text() == "important"
    assert not (tmp_path / "library.json").exists()


def test_a_host_that_fails_is_quarantined_alone(tmp_path):
    hosts = embedded_library()[:3]
    crowded = hosts[1].model_copy(
        update={"id": "crowded", "frac": hosts[1].frac[:1] * 2, "wyckoff": hosts[1].wyckoff[:1] * 2}
    )
    write_library(tmp_path / "library.json", [hosts[0], crowded, hosts[2]])
    wanted = SMALL.model_copy(
        update={
            "source": SMALL.source.model_copy(
                update={"library": LibrarySettings(source=str(tmp_path / "library.json"))}
            )
        }
    )
    summary = run_serial(tmp_path / "store.zarr", wanted)
    assert [host.id for host in summary.quarantined] == ["crowded"]
    store = Store(tmp_path / "store.zarr")
    assert (np.asarray(store.array("label")[1]) == -1).all()
    assert np.isnan(store.array("g")[1]).all()
    assert np.isfinite(store.array("g")[0]).all()
    found = verify(tmp_path / "store.zarr")
    assert (found["ok"], found["n_pdfs"], found["n_quarantined"]) == (True, 10, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = -1", "seed: Input should be greater than or equal to 0"),
        ("sede = 1", "sede: Extra inputs are not permitted"),
        ("[defects]\nkinds = ['void']", "defects.kinds: 'void' is not one of vacancy"),
        ("[defects]\nfraction = [0.2, 0.1]", "defects: fraction"),
        ("[defects]\nimpurities = ['Cu', 'Xx']", "'Xx' is not a metal"),
        ("[pdf]\nqmin = 30.0", "pdf: qmin = 30.0: must be less than qmax"),
        ("[library]\nlimit = 0", "library.limit"),
        ("library = 3", "library: Input should be"),
        ("[library]\nsource = ''", "library.source"),
        ("[defects]\nimpurities = ['Cu', 'Cu']", "an impurity is named twice"),
        ("[pdf]\nrstep = 1e-9", "points up to rmax"),
        ("[pdf]\nqmax = 0", "pdf.qmax: Input should be greater than 0"),
        ("seed = ", "is not a TOML file"),
        (f"a = {'[' * 20_000}{']' * 20_000}", "nested too deeply"),
        (f"a = {'{b=' * 20_000}1{'}' * 20_000}", "nested too deeply"),
        (f"seed = {'9' * 5_000}", "Exceeds the limit (4300 digits)"),
        (
            "[pdf]\nscattering = 'neutron'\n[defects]\nimpurities = ['Cu', 'Ac']",
            "no neutron scattering length is tabulated for Ac: leave it out",
        ),
        (
            "[pdf]\nscattering = 'neutron'\n[defects]\nimpurities = ['Gd']",
            "length depends on the energy, and none is tabulated for Gd: leave it out",
        ),
        (
            "[defects]\nimpurities = ['N', 'C']",
            "C or N sits between atoms only: leave substitution out of kinds",
        ),
        ("[defects]\nimpurities = ['Si']", "'Si' is not a metal of the element table, nor H, C, N"),
    ],
)
def test_mistakes_in_the_description_are_named(tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"run\.toml") as caught:
        read_description(path)
    assert message in str(caught.value)


def test_neutrons_take_impurities_that_scatter_them(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(TOML + "scattering = 'neutron'\n")
    description = read_description(path)
    unknown = {"Ac", "Cd", "Eu", "Gd", "Sm"}
    assert set(SMALL.defects.impurities) - set(description.defects.impurities) == unknown
    assert run_serial(tmp_path / "store.zarr", description).quarantined == ()
    assert Store(tmp_path / "store.zarr").description == description


LIGHT = """
[library]
source = "{library}"
[defects]
kinds = ["vacancy", "interstitial"]
impurities = ["{impurity}"]
impurity_uiso = "host"
variants_per_kind = 1
fraction = [0.01, 0.02]
separation = 2.0
supercell = [3, 3, 3]
[[stage]]
name = "relaxed"
[pdf]
points = 60
rmax = 12.0
scattering = "{scattering}"
"""


@pytest.mark.parametrize(
    ("impurity", "host", "scattering"), [("H", "Pd", "neutron"), ("C", "Fe", "xray")]
)
def test_stores_of_one_light_impurity_are_sound(tmp_path, impurity, host, scattering):
    hosts = [one for one in embedded_library(published_only=True) if one.element == host]
    write_library(tmp_path / "library.json", hosts[:1])
    text = LIGHT.format(library=tmp_path / "library.json", impurity=impurity, scattering=scattering)
    (tmp_path / "run.toml").write_text(text)
    summary = run_serial(tmp_path / "store.zarr", read_description(tmp_path / "run.toml"))
    assert summary.quarantined == ()
    found = verify(tmp_path / "store.zarr")
    assert (found["ok"], found["n_pdfs"]) == (True, 3)
    store = Store(tmp_path / "store.zarr")
    number = {"H": 1, "C": 6}[impurity]
    assert np.asarray(store.array("impurity")).tolist() == [[0, 0, number]]
    strain = np.asarray(store.array("volume_strain"))
    assert strain[0, 1] < 0 < strain[0, 2]
    assert (atoms_of_row(tmp_path / "store.zarr", 0, 2).elements == impurity).any()


def test_a_host_of_the_only_impurity_is_quarantined(tmp_path):
    hosts = {one.element: one for one in embedded_library() if one.element in ("Cu", "Ni")}
    write_library(tmp_path / "library.json", list(hosts.values()))
    source = {"library": {"source": str(tmp_path / "library.json")}}
    wanted = RunDescription.model_validate(source | {"defects": {"impurities": ["Cu"]}})
    summary = run_serial(tmp_path / "store.zarr", wanted)
    assert [(one.id, one.reason) for one in summary.quarantined] == [
        (
            hosts["Cu"].id,
            f"{hosts['Cu'].id}: Cu is the only impurity that can be a substitution, and the host's "
            "own element; name another or leave this host out",
        )
    ]


def test_a_run_without_a_sound_host_fails_in_one_line(bench):
    bench.run_toml.write_text(TOML.replace("[defects]", "[defects]\nfraction = [1e-4, 2e-4]"))
    out = bench.generate()
    assert out.returncode == 2
    *others, last = out.stderr.splitlines()
    assert len([line for line in others if line.startswith("quarantined")]) == 11
    assert last.startswith(f"defectpdf: error: {bench.store}: no host could be computed; ")
    assert "take a larger supercell or a wider fraction" in last


def test_a_time_limit_has_to_be_a_number(bench):
    out = bench.generate("--timeout=inf")
    assert out.returncode == 2
    assert out.stderr.splitlines() == ["defectpdf: error: --timeout inf: give a number of seconds"]


def test_names_are_unicode_in_any_locale(oracle, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    run_serial(tmp_path / "Gitterplätze.zarr")
    assert files_of(tmp_path / "Gitterplätze.zarr") == files_of(oracle)


def test_importing_needs_no_cluster_and_no_torch():
    code = (
        "import sys, hpc.generate, hpc.store.inspect; "
        "print([m for m in ('torch', 'dask', 'distributed', 'mpi4py') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
