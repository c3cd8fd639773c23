"""PDFs per second of the torch engines, with their deviation from the CPU's.

    python benchmarks/gpu.py [--device cuda] [--json]

Three rates: the lattice engine's for prepared changes, for defects drawn on the device as well, and
the pairs engine's for displaced atoms. Times are those of whole calls, after two to warm up.
Without a GPU the sizes are small and say only that the script works.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from defectgen.hosts.library import embedded_library
from defectgen.point_defects.gpu_draws import DefectDraws, Draws, random_seeds
from defectgen.point_defects.settings import DefectSettings
from defectgen.point_defects.variants import HostSupercell
from hpc.observables.pdf import PDFSettings
from pdfcalc import AtomicStructure, calculate_pdf
from pdfcalc.gpu.pairs import PairsBatch, stack
from train.problems.defects.streaming import TorchLattice

SIZES = {"cuda": (256, 256, 256), "cpu": (6, 5, 2)}
"""Hosts, variants of each, and structures with displaced atoms."""
COMPARED = 6
"""Results that are computed by the CPU as well."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--hosts", type=int)
    parser.add_argument("--variants", type=int, help="of each host")
    parser.add_argument("--structures", type=int, help="with 500 displaced atoms")
    parser.add_argument("--seconds", type=float, default=3.0, help="to measure each rate for")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    given = (arguments.hosts, arguments.variants, arguments.structures)
    sizes = [one or other for one, other in zip(given, SIZES[device.type], strict=True)]
    results = lattice(device, sizes[0], sizes[1], arguments.seconds)
    results.append(pairs(device, sizes[2], arguments.seconds))
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"{'':24}{'PDFs a call':>12}{'PDFs/s':>12}{'peak GiB':>10}{'deviation':>11}")
    for row in results:
        peak = f"{row['peak_gib']:.2f}" if row["peak_gib"] is not None else "-"
        print(
            f"{row['name']:24}{row['pdfs_per_call']:>12}{row['pdfs_per_second']:>12.0f}"
            f"{peak:>10}{row['deviation']:>11.1e}"
        )


def lattice(
    device: torch.device, n_hosts: int, n_variants: int, seconds: float
) -> list[dict[str, Any]]:
    """Rates of compute alone and of draw and compute, on hosts from all over the library."""
    library = embedded_library()
    hosts = [library[i] for i in np.linspace(0, len(library) - 1, n_hosts).astype(int)]
    pdf = PDFSettings()
    started = time.perf_counter()
    supercells = [HostSupercell(host, DefectSettings()) for host in hosts]
    draws = DefectDraws(supercells, device)
    engine = TorchLattice(draws, pdf)
    _synchronise(device)
    prepared = time.perf_counter() - started
    host = np.repeat(np.arange(n_hosts), n_variants)
    labels = np.arange(len(host)) % 5
    generator = torch.Generator(device).manual_seed(0)

    def draw() -> Draws:
        return draws.draw(host, labels, random_seeds(len(host), generator))

    drawn = draw()
    changes = engine.changes(drawn)
    g = engine.batch.pdfs(changes)
    away = []
    for row in np.linspace(0, len(host) - 1, COMPARED).astype(int).tolist():
        change = draws.variant(drawn, row).change
        crystal = supercells[host[row]].crystal
        (expected,) = crystal.pdfs([change], pdf.parameters, pdf.stored.tolist())
        away.append(_deviation(g[row], expected))
    calls = {
        "lattice": lambda: engine.batch.pdfs(changes),
        "lattice, drawn": lambda: engine.pdfs(draw()),
    }
    return [
        {
            "name": name,
            "deviation": max(away),
            "seconds_to_prepare": prepared,
            **_rate(call, len(host), device, seconds),
        }
        for name, call in calls.items()
    ]


def pairs(device: torch.device, n_structures: int, seconds: float) -> dict[str, Any]:
    """Rate for 5x5x5 cells of fcc copper with one atom in ten gold, all displaced."""
    pdf = PDFSettings()
    parameters, points = pdf.parameters, pdf.stored.tolist()
    rng = np.random.default_rng(0)
    cells = np.indices((5, 5, 5)).reshape(3, -1).T
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frac = ((corners + cells[:, None]) / 5).reshape(-1, 3)
    structures = []
    for _ in range(n_structures):
        is_gold = rng.random(len(frac)) < 0.1
        elements, uiso = np.where(is_gold, "Au", "Cu"), np.where(is_gold, 0.008, 0.0065)
        displaced = frac + rng.normal(0, 0.003, frac.shape)
        lattice = 18.1 * (np.eye(3) + rng.normal(0, 0.01, (3, 3)))
        structures.append(AtomicStructure(lattice, displaced, elements, uiso))
    batch = PairsBatch(parameters, points, (0.013, 0.016), device)
    stacked = stack(structures, parameters, device)
    g = batch.pdfs(stacked)
    away = [
        _deviation(row, calculate_pdf(structure, parameters, "pairs")[1][points])
        for row, structure in zip(g[:COMPARED], structures[:COMPARED], strict=True)
    ]
    rate = _rate(lambda: batch.pdfs(stacked), n_structures, device, seconds)
    return {"name": "pairs, 500 atoms", "deviation": max(away), **rate}


def _rate(
    call: Callable[[], object], n_pdfs: int, device: torch.device, seconds: float
) -> dict[str, Any]:
    for _ in range(2):
        call()
    _synchronise(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    n_calls, started = 0, time.perf_counter()
    while n_calls == 0 or time.perf_counter() - started < seconds:
        call()
        _synchronise(device)
        n_calls += 1
    elapsed = time.perf_counter() - started
    is_gpu = device.type == "cuda"
    return {
        "pdfs_per_call": n_pdfs,
        "pdfs_per_second": n_calls * n_pdfs / elapsed,
        "peak_gib": torch.cuda.max_memory_allocated(device) / 2**30 if is_gpu else None,
    }


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _deviation(g: torch.Tensor, expected: np.ndarray) -> float:
    """Largest deviation over the largest |G|."""
    return float(np.abs(g.cpu().numpy() - expected).max() / np.abs(expected).max())


if __name__ == "__main__":
    main()
