"""Fresh draws: what a row depends on, that its traces are of its atoms, and what varies."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from defects import assert_holds_what_it_says
from pydantic import ValidationError
from scipy.stats import kstest

from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import KIND_SETS, DefectSettings
from hpc.observables.pdf import PDFSettings
from pdfcalc import calculate_pdf
from train.problems.defects.fresh_draws import FreshDraws, FreshPDFs, Variation

SMALL = DefectSettings(
    supercell=(3, 3, 3), fraction=(0.05, 0.1), impurities=("Al", "Cu", "W", "Pb")
)
SHORT = PDFSettings(rmax=8.0, points=80)
EVERYTHING = Variation(
    strain=0.02,
    uiso=0.5,
    qmax=(18, 24),
    qdamp=(0.01, 0.05),
    qbroad=(0, 0.02),
    rmax=(5, 8),
    scale=0.1,
    noise=0.02,
    distortion=0.05,
    epochs=2,
)
HOST, LABEL = np.repeat(np.arange(6), 8), np.tile(np.arange(8) % 4 + 1, 6)
NUMBER = np.tile(np.arange(8) // 4, 6)


def hosts() -> list[Host]:
    return list({host.space_group: host for host in embedded_library()}.values())


def fresh(variation: Variation, seed: int = 5, defects: DefectSettings = SMALL) -> FreshDraws:
    return FreshDraws(hosts(), defects, SHORT, variation, seed)


def away(some: FreshPDFs, other: FreshPDFs) -> torch.Tensor:
    """(n,) largest difference of the defective traces over the largest |G|."""
    largest = some.defective.abs().amax(dim=1)
    return (some.defective - other.defective).abs().amax(dim=1) / largest


def assert_same(some: FreshPDFs, other: FreshPDFs, rows: np.ndarray) -> None:
    """`some` is those rows of `other`, to the last bit."""
    for name in ("pristine", "defective", "concentration", "atomic_number"):
        assert torch.equal(getattr(some, name), getattr(other, name)[rows]), name


def test_a_row_depends_on_its_host_number_label_and_epoch_alone():
    """Not on the other rows, their order, what was drawn before or the number of threads."""
    every = fresh(EVERYTHING).draw(HOST, LABEL, NUMBER, 3)
    draws = fresh(EVERYTHING)
    draws.draw(HOST[::5], LABEL[::5], NUMBER[::5], 0)
    order = np.random.default_rng(1).permutation(len(HOST))
    before = torch.get_num_threads()
    try:
        for n_threads, rows in ((1, order[:1]), (3, order[1:30]), (1, order)):
            torch.set_num_threads(n_threads)
            some = draws.draw(HOST[rows], LABEL[rows], NUMBER[rows], 3)
            assert_same(some, every, rows)
    finally:
        torch.set_num_threads(before)
    reversed_hosts = FreshDraws(hosts()[::-1], SMALL, SHORT, EVERYTHING, 5)
    assert_same(reversed_hosts.draw(5 - HOST, LABEL, NUMBER, 3), every, np.arange(len(HOST)))


def test_what_a_row_depends_on_changes_its_defects():
    draws = fresh(Variation())
    first = draws.draw(HOST, LABEL, NUMBER, 0)
    others = [
        draws.draw(HOST, LABEL, NUMBER, 1),
        draws.draw(HOST, LABEL, NUMBER + 2, 0),
        fresh(Variation(), seed=6).draw(HOST, LABEL, NUMBER, 0),
    ]
    for other in others:
        assert (away(first, other) > 1e-4).all()
        assert torch.equal(first.pristine, other.pristine)


def test_without_variation_pristine_traces_are_the_stored_ones(real_store):
    draws = FreshDraws.of_store(real_store, Variation(), seed=0)
    stored = zarr.open_group(real_store, mode="r")["g"][:, 0]
    every = np.arange(len(stored))
    drawn = draws.draw(every, 1 + every % 4, 0 * every, 0)
    np.testing.assert_allclose(drawn.pristine, stored, atol=2e-5 * np.abs(stored).max())


def test_traces_are_of_the_atoms_in_their_cell_and_instrument():
    """The atoms of each row's variant, by the engine that takes atoms anywhere."""
    variation = EVERYTHING.model_copy(
        update={"scale": 0.0, "noise": 0.0, "distortion": 0.0, "rmax": None}
    )
    draws = fresh(variation)
    rows = np.arange(0, len(HOST), 3)
    drawn = draws.draw(HOST[rows], LABEL[rows], NUMBER[rows], 4)
    for row, (host, label, number) in enumerate(
        zip(HOST[rows], LABEL[rows], NUMBER[rows], strict=True)
    ):
        supercell, variant, pdf = draws.variant(host, label, number, 4)
        assert variant.label == label
        assert variant.concentration == pytest.approx(drawn.concentration[row].item())
        own, varied = hosts()[host], supercell.host
        assert 0 < abs(varied.a / own.a - 1) < 0.02
        assert (varied.c / varied.a == own.c / own.a) == (own.space_group in (225, 229))
        assert 1 / 1.5 < varied.uiso / own.uiso < 1.5
        assert 18 <= pdf.qmax <= 24
        assert pdf.qmin == SHORT.qmin
        for trace, atoms in (
            (drawn.pristine[row], supercell.atoms(supercell.variant(0, 0))),
            (drawn.defective[row], supercell.atoms(variant)),
        ):
            expected = calculate_pdf(atoms, pdf.parameters, "pairs")[1][pdf.stored]
            assert np.abs(trace.numpy() - expected).max() < 3e-5 * np.abs(expected).max()
        impurity = set(supercell.atoms(variant).elements) - {own.element}
        assert bool(impurity) == (label in (3, 4)) == bool(drawn.atomic_number[row])


