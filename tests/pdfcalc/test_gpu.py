"""The torch engines against the CPU's, on the CPU and where there is one on a GPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import DefectSettings
from defectgen.point_defects.variants import HostSupercell
from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from pdfcalc.crystals.displacements import Occupied
from pdfcalc.gpu.lattice import LatticeBatch, pdfs
from pdfcalc.gpu.pairs import PairsBatch, _shifts, stack
from pdfcalc.gpu.pairs import pdfs as pairs_pdfs
from pdfcalc.gpu.response import MeshResponse
from pdfcalc.kernels.mesh import mesh_shares
from pdfcalc.pdf.lattice import Change

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]
PARAMETERS = PDFParameters(1.5, 8.0, 0.01, 0.6, 23.6, 0.03, 0.01)
POINTS = range(0, len(PARAMETERS.r), 7)
SMALL = DefectSettings(supercell=(3, 3, 3), variants_per_kind=1, mixed_variants=1)
DEVIATION = 1e-4
"""Of the largest |G|, from the CPU in float64."""


def hosts() -> list[Host]:
    """Of each space group the host that vibrates least and the one that vibrates most."""
    rising = sorted(embedded_library(), key=lambda host: host.uiso)
    chosen = [{host.space_group: host for host in order} for order in (rising, rising[::-1])]
    return [*chosen[0].values(), *chosen[1].values()]


def deviation(g: torch.Tensor, expected: np.ndarray) -> float:
    """Largest of the rows' deviations, each over the largest |G| of the row."""
    assert g.dtype == torch.float32
    away = np.abs(g.cpu().numpy() - expected).max(axis=-1)
    return float((away / np.abs(expected).max(axis=-1)).max())


@pytest.fixture(scope="module")
def drawn():
    """Supercells of the hosts, their changes, and G(r) by the CPU in the same order."""
    supercells = [HostSupercell(host, SMALL) for host in hosts()]
    changes = [
        [supercell.variant(0, index).change for index in range(SMALL.n_variants)]
        for supercell in supercells
    ]
    expected = [
        supercell.crystal.pdfs(of_host, PARAMETERS, POINTS)
        for supercell, of_host in zip(supercells, changes, strict=True)
    ]
    return [supercell.crystal for supercell in supercells], changes, np.concatenate(expected)


@pytest.mark.parametrize("device", DEVICES)
def test_lattice_engine_is_the_cpus(drawn, device):
    """All six space groups, pristine hosts, all four kinds of defect and each two of them."""
    crystals, changes, expected = drawn
    g = pdfs(crystals, changes, PARAMETERS, POINTS, device)
    assert deviation(g, expected) < DEVIATION


def test_results_do_not_depend_on_the_memory(drawn):
    crystals, changes, expected = drawn
    uiso = [c.uiso for c in crystals] + [c.uiso for of_one in changes for c in of_one]
    arguments = (PARAMETERS, POINTS, (2 * min(uiso), 2 * max(uiso)))
    for memory in (1, 10_000_000):
        batch = LatticeBatch(crystals, *arguments, memory=memory)
        assert deviation(batch.pdfs(batch.changes(changes)), expected) < DEVIATION


def test_few_nodes_do_for_any_uiso():
    """Of single pairs, against matrices made for one sum of Uiso each."""
    cpu = torch.device("cpu")
    u_sums = (0.002, 0.4)
    every = MeshResponse(PARAMETERS, POINTS, 2.0, u_sums, cpu)
    for u_sum in np.geomspace(*u_sums, 7):
        exact = MeshResponse(PARAMETERS, POINTS, 2.0, (u_sum, u_sum), cpu)
        assert exact.n_nodes == 1
        g = []
        for response in (every, exact):
            first, shares = mesh_shares(np.array([4.321]), response.step)
            weights = torch.zeros(1, 1, response.size)
            weights[0, 0, first[0] : first[0] + 8] = torch.from_numpy(shares[0]).float()
            g.append(response.pdfs(weights, torch.tensor([[u_sum]]), torch.zeros(1)))
        assert deviation(g[0], g[1].numpy()) < 2e-5


@pytest.mark.parametrize(
    "further",
    [
        {"qmax": None, "qmin": 0.0},
        {"delta2": 1.5},
        {"scattering": "neutron", "qmax": 15.0, "spdiameter": 12.0, "scale": 0.8},
    ],
    ids=lambda further: next(iter(further)),
)
def test_lattice_engine_with_other_parameters(further):
    values = {"rmin": 1.5, "rmax": 8.0, "rstep": 0.02, "qmin": 0.6, "qmax": 23.6, "qbroad": 0.01}
    parameters = PDFParameters(**{**values, **further})
    host = next(host for host in hosts() if host.space_group == 225)
    supercell = HostSupercell(host, SMALL)
    changes = [supercell.variant(1, index).change for index in range(1, SMALL.n_variants)]
    points = range(0, len(parameters.r), 3)
    g = pdfs([supercell.crystal], [changes], parameters, points)
    expected = supercell.crystal.pdfs(changes, parameters, points)
    assert deviation(g, expected) < DEVIATION


