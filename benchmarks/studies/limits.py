"""Whether upper limits hold, on simulated measurements of relaxed samples.

    python -m benchmarks.studies.limits [--count 400]

Draws hosts of the embedded library, defects, how far the atoms around them relax, an instrument and
white noise, writes the measurement to a file and goes the whole way of `defectpdf analyse`. Prints,
by kind and by how far atoms relax, how often the true fraction is below its upper limit, how often
it is within one deviation of the fit, and the median limit.
"""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table
from scipy.interpolate import CubicSpline

from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import IMPURITY_KINDS, KINDS
from defectgen.samples import Resources, UnusableItem
from defectgen.sources.defects import Defects
from defectgen.stages.relaxed import Relaxed
from hpc.watching.console import plain_console
from pdfcalc import PDFParameters, calculate_pdf, write_gr
from pdfcalc.measured.refinement import BEYOND
from train.measured.limits import Left, changes
from train.measured.refining import refined
from train.measured.structure import Structure

_RANGES = {
    "vacancy": (0.004, 0.02),
    "self_interstitial": (0.002, 0.008),
    "substitution": (0.02, 0.08),
    "interstitial": (0.002, 0.008),
}
"""Fractions of host atoms, uniform."""
_AMPLITUDES = (0.7, 1.0, 1.3)
_SAMPLES = 24
"""Supercells that a measurement is the mean of."""
_NOISE = (0.01, 0.05)
"""Of the root mean square of G, uniform."""
_SCALE = 0.8


class Simulated(NamedTuple):
    """What is true of a simulated measurement."""

    host: Host
    element: str | None
    """Of the impurity, where there is one."""
    fraction: float


def simulate(seed: int, kind: str | None, amplitude: float, file: Path) -> Simulated:
    """Write a measurement of a drawn host with a kind of defect, or with none.

    UnusableItem if that host can't have such defects.
    """
    rng = np.random.default_rng(seed)
    hosts = [host for host in embedded_library() if host.origin == "published"]
    host = hosts[rng.integers(len(hosts))]
    instrument = PDFParameters(
        qmin=0.6,
        qmax=float(rng.uniform(20, 30)),
        qdamp=float(rng.uniform(0.01, 0.05)),
        qbroad=float(rng.uniform(0, 0.03)),
        rmax=30.0 + BEYOND,
    )
    if kind is None:
        element, fraction = None, 0.0
        r, g = _measured([calculate_pdf(host.atoms, instrument)], instrument)
    else:
        fraction = float(rng.uniform(*_RANGES[kind]))
        element, fraction, (r, g) = _sample(host, kind, amplitude, seed, fraction, instrument)
    noise = float(rng.uniform(*_NOISE)) * float(np.sqrt(np.mean(g**2)))
    write_gr(file, r, _SCALE * (g + noise * rng.normal(size=len(g))), instrument)
    return Simulated(host, element, fraction)


def measurement(seed: int, folder: Path) -> dict[str, Any] | None:
    """What is true of a simulated measurement, and what a fit says; None if none can be made."""
    kind, amplitude = KINDS[seed % len(KINDS)], _AMPLITUDES[seed // len(KINDS) % 3]
    file = folder / f"{seed}.gr"
    try:
        host, element, fraction = simulate(seed, kind, amplitude, file)
    except UnusableItem:
        return None
    crystal = Structure.of_host(file, host)
    found = refined(crystal, file, {}, ()).refinement
    refined_host = crystal.refined(found)
    assert refined_host is not None
    left = Left(found)
    bounds = [
        left.fit(change)
        for change in changes(refined_host, found, [(kind, element)])
        if change.amplitude
    ]
    best = max(bounds, key=lambda bound: bound.log_likelihood)
    return {
        "kind": kind,
        "amplitude": amplitude,
        "fraction": fraction,
        "upper": max(bound.upper for bound in bounds),
        "off": (best.fraction - fraction) / best.deviation,
    }


def _sample(
    host: Host, kind: str, amplitude: float, seed: int, fraction: float, instrument: PDFParameters
) -> tuple[str | None, float, tuple[np.ndarray, np.ndarray]]:
    """The impurity, the fraction and, at r every pi / qmax, G(r) of many supercells."""
    settings: dict[str, Any] = {
        "kinds": [kind],
        "fraction": (0.5 * fraction, 1.5 * fraction),
        "variants_per_kind": _SAMPLES,
        "separation": 2.0,
        "impurity_uiso": "host",
    }
    element = None
    if kind in IMPURITY_KINDS:
        others = Defects().defects.impurities_of(host.element, KINDS)
        element = others[np.random.default_rng(seed).integers(len(others))]
        settings["impurities"] = [element]
    source = Defects.model_validate({"defects": settings})
    samples = source.draw(host, 1 + seed)[1:]
    samples = Relaxed(amplitude=(amplitude, amplitude)).apply(samples, Resources())
    curves = [calculate_pdf(sample.atoms(), instrument) for sample in samples]
    true = float(np.mean([sample.values["concentration"] for sample in samples]))
    return element, true, _measured(curves, instrument)


def _measured(
    curves: Sequence[tuple[np.ndarray, np.ndarray]], instrument: PDFParameters
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of curves on one grid, at independent points."""
    grid, mean = curves[0][0], np.mean([g for _, g in curves], axis=0)
    assert instrument.qmax is not None
    r = np.arange(1.5, 30.0, math.pi / instrument.qmax)
    return r, CubicSpline(grid, mean)(r)


def measurements(count: int) -> Iterator[dict[str, Any]]:
    with TemporaryDirectory() as folder, ProcessPoolExecutor(mp_context=get_context("spawn")) as on:
        for found in on.map(partial(measurement, folder=Path(folder)), range(count)):
            if found is not None:
                yield found


def coverage(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each kind and amplitude, and for all."""
    lines = []
    for kind in (*KINDS, "all"):
        for amplitude in _AMPLITUDES:
            of = [
                one
                for one in found
                if kind in (one["kind"], "all") and one["amplitude"] == amplitude
            ]
            if of:
                lines.append(
                    {
                        "kind": kind,
                        "amplitude": amplitude,
                        "n": len(of),
                        "covered": float(np.mean([one["upper"] >= one["fraction"] for one in of])),
                        "within": float(np.mean([abs(one["off"]) <= 1 for one in of])),
                        "fraction": float(np.median([one["fraction"] for one in of])),
                        "upper": float(np.median([one["upper"] for one in of])),
                    }
                )
    return lines


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400, help="measurements")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args()
    lines = coverage(list(measurements(options.count)))
    if options.json:
        print(json.dumps(lines))
        return
    table = Table("kind", title="upper limits of simulated measurements, fractions in %")
    for heading in ("relaxed by", "n", "below limit", "within 1 sd", "true", "limit"):
        table.add_column(heading, justify="right")
    for line in lines:
        rates = (f"{100 * line[name]:.1f} %" for name in ("covered", "within"))
        fractions = (f"{100 * line[name]:.2f}" for name in ("fraction", "upper"))
        table.add_row(line["kind"], f"{line['amplitude']:g}", str(line["n"]), *rates, *fractions)
    plain_console().print(table)


if __name__ == "__main__":
    main()
