from __future__ import annotations

import ase
import ase.io
import numpy as np
import pytest

from defectgen.hosts.library import embedded_library
from defectgen.samples import Located, Resources, Sample, UnusableItem
from defectgen.sources.defects import Defects
from defectgen.stages.displaced import Displaced

HOST = next(host for host in embedded_library() if host.space_group == 194)
SOURCE = Defects.model_validate({"defects": {"supercell": [2, 2, 2], "kinds": ["vacancy"]}})
DRIFT = np.array([0.3, -0.2, 0.1])


def drawn() -> list[Sample]:
    return SOURCE.draw(HOST, seed=3)


def frames(scale: float = 1.0) -> list[ase.Atoms]:
    """Each sample with its atoms shaken and drifted, wrapped into its cell."""
    rng = np.random.default_rng(0)
    made = []
    for sample in drawn():
        atoms = sample.atoms()
        positions = atoms.frac @ atoms.lattice
        shaken = positions + DRIFT + rng.normal(scale=0.05, size=positions.shape)
        frame = ase.Atoms(atoms.elements.tolist(), positions=shaken, cell=atoms.lattice, pbc=True)
        frame.wrap()
        frame.set_cell(scale * frame.cell, scale_atoms=True)
        made.append(frame)
    return made


def located(folder) -> Displaced:
    return Displaced(folder=folder).located(None)


@pytest.mark.parametrize("ending", ["xyz", "traj"])
def test_atoms_are_where_the_frames_have_them(tmp_path, ending):
    ase.io.write(tmp_path / f"{HOST.id}.{ending}", frames(1.01))
    after = located(tmp_path).apply(drawn(), Resources())
    for before, sample, frame in zip(drawn(), after, frames(1.01), strict=True):
        atoms = sample.atoms()
        np.testing.assert_allclose(atoms.frac @ atoms.lattice, frame.positions, atol=1e-7)
        np.testing.assert_allclose(atoms.lattice, np.asarray(frame.cell), atol=1e-7)
        np.testing.assert_array_equal(atoms.uiso, before.atoms().uiso)
        assert sample.lattice is None
        # Five deviations of one atom; the drift and the cell count as no displacement.
        assert 0.05 < sample.values["largest_displacement"] < 0.05 * 5 * 3**0.5


def test_a_sample_may_have_a_file_of_its_own_and_a_plain_one_has_the_cell_of_the_sample(tmp_path):
    for number, frame in enumerate(frames()):
        name = tmp_path / f"{HOST.id}-{number}.xyz"
        ase.io.write(name, frame, format="xyz" if number == 1 else "extxyz")
    after = located(tmp_path).apply(drawn(), Resources())
    for before, sample in zip(drawn(), after, strict=True):
        np.testing.assert_allclose(sample.atoms().lattice, before.atoms().lattice, atol=1e-7)


def test_displacements_of_all_atoms_may_be_given(tmp_path):
    ase.io.write(tmp_path / f"{HOST.id}.xyz", frames())
    stage = located(tmp_path).model_copy(update={"uiso": 1e-4})
    assert set(stage.apply(drawn(), Resources())[2].atoms().uiso) == {1e-4}


def without_one(made: list[ase.Atoms]) -> list[ase.Atoms]:
    del made[2][5]
    return made


def of_others(made: list[ase.Atoms]) -> list[ase.Atoms]:
    made[1].symbols[3] = "Si"
    return made


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda made: made[:-1], "has 3 frames for 4 samples: give one of each"),
        (without_one, r"sample 2: it has \d+ atoms where the sample has \d+"),
        (of_others, r"sample 1: atom 4 is Si where the sample has \w+: keep the order"),
        (lambda made: frames(0.1), r"its cell has 0.001 of the volume"),
    ],
)
def test_frames_that_are_not_of_the_samples_quarantine_the_item(tmp_path, change, complaint):
    ase.io.write(tmp_path / f"{HOST.id}.xyz", change(frames()))
    with pytest.raises(UnusableItem, match=complaint):
        located(tmp_path).apply(drawn(), Resources())


def test_items_without_positions_and_damaged_files_are_quarantined(tmp_path):
    (tmp_path / "other.xyz").write_text("2\n\nCu 0 0 0\n")
    stage = located(tmp_path)
    with pytest.raises(UnusableItem, match=f"no positions named {HOST.id} or {HOST.id}-0"):
        stage.apply(drawn(), Resources())
    (tmp_path / f"{HOST.id}.xyz").write_text("2\n\nCu 0 0 0\n")
    with pytest.raises(UnusableItem, match=rf"{HOST.id}\.xyz can't be read: "):
        stage.model_copy(update={"files_digest": None}).apply(drawn(), Resources())


def test_a_program_is_not_run(tmp_path):
    (tmp_path / "x.py").write_text("raise SystemExit")
    with pytest.raises(ValueError, match="has no files of positions"):
        located(tmp_path)
    with pytest.raises(ValueError, match=r"stage displaced: .*none: No such file"):
        located(tmp_path / "none")


def test_other_files_are_another_run(tmp_path):
    ase.io.write(tmp_path / f"{HOST.id}.xyz", frames())
    stage = located(tmp_path)
    assert isinstance(stage, Located)
    ase.io.write(tmp_path / f"{HOST.id}.xyz", frames(1.001))
    assert located(tmp_path).files_digest != stage.files_digest
    with pytest.raises(ValueError, match="not those of files_digest"):
        stage.located(None)
