"""What a host says of itself."""

import numpy as np
import pytest

from defectgen.hosts.elements import debye_uiso
from defectgen.hosts.host import SPACE_GROUPS
from defectgen.hosts.library import embedded_library

OF_GROUP = {host.space_group: host for host in embedded_library()}


@pytest.mark.parametrize("group", SPACE_GROUPS)
def test_other_lengths_keep_a_cubic_cell_cubic(group):
    host = OF_GROUP[group]
    other = host.changed(1.01 * host.a, 0.98 * host.c, 0.02)
    assert host.is_cubic == (group in (225, 229))
    assert other.a == 1.01 * host.a
    assert other.c == (other.a if host.is_cubic else 0.98 * host.c)
    assert other.uiso == 0.02
    assert type(host).model_validate(other.model_dump()) == other


@pytest.mark.parametrize("group", SPACE_GROUPS)
def test_its_atoms_are_those_of_its_cell(group):
    host = OF_GROUP[group]
    atoms = host.atoms
    np.testing.assert_array_equal(atoms.lattice, host.lattice)
    np.testing.assert_array_equal(atoms.frac, host.frac)
    assert set(atoms.elements) == {host.element}
    assert set(atoms.uiso) == {host.uiso}


def test_a_host_of_no_reported_temperature_is_at_that_of_a_room():
    host = OF_GROUP[225].model_copy(update={"temperature": None})
    assert host.kelvin == 300
    assert host.model_copy(update={"temperature": 77.0}).kelvin == 77
    assert debye_uiso("Cu") == debye_uiso("Cu", host.kelvin)
