"""What is stored is what was stored before: hosts of all six groups, recorded once and for all.

`python tests/hpc/store/test_pins.py` records anew, which is right only where the physics or the
draws are meant to change; then the `revision` of what computes them must rise as well.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from crystals import fcc_cif

from defectgen.hosts.host import SPACE_GROUPS, Host
from defectgen.hosts.library import embedded_library, write_library
from hpc.description import read_description
from hpc.executors import start_executor
from hpc.generate import generate
from hpc.store.input_record import hash_inputs
from hpc.store.inspect import atoms_of_row
from hpc.store.store import Store

PINS = Path(__file__).with_name("pins")
SMALL = "[defects]\nsupercell = [3, 3, 3]\n{defects}\n[pdf]\npoints = 60\nrmax = 20.0\n{pdf}\n"
DESCRIPTIONS = {
    "study": '[library]\nsource = "hosts.json"\n',
    "vacancies": "[library]\nlimit = 6\n" + SMALL.format(defects='kinds = ["vacancy"]', pdf=""),
    "mixed": "[library]\nlimit = 6\n"
    + SMALL.format(defects="mixed_variants = 1\nfraction = [0.04, 0.2]", pdf=""),
    "neutrons": "[library]\nlimit = 6\n" + SMALL.format(defects="", pdf='scattering = "neutron"'),
    "cif": '[library]\nsource = "cifs"\n' + SMALL.format(defects="", pdf=""),
}
CIFS = {"Cu": (3.615, 0.0065), "Al": (4.05, 0.0101), "Pt": (3.924, 0.0042)}
EVERY_FIFTH = slice(None, None, 5)
DEFAULT_INPUT_HASH = "49199b7359d95c4cdd82d3cdc0f58377dc5508013fa7c44250b82531ffee875e"


def some_of_each_group() -> list[Host]:
    """Four hosts of each space group, evenly from the embedded library."""
    hosts = embedded_library()
    groups = [[host for host in hosts if host.space_group == number] for number in SPACE_GROUPS]
    return [group[k * len(group) // 4] for group in groups for k in range(4)]


def make_store(folder: Path, name: str) -> Path:
    """The store of a pinned description, by one serial run."""
    (folder / "cifs").mkdir(parents=True)
    for element, (a, uiso) in CIFS.items():
        (folder / "cifs" / f"{element}.cif").write_text(fcc_cif(element, a, uiso))
    write_library(folder / "hosts.json", some_of_each_group())
    (folder / "run.toml").write_text(DESCRIPTIONS[name])
    with start_executor("serial", 1) as execute:
        assert execute is not None
        generate(folder / "store", read_description(folder / "run.toml"), execute)
    return folder / "store"


def content(path: Path) -> dict[str, np.ndarray]:
    """All that is pinned of a store, by name."""
    store = Store(path)
    arrays = {n: np.asarray(a[:]) for n, a in zarr.open_group(path, mode="r").arrays()}
    found = {n: np.array(v.tolist()) if v.dtype.kind == "T" else v for n, v in arrays.items()}
    del found["source"]  # names the CIF file with its folder
    found["g"] = np.asarray(store.array("g")[..., EVERY_FIFTH])
    found["atoms"] = np.array(
        [
            [_fingerprint(atoms_of_row(path, structure, variant)) for variant in range(n_variants)]
            for n_variants in [found["label"].shape[1]]
            for structure in range(len(found["label"]))
        ]
    )
    found["input_hash"] = np.array(store.input_hash)
    return found


def _fingerprint(atoms: Any) -> str:
    """Elements, places to 1e-6 of the supercell, and displacements to 1e-9 A^2, of all atoms."""
    digest = hashlib.sha256("".join(atoms.elements).encode())
    digest.update(np.rint(1e6 * atoms.frac).astype("<i8").tobytes())
    digest.update(np.rint(1e9 * atoms.uiso).astype("<i8").tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("mixed", "vacancies") else ())
        for name in DESCRIPTIONS
    ],
)
def test_a_store_holds_what_it_always_held(tmp_path, name):
    found = content(make_store(tmp_path, name))
    with np.load(PINS / f"{name}.npz") as pinned:
        assert set(found) == set(pinned)
        for key, expected in pinned.items():
            if key == "g":
                limit = 1e-6 * np.abs(expected).max()
                np.testing.assert_allclose(found[key], expected, rtol=0, atol=limit)
            else:
                np.testing.assert_array_equal(found[key], expected, err_msg=key)


def test_all_six_space_groups_are_pinned():
    with np.load(PINS / "study.npz") as pinned:
        assert set(pinned["space_group"]) == set(SPACE_GROUPS)


def test_the_default_run_has_the_input_hash_that_it_always_had():
    description = read_description(None)
    assert hash_inputs(description, description.source.items()) == DEFAULT_INPUT_HASH


if __name__ == "__main__":
    import sys
    import tempfile

    for name in sys.argv[1:] or DESCRIPTIONS:
        with tempfile.TemporaryDirectory() as folder:
            np.savez_compressed(PINS / f"{name}.npz", **content(make_store(Path(folder), name)))