def test_two_kinds_at_once_are_drawn_where_the_store_has_them():
    mixed = SMALL.model_copy(update={"fraction": (0.03, 0.1), "mixed_variants": 1})
    draws = fresh(Variation(), defects=mixed)
    host, label = np.repeat(np.arange(6), 6), np.tile(np.arange(5, 11), 6)
    drawn = draws.draw(host, label, 0 * host, 2)
    for row, (h, which) in enumerate(zip(host.tolist(), label.tolist(), strict=True)):
        supercell, variant, pdf = draws.variant(h, which, 0, 2)
        assert_holds_what_it_says(supercell, variant)
        assert (variant.label, len(KIND_SETS[which])) == (which, 2)
        expected = calculate_pdf(supercell.atoms(variant), pdf.parameters, "pairs")[1][pdf.stored]
        away = np.abs(drawn.defective[row].numpy() - expected).max()
        assert away < 3e-5 * np.abs(expected).max()
    with pytest.raises(ValueError, match="label 10: the kinds of defect are 0 to 4"):
        fresh(Variation()).draw(host, label, 0 * host, 0)


def test_cells_and_instruments_stay_for_some_epochs():
    draws = fresh(EVERYTHING.model_copy(update={"rmax": None}))
    pristine = [draws.draw(HOST, LABEL, NUMBER, epoch).pristine for epoch in range(4)]
    same = [(one == next_).all(dim=1).numpy() for one, next_ in pairwise(pristine)]
    np.testing.assert_array_equal(same[0], ~same[1])
    np.testing.assert_array_equal(same[0], same[2])
    # Not all instruments change at once.
    assert 0 < same[0].sum() < len(HOST)


def test_scale_and_noise_are_as_large_as_asked_for():
    host, number = np.zeros(400, dtype=int), np.arange(400)
    label = number % 4 + 1
    clean, scaled, noisy = (
        fresh(variation).draw(host, label, number, 0)
        for variation in (Variation(), Variation(scale=0.2), Variation(noise=0.1))
    )
    assert torch.equal(clean.pristine, scaled.pristine)
    assert torch.equal(clean.pristine, noisy.pristine)
    factor = (scaled.defective / clean.defective).double()
    np.testing.assert_allclose(factor.std(dim=1), 0, atol=1e-5)
    assert kstest(factor.median(dim=1)[0], "uniform", (0.8, 0.4)).pvalue > 1e-3
    noise = (noisy.defective - clean.defective) / clean.pristine.abs().amax(dim=1, keepdim=True)
    deviation = noise.std(dim=1, keepdim=True)
    assert kstest(deviation[:, 0], "uniform", (0, 0.1)).pvalue > 1e-3
    white = (noise / deviation).double()
    assert kstest(white.flatten()[::7], "norm").pvalue > 1e-3
    assert abs((white[:, 1:] * white[:, :-1]).mean()) < 0.03


