"""Variants drawn and computed at once, against the CPU's G(r) of the same atoms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.gpu_draws import DefectDraws, random_seeds
from defectgen.point_defects.settings import IMPURITY_KINDS, KIND_SETS, DefectSettings
from defectgen.point_defects.variants import HostSupercell
from hpc.observables.pdf import PDFSettings
from train.problems.defects.streaming import TorchLattice, VariantStream

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]
SMALL = DefectSettings(supercell=(3, 3, 3), mixed_variants=1)
SHORT = PDFSettings(rmax=8.0, points=100)
N = len(KIND_SETS)


def hosts() -> list[Host]:
    return list({host.space_group: host for host in embedded_library()}.values())


def seeds(n_rows: int, seed: int) -> torch.Tensor:
    return random_seeds(n_rows, torch.Generator().manual_seed(seed))


def assert_are_of_changes(g: torch.Tensor, draws: DefectDraws, drawn, pdf: PDFSettings) -> None:
    for row, host in enumerate(drawn.host):
        change = draws.variant(drawn, row).change
        crystal = draws.supercells[host].crystal
        (expected,) = crystal.pdfs([change], pdf.parameters, pdf.stored.tolist())
        away = np.abs(g[row].cpu().numpy() - expected).max()
        assert away < 5e-5 * np.abs(expected).max()


@pytest.mark.parametrize("device", DEVICES)
def test_fresh_variants_are_those_of_their_changes(device):
    stream = VariantStream(hosts(), SMALL, SHORT, device)
    host, label = np.repeat(np.arange(6), N), np.tile(np.arange(N), 6)
    g, drawn = stream.draw(host, label, seeds(6 * N, 3))
    again, _ = stream.draw(host, label, seeds(6 * N, 3))
    torch.testing.assert_close(g, again)
    _, other = stream.draw(host, label, seeds(6 * N, 4))
    assert (drawn.place != other.place).any(dim=1).cpu().numpy()[label > 0].all()
    np.testing.assert_array_equal(drawn.label.cpu(), label)
    has_impurity = [bool({*IMPURITY_KINDS} & {*KIND_SETS[one]}) for one in label]
    np.testing.assert_array_equal(drawn.atomic_number.cpu() > 0, has_impurity)
    assert_are_of_changes(g, stream.draws, drawn, SHORT)


def test_a_row_is_the_same_in_any_company():
    stream = VariantStream(hosts(), SMALL, SHORT)
    host, label = np.repeat(np.arange(6), 12), np.tile(np.arange(12) % N, 6)
    g, _ = stream.draw(host, label, seeds(72, 0))
    order = np.random.default_rng(0).permutation(72)[:40]
    for rows in (order, order[:1], order[::-1]):
        some, _ = stream.draw(host[rows], label[rows], seeds(72, 0)[rows.copy()])
        assert torch.equal(some, g[rows.copy()])


@pytest.mark.parametrize("device", DEVICES)
def test_the_engine_in_torch_is_the_cpus(device):
    draws = DefectDraws([HostSupercell(host, SMALL) for host in hosts()], device)
    host, label = np.repeat(np.arange(6), N), np.tile(np.arange(N), 6)
    drawn = draws.draw(host, label, seeds(6 * N, 3).to(device))
    assert_are_of_changes(TorchLattice(draws, SHORT).pdfs(drawn), draws, drawn, SHORT)


def test_nothing_waits_for_the_device_nor_mixes_devices():
    """Tensors of device "meta" have no values to read, and mix with no others."""
    stream = VariantStream(hosts(), DefectSettings(mixed_variants=1), PDFSettings(), "meta")
    g, drawn = stream.draw(np.arange(N) % 6, np.arange(N), seeds(N, 0))
    assert (g.shape, g.dtype, g.device.type) == ((N, 300), torch.float32, "meta")
    assert drawn.place.device.type == "meta"
