from __future__ import annotations

import math

import numpy as np
import pytest

from pdfcalc.crystals.cif_displacements import displacements

A, C = 2.665, 4.947
HEXAGONAL = np.array([[A, 0, 0], [-A / 2, A * math.sqrt(0.75), 0], [0, 0, C]])
U11, U33 = 0.015, 0.027
COMPONENTS = ("11", "22", "33", "12", "13", "23")


def tensor(kind: str, scale: np.ndarray, label: str = "Zn1") -> dict[str, list[str | None]]:
    """Tags of a uniaxial tensor along c, whose mean is (2 U11 + U33) / 3."""
    u = np.array([[U11, U11 / 2, 0], [U11 / 2, U11, 0], [0, 0, U33]]) * scale
    values = (u[0, 0], u[1, 1], u[2, 2], u[0, 1], u[0, 2], u[1, 2])
    tags: dict[str, list[str | None]] = {"_atom_site_aniso_label": [label]}
    for name, value in zip(COMPONENTS, values, strict=True):
        tags[f"_atom_site_aniso_{kind}_{name}"] = [f"{value:.12f}"]
    return tags


RECIPROCAL = np.linalg.norm(np.linalg.inv(HEXAGONAL), axis=0)


@pytest.mark.parametrize(
    ("kind", "scale"),
    [
        ("u", np.ones((3, 3))),
        ("b", np.full((3, 3), 8 * math.pi**2)),
        ("beta", 2 * math.pi**2 * np.outer(RECIPROCAL, RECIPROCAL)),
    ],
)
def test_tensors_of_any_convention_give_their_mean(kind, scale):
    (found,) = displacements(tensor(kind, scale), HEXAGONAL, ["Zn1"])
    assert found.uiso == pytest.approx((2 * U11 + U33) / 3)
    assert found.anisotropic
    assert found.left_out is None


def test_a_usable_value_is_taken_before_one_that_is_not():
    tags = tensor("u", np.ones((3, 3))) | {"_atom_site_u_iso_or_equiv": ["0.0"]}
    (found,) = displacements(tags, HEXAGONAL, ["Zn1"])
    assert found.uiso == pytest.approx((2 * U11 + U33) / 3)
    tags = {"_atom_site_u_iso_or_equiv": ["0.6"], "_atom_site_b_iso_or_equiv": ["0.5"]}
    (found,) = displacements(tags, HEXAGONAL, ["Zn1"])
    assert found.uiso == pytest.approx(0.5 / (8 * math.pi**2))


def test_what_no_atom_can_have_is_left_out():
    (found,) = displacements({"_atom_site_u_iso_or_equiv": ["0.6"]}, HEXAGONAL, ["Zn1"])
    assert (found.uiso, found.left_out) == (None, 0.6)


def test_each_of_two_atoms_of_one_label_has_its_own_tensor():
    one, two = tensor("u", np.ones((3, 3))), tensor("u", np.full((3, 3), 2.0))
    both = {tag: one[tag] + two[tag] for tag in one}
    found = displacements(both, HEXAGONAL, ["Zn1", "Zn1"])
    mean = (2 * U11 + U33) / 3
    assert [atom.uiso for atom in found] == pytest.approx([mean, 2 * mean])
    with pytest.raises(ValueError, match="'Zn1' has 2 displacement tensors"):
        displacements(both, HEXAGONAL, ["Zn1"])