def test_label_0_is_the_host_itself():
    drawn = fresh(Variation()).draw(HOST, 0 * LABEL, NUMBER, 0)
    assert torch.equal(drawn.pristine, drawn.defective)
    assert not drawn.concentration.any()
    assert not drawn.atomic_number.any()


def test_distortions_are_errors_that_change_slowly_with_q():
    host, number = np.zeros(300, dtype=int), np.arange(300)
    clean, distorted = (
        fresh(Variation(distortion=(x, x))).draw(host, 0 * host, number, 0).defective.double()
        for x in (0.0, 0.05)
    )
    r = SHORT.parameters.r[SHORT.stored]
    q = np.linspace(4, 20, 60)
    transform = torch.from_numpy(np.sin(np.outer(q, r)))
    error = (distorted - clean) @ transform.T
    ratio = (error.square().mean() / (clean @ transform.T).square().mean()).sqrt()
    assert 0.035 < ratio < 0.065
    # Neighbours in Q err alike, others do not.
    alike = torch.corrcoef(error.T).abs()
    near, far = (alike.diagonal(offset=step).mean() for step in (1, 20))
    assert near > 0.5
    assert far < 0.6 * near


def test_a_range_is_what_its_number_stands_for():
    number, range_ = (
        fresh(Variation(**values)).draw(HOST, LABEL, NUMBER, 0)
        for values in (
            {"strain": 0.02, "uiso": 0.5, "scale": 0.1, "noise": 0.02},
            {
                "strain": (-0.02, 0.02),
                "uiso": (2 / 3, 1.5),
                "scale": (-0.1, 0.1),
                "noise": (0, 0.02),
            },
        )
    )
    assert away(number, range_).max() < 1e-6
    assert torch.equal(number.concentration, range_.concentration)


def test_equal_ends_of_a_range_give_the_value_to_all_rows():
    host, number = np.zeros(40, dtype=int), np.arange(40)
    label = number % 4 + 1
    clean = fresh(Variation()).draw(host, label, number, 0)
    scaled = fresh(Variation(scale=(-0.05, -0.05))).draw(host, label, number, 0)
    assert torch.equal(scaled.defective, clean.defective * 0.95)
    noisy = fresh(Variation(noise=(0.02, 0.02))).draw(host, label, number, 0)
    noise = (noisy.defective - clean.defective) / clean.pristine.abs().max()
    assert kstest(noise.flatten(), "norm", (0, 0.02)).pvalue > 1e-3
    own = hosts()[0]
    supercell, *_ = fresh(Variation(strain=(0.01, 0.01), uiso=(0.7, 0.7))).variant(0, 1, 0, 0)
    assert supercell.host.a == own.a * 1.01
    assert supercell.host.uiso == own.uiso * 0.7


def test_traces_end_where_their_measurement_does():
    host, number = np.zeros(400, dtype=int), np.arange(400)
    label = number % 4 + 1
    whole, cut = (
        fresh(Variation(noise=0.02, rmax=rmax)).draw(host, label, number, 0)
        for rmax in (None, (4, 7))
    )
    r = SHORT.parameters.r[SHORT.stored]
    inside = cut.pristine != 0
    assert torch.equal(inside, cut.defective != 0)
    for of_whole, of_cut in ((whole.pristine, cut.pristine), (whole.defective, cut.defective)):
        assert torch.equal(of_cut, of_whole * inside)
    ends = r[inside.sum(dim=1) - 1]
    assert (inside.diff(dim=1).sum(dim=1) == 1).all()
    assert kstest(ends, "uniform", (4, 3)).pvalue > 1e-3
    single = fresh(Variation(noise=0.02, rmax=(4, 7))).draw(host[7:8], label[7:8], number[7:8], 0)
    assert_same(single, cut, np.array([7]))


