"""Powder patterns of drawn defects, on sites and moved off them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from defectgen.hosts.host import SPACE_GROUPS, Host
from defectgen.hosts.library import embedded_library
from defectgen.plugins import find_plug_in
from defectgen.point_defects.settings import KINDS, DefectSettings
from defectgen.point_defects.variants import HostSupercell
from defectgen.samples import LatticeView, Resources, Sample, UnusableItem
from hpc.observables.powder import PowderPattern
from pdfcalc import AtomicStructure, calculate_powder_pattern

DEFAULT, ONE_THREAD = PowderPattern(), Resources()
SETTINGS = DefectSettings(supercell=(3, 3, 3), variants_per_kind=1)


def host_of(space_group: int) -> Host:
    return next(host for host in embedded_library() if host.space_group == space_group)


def samples_of(host: Host, settings: DefectSettings = SETTINGS) -> list[Sample]:
    """All variants of a host, as a source draws them."""
    supercell = HostSupercell(host, settings)
    variants = [supercell.variant(0, index) for index in range(settings.n_variants)]
    return [
        Sample(
            (0, host.id, index),
            lambda variant=variant: supercell.atoms(variant),
            LatticeView(supercell.crystal, variant.change),
        )
        for index, variant in enumerate(variants)
    ]


def moved(sample: Sample, amplitude: float) -> Sample:
    """A sample whose atoms a stage has put elsewhere, by so many A at random."""
    atoms = sample.atoms()
    steps = np.random.default_rng(sample.key[2]).normal(0, amplitude, atoms.frac.shape)
    frac = atoms.frac + steps @ np.linalg.inv(atoms.lattice)
    there = AtomicStructure(atoms.lattice, frac, atoms.elements, atoms.uiso)
    return replace(sample, atoms=lambda: there, lattice=None)


@pytest.mark.parametrize("space_group", SPACE_GROUPS)
def test_what_is_stored_is_what_is_declared(space_group):
    samples = samples_of(host_of(space_group))
    [(name, patterns)] = DEFAULT.compute(samples, ONE_THREAD).items()
    field = DEFAULT.fields()[name]
    coordinates = DEFAULT.coordinates()
    assert field.dims == tuple(coordinates) == ("two_theta",)
    angles = coordinates["two_theta"].values
    assert patterns.shape == (len(samples), len(angles)) == (5, 2001)
    assert patterns.dtype == field.dtype
    assert np.isfinite(patterns).all()
    assert (angles[0], angles[-1], angles[1]) == (20.0, 120.0, 20.05)


@pytest.mark.parametrize("space_group", SPACE_GROUPS)
def test_the_pristine_host_has_the_pattern_of_its_cell(space_group):
    host = host_of(space_group)
    n = len(host.frac)
    cell = AtomicStructure(host.lattice, host.frac, [host.element] * n, [host.uiso] * n)
    _, expected = calculate_powder_pattern(cell, DEFAULT.parameters)
    pristine = samples_of(host)[:1]
    for sample in (pristine[0], replace(pristine[0], lattice=None)):
        [found] = DEFAULT.compute([sample], ONE_THREAD)["intensity"]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * expected.max())


def test_vacancies_lower_every_line_on_the_scale_of_the_host():
    """Where a share x of the atoms is missing at random, (1 - x)^2 of the intensity is left."""
    host = host_of(225)
    settings = DefectSettings(kinds=("vacancy",), fraction=(0.09, 0.10))
    pristine, *defective = DEFAULT.compute(samples_of(host, settings), ONE_THREAD)["intensity"]
    lines = pristine > 0.1 * pristine.max()
    for pattern in defective:
        np.testing.assert_allclose(pattern[lines] / pristine[lines], 0.905**2, atol=0.015)


def test_every_kind_of_defect_changes_the_pattern():
    pristine, *defective = DEFAULT.compute(samples_of(host_of(229)), ONE_THREAD)["intensity"]
    assert len(defective) == len(KINDS)
    for pattern in defective:
        assert np.abs(pattern - pristine).max() > 0.01 * pristine.max()


def test_moved_atoms_scatter_between_the_lines_and_less_into_them():
    pristine, *_ = samples_of(host_of(225))
    at_rest, shaken = DEFAULT.compute([pristine, moved(pristine, 0.1)], ONE_THREAD)["intensity"]
    line = at_rest > 0.5 * at_rest.max()
    between = at_rest < 1e-6 * at_rest.max()
    assert shaken[line].sum() < 0.99 * at_rest[line].sum()
    assert shaken[between].sum() > 100 * at_rest[between].sum()


def test_all_samples_of_an_item_are_computed_alike():
    """With one moved, the other is taken by its supercell, too: defects scatter between lines."""
    pristine, vacancies, *_ = samples_of(host_of(225))
    [_, alone] = DEFAULT.compute([pristine, vacancies], ONE_THREAD)["intensity"]
    [_, beside] = DEFAULT.compute([moved(pristine, 0.05), vacancies], ONE_THREAD)["intensity"]
    _, expected = calculate_powder_pattern(vacancies.atoms(), DEFAULT.parameters)
    np.testing.assert_array_equal(beside, expected.astype(np.float32))
    between = alone < 1e-6 * alone.max()
    assert beside[between].sum() > 100 * alone[between].sum()


def test_the_same_samples_have_the_same_bytes():
    first, second = (
        DEFAULT.compute(samples_of(host_of(194)), ONE_THREAD)["intensity"].tobytes() for _ in "ab"
    )
    assert first == second


def test_a_sample_without_reflections_is_unusable():
    particle = AtomicStructure.finite([[0, 0, 0]], ["Cu"], [0.006])
    with pytest.raises(UnusableItem, match="a particle without periodic images"):
        DEFAULT.compute([Sample((0, "particle", 0), lambda: particle)], ONE_THREAD)


def test_settings_are_found_by_name_and_their_mistakes_named():
    assert find_plug_in("hpc.observables", "powder") is PowderPattern
    given = {"wavelength": 0.7093, "two_theta": [5, 60], "points": 1101, "fwhm": 0.1}
    settings = PowderPattern.model_validate(given)
    assert PowderPattern.model_validate_json(settings.model_dump_json()) == settings
    assert settings.coordinates()["two_theta"].values[-1] == 60
    with pytest.raises(ValidationError, match=r"fwhm = 0\.05: must be at least two steps"):
        PowderPattern(fwhm=0.05)
    with pytest.raises(ValidationError, match=r"two_theta = 20\.0, 190\.0: must rise"):
        PowderPattern(two_theta=(20.0, 190.0))


def test_elements_without_form_factors_are_known_beforehand():
    assert DEFAULT.lack("Cf") is None
    assert DEFAULT.lack("Es") == "no X-ray form factor is tabulated"
