"""Variants drawn and computed at once, against the CPU's G(r) of the same atoms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defectgen.library import embedded_library
from defectgen.settings import DefectSettings
from hpc.description import PDFSettings
from hpc.streaming import VariantStream

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]


@pytest.mark.parametrize("device", DEVICES)
def test_fresh_variants_are_those_of_their_changes(device):
    hosts = list({host.space_group: host for host in embedded_library()}.values())
    pdf = PDFSettings(rmax=8.0, points=100)
    stream = VariantStream(hosts, DefectSettings(supercell=(3, 3, 3)), pdf, device)
    host, label = np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6)
    g, drawn = stream.sample(host, label, torch.Generator().manual_seed(3))
    again, _ = stream.sample(host, label, torch.Generator().manual_seed(3))
    torch.testing.assert_close(g, again)
    other, _ = stream.sample(host, label, torch.Generator().manual_seed(4))
    assert (abs(g - other).amax(dim=1)[label > 0] > 1e-3).all()
    np.testing.assert_array_equal(drawn.label.cpu(), label)
    np.testing.assert_array_equal(drawn.atomic_number.cpu() > 0, np.isin(label, [3, 4]))
    for row, host_index in enumerate(host):
        change = stream.draws.variant(drawn, row).change
        crystal = stream.lattice.crystals[host_index]
        (expected,) = crystal.pdfs([change], pdf.parameters, pdf.stored.tolist())
        away = np.abs(g[row].cpu().numpy() - expected).max()
        assert away < 1e-4 * np.abs(expected).max()


def test_nothing_waits_for_the_device_nor_mixes_devices():
    """Tensors of device "meta" have no values to read, and mix with no others."""
    hosts = list({host.space_group: host for host in embedded_library()}.values())
    stream = VariantStream(hosts, DefectSettings(), PDFSettings(), "meta")
    g, drawn = stream.sample(np.arange(6), np.arange(6) % 5, torch.Generator())
    assert (g.shape, g.dtype, g.device.type) == ((6, 300), torch.float32, "meta")
    assert drawn.place.device.type == "meta"