def test_a_measurement_to_the_end_of_the_grid_changes_nothing():
    plain, ended = (
        fresh(Variation(noise=0.02, scale=0.1, rmax=rmax)).draw(HOST, LABEL, NUMBER, 0)
        for rmax in (None, (8, 8))
    )
    assert_same(ended, plain, np.arange(len(HOST)))


def test_few_hosts_are_kept_where_there_are_many(monkeypatch):
    expected = fresh(EVERYTHING).draw(HOST, LABEL, NUMBER, 0)
    monkeypatch.setattr("train.problems.defects.fresh_draws._TOGETHER", 2)
    monkeypatch.setattr("train.problems.defects.fresh_draws._MOST_KEPT", 3)
    draws = fresh(EVERYTHING)
    for _ in range(2):
        assert_same(draws.draw(HOST, LABEL, NUMBER, 0), expected, np.arange(len(HOST)))
    assert sum(map(len, draws._kept.values())) <= 3


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="label -1: the kinds of defect are 0 to 4"):
        fresh(Variation()).draw(HOST, LABEL - 2, NUMBER, 0)
    crowded = SMALL.model_copy(update={"fraction": (0.5, 0.5), "separation": 2.0})
    with pytest.raises(ValueError, match=rf"{hosts()[2].id}: no room for so many interstitials"):
        fresh(Variation(), defects=crowded).draw(np.array([2]), np.array([4]), np.array([0]), 0)
    narrow = SMALL.model_copy(update={"fraction": (0.001, 0.0011)})
    with pytest.raises(ValueError, match=rf"{hosts()[1].id}: no number of its"):
        fresh(Variation(), defects=narrow).draw(np.array([1]), np.array([1]), np.array([0]), 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strain": 0.3}, r"strain = \[-0.3, 0.3\]: need -0.2 <= low <= high <= 0.2"),
        ({"noise": -0.1}, r"noise = -0.1: give a positive number, or \[low, high\]"),
        ({"noise": (-0.1, 0.1)}, r"noise = \[-0.1, 0.1\]: need 0 <= low <= high "),
        ({"uiso": -1.0}, "uiso = -1"),
        ({"uiso": (0.0, 1.0)}, "uiso"),
        ({"scale": 1.0}, "scale"),
        ({"epochs": 0}, "epochs"),
        ({"qmin": (0, 1)}, "qmin"),
        ({"qdamp": (0.03, 0.02)}, r"qdamp = \[0.03, 0.02\]: need 0 <= low <= high"),
        ({"qbroad": (-0.1, 0.02)}, "qbroad"),
    ],
)
def test_variations_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        Variation(**values)


def test_instruments_that_the_grid_does_not_allow_are_refused():
    with pytest.raises(ValueError, match=r"can't vary so: .*qmin = 0.6: must be less than qmax"):
        fresh(Variation(qmax=(0.5, 20)))
    with pytest.raises(ValueError, match=r"can't vary so: .*too coarse for qmax = 400"):
        fresh(Variation(qmax=(20, 400)))
    for rmax in ((1.5, 8), (4, 8.1)):
        with pytest.raises(ValueError, match=r"rmax can't vary in .*: it must be above rmin = 1.5"):
            fresh(Variation(rmax=rmax))


def test_a_store_without_its_hosts_is_refused(real_store, tmp_path):
    with pytest.raises(ValueError, match="is not a store"):
        FreshDraws.of_store(tmp_path, Variation(), seed=0)
    store = tmp_path / "store.zarr"
    store.mkdir()
    (store / "zarr.json").write_bytes((Path(real_store) / "zarr.json").read_bytes())
    with pytest.raises(ValueError, match=r"library\.json does not hold the hosts .*: put back"):
        FreshDraws.of_store(store, Variation(), seed=0)
