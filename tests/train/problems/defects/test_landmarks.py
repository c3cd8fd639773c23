from __future__ import annotations

import math

import numpy as np
import pytest

from defectgen.hosts.host import Host
from train.problems.defects.landmarks import landmarks_along_q, landmarks_along_r

R = np.linspace(1.5, 30, 300)


def cubic(space_group: int, a: float, uiso: float = 0.005) -> Host:
    shifts = {225: [np.roll((0, 0.5, 0.5), k) for k in range(3)], 229: [(0.5, 0.5, 0.5)]}
    frac = [(0, 0, 0), *shifts[space_group]]
    return Host(
        id="host",
        element="Cu",
        space_group=space_group,
        a=a,
        c=a,
        wyckoff=(f"{len(frac)}a",) * len(frac),
        frac=tuple(tuple(map(float, x)) for x in frac),
        uiso=uiso,
        uiso_source="debye",
        origin="published",
        source="a test",
    )


def test_distances_in_face_centred_cubic():
    found = landmarks_along_r(cubic(225, 4.0), R)
    assert found.unit == pytest.approx(math.sqrt(8))
    own, between = found.positions.values()
    np.testing.assert_allclose(own[:4], 4 * np.sqrt([1 / 2, 1, 3 / 2, 2]))
    # a sqrt(3)/4 from the tetrahedral site, a/2 from the octahedral one.
    np.testing.assert_allclose(between[:4], [math.sqrt(3), 2, math.sqrt(11), 2 * math.sqrt(3)])


def test_regions_are_where_atoms_are_denser_than_on_average():
    found = landmarks_along_r(cubic(225, 4.0), R)

    def region(distance: float) -> str:
        nearest = np.abs(R - distance).argmin()
        (name,) = [name for name, of in found.regions.items() if of[nearest]]
        return name

    distances = (math.sqrt(8), 2.0, 4 * math.sqrt(10) / 2, 2.4)
    assert [region(x) for x in distances] == [
        *("host shells", "interstitial distances", "host shells", "neither")
    ]
    assert sum(of.astype(int) for of in found.regions.values()).tolist() == [1] * len(R)


@pytest.mark.parametrize(
    ("space_group", "squares", "in_phase"),
    [(225, [3, 4, 8, 11, 12, 16], [8, 16]), (229, [2, 4, 6, 8, 10, 12, 14, 16], [4, 8, 16])],
)
def test_reflections_and_what_interstitials_add_to_them(space_group, squares, in_phase):
    """By hand, octahedral and tetrahedral sites: 111 of fcc -1 and 0, 222 of bcc 1 and -1, ..."""
    host = cubic(space_group, 2 * math.pi)
    q = np.arange(0.5, 4.05, 0.05)
    found = landmarks_along_q(host, q, rmax=30.0)
    adds, subtracts = (np.rint(of[of < 4.02] ** 2).tolist() for of in found.positions.values())
    assert sorted(adds + subtracts) == squares
    assert adds == in_phase
    assert found.unit == pytest.approx(math.sqrt(squares[0]))
    on_first = np.abs(q - found.unit).argmin()
    assert found.inside["out of phase"][on_first]
    assert found.regions["neither"][0]
