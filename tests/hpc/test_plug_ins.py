"""What another package plugs in goes through engines, kills, verify and repair as ours does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from runs import TOY_TOML, Bench, command, files_of

import hpc.description
from defectgen.plugins import find_plug_in, plug_in_names

PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from hpc.store.ragged import RaggedShard, ragged_folder
from hpc.store.store import Store
store = Store(Path(sys.argv[1]))
n = [RaggedShard(ragged_folder(store.path, s.index), 4).of_sample("positions", r, v).shape
     for s in store.shards for r in range(s.n_items) for v in range(4)]
print(json.dumps([store.array("count")[:].ravel().tolist(), n]))
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Bench:
    """A bench whose store one serial run, undisturbed, has made."""
    bench = Bench(tmp_path_factory.mktemp("toy"), TOY_TOML)
    out = bench.generate()
    assert out.returncode == 0, out.stderr
    return bench


def defectpdf(bench: Bench, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=bench.environment(), capture_output=True, text=True, timeout=120
    )


def test_arrays_of_all_shapes_are_stored(toy):
    import xarray

    dataset = xarray.open_zarr(toy.store).load()
    assert dataset.image.dims == ("structure", "variant", "y", "x")
    assert dataset.sizes == {"structure": 11, "variant": 4, "y": 8, "x": 8, "xyz": 3}
    assert dataset.volume.dims == ("structure",)
    assert dataset.attrs["title"] == "Images of boxes of gold"
    np.testing.assert_allclose(dataset.volume, dataset.side**3)
    assert ((dataset.moved > 0) & (dataset.moved < 0.1 * 3**0.5)).all()


def test_ragged_arrays_have_a_group_a_shard_and_what_is_of_each_sample(toy):
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM, toy.store],
        env=toy.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    counts, shapes = json.loads(out.stdout)
    assert shapes == [[count, 3] for count in counts]
    assert len(set(counts)) > 3
    assert sorted(path.name for path in (toy.store / "atom").glob("0*")) == [
        f"{shard:06d}" for shard in range(6)
    ]


@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        ((), ["--workers=2"]),
        ((str(Path(sys.executable).with_name("mpiexec")), "-n", "3"), ["--engine=mpi"]),
    ],
    ids=["dask", "mpi"],
)
@pytest.mark.slow
def test_every_engine_gives_the_same_bytes(toy, tmp_path, launcher, options):
    bench = Bench(tmp_path, TOY_TOML)
    process = bench.start(*options, launcher=launcher)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert files_of(bench.store) == files_of(toy.store)


@pytest.mark.parametrize(
    "damage",
    [
        "offset/c/0",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("positions/zarr.json", "zarr.json", "")
        ),
    ],
)
def test_damage_to_ragged_arrays_is_found_and_put_right(toy, tmp_path, damage):
    bench = Bench(tmp_path, TOY_TOML)
    shutil.copytree(toy.store, bench.store)
    victim = bench.store / "atom" / "000002" / damage
    if victim.is_dir():
        shutil.rmtree(victim)
    else:
        victim.write_bytes(victim.read_bytes()[:5])
    found = defectpdf(bench, "verify", bench.store)
    assert found.returncode == 1
    assert "hosts 4 to 5" in found.stdout
    assert bench.generate("--repair").returncode == 0
    assert files_of(bench.store) == files_of(toy.store)


def test_what_a_killed_writer_left_half_written_goes(toy, tmp_path):
    """Of arrays in folders, of ragged ones, and of a column, whose parts are no folders."""
    bench = Bench(tmp_path, TOY_TOML)
    shutil.copytree(toy.store, bench.store)
    (bench.store / "ledger" / "000003.json").touch()  # as of a shard that was begun again
    for place in ("volume/c/3", "image/c/3/0/0/0", "atom/000003/offset/c/0"):
        whole = bench.store / place
        whole.rename(whole.with_name(f"{whole.name}.0a1b.partial"))
    assert bench.generate().returncode == 0
    assert files_of(bench.store) == files_of(toy.store)


def folder_in_place(place: Path) -> None:
    """With something in it, which makes it no folder of a store's."""
    place.mkdir()
    (place / "another").touch()


