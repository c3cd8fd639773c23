from __future__ import annotations

import numpy as np
import pytest

from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.relaxation.elasticity import COMPONENTS, elastic_constants
from defectgen.relaxation.springs import Bonds, Springs

HOSTS = embedded_library(published_only=True)


def bonds_of(host: Host) -> Bonds:
    return Bonds.between(np.array(host.frac), host.lattice / host.nearest_neighbour)


def found(springs: Springs) -> np.ndarray:
    return np.array([springs.elastic_constants[at] for at in COMPONENTS])


def host_of(element: str, space_group: int) -> Host:
    return next(h for h in HOSTS if (h.element, h.space_group) == (element, space_group))


@pytest.mark.parametrize(
    ("element", "group", "within"),
    [
        *(("Cu", 225, 1e-5), ("Ir", 225, 1e-5), ("Pb", 225, 1e-5)),
        *(("Fe", 229, 1e-5), ("Cr", 229, 1e-5), ("Na", 229, 1e-5)),
        *(("Mg", 194, 0.02), ("Ti", 194, 0.08), ("Zn", 194, 0.16)),
        *(("In", 139, 0.15), ("Sn", 141, 0.2)),
    ],
)
def test_springs_have_the_elastic_constants(element, group, within):
    host = host_of(element, group)
    constants = elastic_constants(element, group)
    springs = Springs.fitted(bonds_of(host), constants)
    np.testing.assert_allclose(found(springs), constants, atol=within)


def test_constants_of_elements_that_the_table_lacks():
    assert elastic_constants("Cu", 225)[1] == pytest.approx(121.4 / 168.4)
    # No bcc copper is tabulated: what bcc metals have in the middle.
    assert elastic_constants("Cu", 229)[4] == pytest.approx(elastic_constants("Zn", 229)[4])
    c11, c12, _, _, c44, _ = elastic_constants("Bi", 140)
    assert c44 == pytest.approx((c11 - c12) / 2)


def test_a_bond_is_there_from_both_ends():
    bonds = bonds_of(host_of("Zn", 194))
    ends = {
        (i, j, *vector)
        for i, j, vector in zip(
            bonds.first.tolist(), bonds.second.tolist(), bonds.vector.round(9).tolist(), strict=True
        )
    }
    assert len(ends) == len(bonds.length)
    assert ends == {(j, i, -x + 0.0, -y + 0.0, -z + 0.0) for i, j, x, y, z in ends}


@pytest.mark.parametrize("group", [225, 194, 229, 139, 141, 140])
def test_crystals_of_every_type_hold_together(group):
    host = next(h for h in HOSTS if h.space_group == group)
    springs = Springs.fitted(bonds_of(host), elastic_constants(host.element, group))
    waves = np.random.default_rng(0).uniform(0.05, 0.95, (20, 3))
    stiffness = springs.stiffness(springs.bonds.stretches(waves))
    np.testing.assert_allclose(stiffness, stiffness.conj().swapaxes(1, 2), atol=1e-12)
    assert np.linalg.eigvalsh(stiffness).min() > 0
    inverse = springs.inverted(waves)
    identity = np.eye(3 * springs.bonds.n_atoms)
    np.testing.assert_allclose(
        inverse @ stiffness, np.broadcast_to(identity, inverse.shape), atol=1e-8
    )


def test_a_crystal_that_is_not_stable_is_refused():
    host = host_of("Cu", 225)
    springs = Springs.fitted(bonds_of(host), elastic_constants("Cu", 225))
    soft = Springs(springs.bonds, springs.of_shells * [1.0, 10.0], springs.of_sum)
    with pytest.raises(ValueError, match="don't hold the crystal together"):
        soft.inverted(np.random.default_rng(0).uniform(0.05, 0.95, (20, 3)))