def test_any_change_of_a_crystal_is_counted():
    """Emptied and filled sites that are partly the same."""
    supercell = HostSupercell(hosts()[0], SMALL)
    rng = np.random.default_rng(0)

    def some(n_sites: int, count: int) -> Occupied:
        return Occupied(rng.integers(n_sites, size=count), rng.integers(3, size=(count, 3)))

    n_host, n_sites = supercell.crystal.n_filled, len(supercell.crystal.sites.frac)
    removed, others, own = some(n_host, 1), some(n_sites, 1), some(n_host, 2)
    own = Occupied(own.site + n_host, own.cell)
    added = Occupied(
        np.array([removed.site[0], n_host]), np.concatenate([removed.cell, others.cell])
    )
    changes = [
        Change(removed, added, "Pb", 0.011),
        Change(removed, removed, "Pb", 0.011, own),
        Change(added[:0], added[:0], "Pb", 0.011),
    ]
    arguments = (PARAMETERS, POINTS)
    expected = supercell.crystal.pdfs(changes, *arguments)
    assert deviation(pdfs([supercell.crystal], [changes], *arguments), expected) < DEVIATION


def _alloy(n_atoms: int, rng: np.random.Generator) -> AtomicStructure:
    cells = np.indices((2, 2, 2)).reshape(3, -1).T
    frac = (cells[:, None] + np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])) / 2
    frac = frac.reshape(-1, 3)[:n_atoms] + rng.normal(0, 0.01, (n_atoms, 3))
    lattice = 7.5 * np.eye(3) + rng.uniform(-0.5, 0.5, (3, 3))
    elements = rng.choice(["Cu", "Au"], n_atoms)
    uiso, occupancy = np.where(elements == "Au", [[0.004], [0.9]], [[0.009], [1.0]])
    return AtomicStructure(lattice, frac, elements, uiso, occupancy)


@pytest.mark.parametrize("device", DEVICES)
def test_pairs_engine_is_the_cpus(device):
    """Displaced alloys of different sizes in skewed cells, a perfect crystal, a particle."""
    rng = np.random.default_rng(0)
    structures = [_alloy(n_atoms, rng) for n_atoms in (32, 32, 27, 3)]
    structures.append(AtomicStructure(3.6 * np.eye(3), np.zeros((1, 3)), ["Cu"], [0.006]))
    positions = rng.uniform(0, 9, (20, 3))
    structures.append(AtomicStructure.finite(positions, ["Cu"] * 20, [0.006] * 20))
    parameters, points = PARAMETERS, list(POINTS)
    g = pairs_pdfs(structures, parameters, points, device)
    expected = [calculate_pdf(s, parameters, "pairs")[1][points] for s in structures]
    assert deviation(g, np.array(expected)) < DEVIATION
    _, lattice = calculate_pdf(structures[0], parameters, "lattice")
    assert deviation(g[:1], lattice[None, points]) < DEVIATION
    batch = PairsBatch(parameters, points, (0.008, 0.018), device, memory=1_000_000)
    parts = batch.pdfs(stack(structures, parameters, device))
    assert deviation(parts, np.array(expected)) < DEVIATION


def test_correlated_motion_needs_the_shortest_distance():
    copper = AtomicStructure(3.6 * np.eye(3), np.zeros((1, 3)), ["Cu"], [0.006])
    parameters = replace(PARAMETERS, delta2=2.2)
    with pytest.raises(ValueError, match="give `shortest`"):
        pairs_pdfs([copper], parameters, list(POINTS))
    g = pairs_pdfs([copper], parameters, list(POINTS), shortest=3.5)
    expected = calculate_pdf(copper, parameters, "pairs")[1][None, list(POINTS)]
    assert deviation(g, expected) < DEVIATION


def test_images_are_those_of_the_crystals():
    """A particle's frame has no meaning, so it must not add images."""
    crystal = AtomicStructure(9 * np.eye(3), np.zeros((1, 3)), ["Cu"], [0.006])
    particle = AtomicStructure.finite([[0, 0, 0], [2.5, 0, 0]], ["Cu"] * 2, [0.006] * 2)
    alone, mixed = (
        _shifts(stack(batch, PARAMETERS, "cpu"), 20.0) for batch in ([crystal], [crystal, particle])
    )
    assert torch.equal(alone, mixed)
    assert len(_shifts(stack([particle], PARAMETERS, "cpu"), 20.0)) == 1


def test_too_many_species_are_refused():
    structure = AtomicStructure(
        9 * np.eye(3), np.random.default_rng(0).random((20, 3)), ["Cu"] * 20, np.arange(1, 21) / 1e3
    )
    with pytest.raises(ValueError, match="use calculate_pdf"):
        stack([structure], PARAMETERS, "cpu")


def test_form_factors_that_depend_on_q_are_refused(drawn):
    crystals, changes, _ = drawn
    falling = replace(PARAMETERS, form_factors="q_dependent")
    with pytest.raises(ValueError, match="form_factors = 'q_dependent'"):
        pdfs(crystals[:1], changes[:1], falling, POINTS)
    with pytest.raises(ValueError, match="form_factors = 'q_dependent'"):
        pairs_pdfs([crystals[0].changed(changes[0][0])], falling, POINTS)