STRANGERS = {
    "pipe": os.mkfifo,
    "folder": folder_in_place,
    "link": lambda place: place.symlink_to(place.with_name("before")),
    "device": lambda place: place.symlink_to("/dev/zero"),
}
PLACES = [
    "ledger/records.jsonl",
    "ledger/inputs.json",
    "ledger/library.npy",
    "ledger/creation.lock",
    "atom/zarr.json",
    "atom/000002/positions/zarr.json",
    "atom/000002",
    "atom",
    "zarr.json",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "stranger"),
    [
        case
        for case in product(PLACES, STRANGERS)
        if case != ("atom", "folder")  # where a folder belongs
    ],
)
def test_what_stands_in_the_place_of_a_file_or_folder_is_named_and_put_right(
    toy, tmp_path, place, stranger
):
    bench = Bench(tmp_path, TOY_TOML)
    shutil.copytree(toy.store, bench.store)
    victim = bench.store / place
    victim.rename(victim.with_name("before"))
    STRANGERS[stranger](victim)
    for command_ in ("status", "verify"):
        found = defectpdf(bench, command_, bench.store)
        assert "Traceback" not in found.stderr
    assert found.returncode
    is_of_a_shard = stranger == "folder" and place.startswith("atom/000002")
    named = "hosts 4 to 5" if is_of_a_shard else place
    assert named in found.stdout + found.stderr
    out = bench.generate("--repair")
    assert out.returncode == 0, out.stderr
    kept = victim.with_name("before")
    if kept.is_dir():
        shutil.rmtree(kept)
    else:
        kept.unlink(missing_ok=True)
    assert files_of(bench.store) == files_of(toy.store)
    assert defectpdf(bench, "verify", bench.store).returncode == 0


def test_atoms_of_a_row_are_those_that_the_stage_left(toy, tmp_path):
    out = defectpdf(toy, "export", toy.store, tmp_path / "a.xyz", "--structure=3", "--variant=2")
    assert out.returncode == 0, out.stderr
    atoms = (tmp_path / "a.xyz").read_text().splitlines()
    assert int(atoms[0]) == len(atoms) - 2


def test_an_unusable_item_is_quarantined_at_once(tmp_path):
    bench = Bench(tmp_path, TOY_TOML.replace("[source.toy]", '[source.toy]\nunusable = "box-4"'))
    out = bench.generate()
    assert out.returncode == 0, out.stderr
    assert "quarantined box-4: a box without a bottom" in out.stderr
    assert "tried again" not in out.stderr
    assert defectpdf(bench, "verify", bench.store).returncode == 0


@pytest.mark.slow
def test_what_a_run_would_take_is_what_it_takes(toy, tmp_path):
    path = tmp_path / "new.zarr"
    out = defectpdf(toy, "generate", toy.run_toml, "--store", path, "--dry-run", "--json")
    assert out.returncode == 0, out.stderr
    found = json.loads(out.stdout)
    files = [file for file in toy.store.rglob("*") if file.is_file()]
    assert found["n_files"] == len(files)
    assert found["n_folders"] == 1 + sum(path.is_dir() for path in toy.store.rglob("*"))


@pytest.mark.slow
def test_large_images_are_written_group_by_group(tmp_path):
    """184 MB a task: the memory is that of groups of half, and each image can be read by itself."""
    toml = TOY_TOML.replace("= 2", "= 8", 1).replace(
        "[observable.toy]", "[observable.toy]\npixels = 1200"
    )
    bench = Bench(tmp_path, toml.replace("[source.toy]", "[source.toy]\ncount = 8"))
    out = bench.generate()
    assert out.returncode == 0, out.stderr
    assert defectpdf(bench, "verify", bench.store).returncode == 0
    import zarr

    image = zarr.open_group(bench.store, mode="r")["image"]
    assert image.chunks == (1, 1, 1200, 1200)
    assert image.shards == (4, 4, 1200, 1200)
    (record,) = (bench.store / "ledger" / "records.jsonl").read_text().splitlines()
    assert json.loads(record)["peak_memory_mib"] < 650


def test_a_name_that_nobody_has_plugged_in_is_refused_with_those_there_are():
    assert {"pdf", "powder"} <= set(plug_in_names("hpc.observables"))
    with pytest.raises(ValueError, match=r"there is no observable 'xrd'; known are .*pdf, powder"):
        find_plug_in("hpc.observables", "xrd")


def test_two_plug_ins_with_one_array_are_refused(tmp_path):
    bench = Bench(tmp_path, TOY_TOML + "[[stage]]\nname = 'toy'\n")
    out = bench.generate()
    assert out.returncode == 2
    assert out.stderr.splitlines()[-1].endswith("toy and toy both have an array 'moved'")


def test_settings_of_plug_ins_come_back_from_the_store():
    values = {"observable": {"powder": {"points": 301, "fwhm": 1.0}}, "pdf": {"points": 30}}
    description = hpc.description.RunDescription.model_validate(values)
    dumped = description.model_dump(mode="json")
    assert hpc.description.RunDescription.model_validate(dumped) == description
    assert dumped["pdf"]["points"] == 30
