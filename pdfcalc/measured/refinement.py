"""The host crystal refined against a measured PDF."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pdfcalc.crystals.inputs import as_structure
from pdfcalc.crystals.periodic import equal_lengths
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.measured.gr_files import GrFile
from pdfcalc.pdf.calculate import calculate_pdf
from pdfcalc.pdf.parameters import PDFParameters

BEYOND = 8.0
"""A beyond the last point in which atoms are counted: a measurement has their ripples, too."""
_STRAINS = np.linspace(-0.04, 0.04, 9)
"""Of the lengths that are tried first. Peaks up to `_NEAR` still overlap between two of them."""
_MOST_STRAIN = 0.1
_NEAR = 10.0
"""A; the cell is first fitted from rmin over so much, where few peaks can be taken for others."""
_UISO_RANGE = (1e-4, 0.5)
"""A^2; zero-point motion exceeds the lower end."""
_MOST_SHARPENING = 0.6
"""Part of a nearest neighbours' sigma^2 that delta2 may take; at 1 nothing is left of the peak."""
_SQUARED = {"qdamp": 0.5**2, "qbroad": 0.1**2}
"""Highest squares, 1/A^2. The squares are refined, so that nothing gets stuck at zero."""
_MOST_STEPS = 100


@dataclass(frozen=True, eq=False)
class Refinement:
    """A crystal and an instrument fitted to a measured G(r).

    Args:
        values: by name: scale; a, b, c (A), the lengths of the cell that may differ; uiso_Ni (A^2)
            and so on, one an element; qdamp, qbroad (1/A); delta2 (A^2).
        uncertainties: standard uncertainties of those that were free. They hold if only noise
            parts data and model; where the model is at fault, they are too small.
        structure, parameters: with these values; `parameters` has the range of r that was fitted,
            `g_calculated` also counts the atoms up to BEYOND its end.
        r, g, g_calculated: (n,) all measured points in that range, A and 1/A^2.
        rw: sqrt(sum (g - g_calculated)^2 / sum g^2), the weighted residual of PDFgui with equal
            weights (Farrow et al., J. Phys.: Condens. Matter 19 (2007) 335219,
            DOI 10.1088/0953-8984/19/33/335219).
        converged: whether the fit ended because nothing changed any more.
        points: (m,) indices in r of the independent points that were fitted.
        jacobian: (m, K) derivatives of G there by the K values that were free.
    """

    values: dict[str, float]
    uncertainties: dict[str, float]
    structure: AtomicStructure
    parameters: PDFParameters
    r: np.ndarray
    g: np.ndarray
    g_calculated: np.ndarray
    rw: float
    converged: bool
    points: np.ndarray
    jacobian: np.ndarray

    def record(self) -> dict[str, Any]:
        """For JSON, without the curves."""
        return {
            "rw": self.rw,
            "converged": self.converged,
            "rmin": float(self.r[0]),
            "rmax": float(self.r[-1]),
            "values": self.values,
            "uncertainties": self.uncertainties,
        }


def measured_parameters(
    measured: GrFile,
    structure: object,
    rmin: float = 1.5,
    rmax: float = 30.0,
    **given: Any,
) -> PDFParameters:
    """The start of a refinement: what the file's header says, and what is given in its place.

    Args:
        structure: the host of what was measured, anything that `calculate_pdf` takes; a header
            that names other elements is warned of.
        rmin, rmax: range of r to fit, A. Below the nearest neighbours, measured PDFs hold errors
            of the data reduction.
        given: other fields of PDFParameters.

    Raises:
        ValueError: qmax is neither in the header nor given.
    """
    header = measured.header
    # Labels may be those of isotopes and ions: 58-Ni, Ni2+.
    symbols = (re.search("[A-Z][a-z]?", label) for label in as_structure(structure).elements)
    present = {symbol[0] for symbol in symbols if symbol}
    if header.composition and set(header.composition) != present:
        warnings.warn(
            f"the file's header says {', '.join(sorted(header.composition))}, the structure is of "
            f"{', '.join(sorted(present))}: an impurity, or an entry left from another sample",
            stacklevel=2,
        )
    names = ("qmin", "qmax", "qdamp", "qbroad", "scattering")
    stated = {name: getattr(header, name) for name in names}
    known = {name: value for name, value in stated.items() if value is not None} | given
    if known.get("scale", 1) <= 0:
        raise ValueError(f"scale = {known['scale']:g} must be positive")
    if not known.get("qmax"):  # 0 stands for none
        raise ValueError("the file does not state qmax, up to which G(r) was computed: give qmax")
    return PDFParameters(rmin=rmin, rmax=rmax, **known)


def refine_host(
    structure: object,
    r: npt.ArrayLike,
    g: npt.ArrayLike,
    parameters: PDFParameters,
    fixed: Collection[str] = (),
) -> Refinement:
    """Fit scale, cell, displacements, instrument and correlated motion to a measured G(r).

    Lengths of the cell that are equal stay equal, angles stay: give the conventional cell. A cell
    wrong by up to 4 % along each axis is found by trying strains first. The fit takes one
    measured point every pi / qmax: points in between repeat what these say (Farrow et al., Phys.
    Rev. B 84 (2011) 134105, DOI 10.1103/PhysRevB.84.134105), and would make uncertainties too
    small. All points weigh the same.

    Args:
        structure: the host, anything that `calculate_pdf` takes; where the values start.
        r, g: (n,) the measured PDF, A and 1/A^2; r increases.
        parameters: where the instrument's values start; rmin, rmax choose the points to fit, qmin,
            qmax and scattering are the measurement's, rstep is the step of the calculation.
        fixed: names (see Refinement.values) that keep their start, as qdamp and qbroad of a
            calibrated instrument should; "cell" is all lengths, "uiso" that of all elements. A
            scale that is free starts at its best value.

    Raises:
        ValueError: no qmax, too few points in the range, malformed r or g, unknown names or
            elements.
    """
    host = as_structure(structure)
    r, g = _in_range(r, g, parameters)
    model = _Model(host, parameters)
    free = _free_names(model, fixed)
    chosen = _independent(r, parameters)
    if len(chosen) <= len(free):
        raise ValueError(
            f"{len(chosen)} independent points (every pi / qmax) between r = {r[0]:g} and "
            f"{r[-1]:g} A are too few for {len(free)} free values: widen the range, or fix some"
        )
    values = _near_fit(host, r[chosen], g[chosen], parameters, free)
    problem = _Problem(model, r[chosen], g[chosen], values, free)
    values, uncertainties, converged, jacobian = _solved(problem)
    refined, instrument = model.at(values)
    calculated = model.pdf(values, r)
    rw = float(np.sqrt(np.sum((g - calculated) ** 2) / np.sum(g**2)))
    return Refinement(
        values=values,
        uncertainties=uncertainties,
        structure=refined,
        parameters=instrument,
        r=r,
        g=g,
        g_calculated=calculated,
        rw=rw,
        converged=converged,
        points=chosen,
        jacobian=jacobian,
    )


class _Model:
    """G(r) as a function of named values.

    `start`, `bounds` and `steps` (of difference quotients) are by name, those of `_SQUARED` names
    in `bounds` and `steps` for the square.
    """

    def __init__(self, host: AtomicStructure, parameters: PDFParameters) -> None:
        from pdfcalc.crystals.displacements import find_sites

        if not host.periodic:
            raise ValueError("the host is a particle: give a crystal, with a cell")
        self._host, self._parameters = host, parameters
        lengths = np.linalg.norm(host.lattice, axis=1)
        self.axes = equal_lengths(lengths)
        self._elements = {f"uiso_{element}": element for element in np.unique(host.elements)}
        sites, _ = find_sites(host.frac, host.lattice)
        self.start = {"scale": parameters.scale}
        self.bounds = {"scale": (0.0, np.inf)}
        self.steps = {"scale": 1e-3}
        for name, axes in self.axes.items():
            length = float(lengths[axes].mean())
            self._add(name, length, length * (1 - _MOST_STRAIN), length * (1 + _MOST_STRAIN))
            self.steps[name] = 1e-5 * length
        for name, element in self._elements.items():
            uiso = float(host.uiso[host.elements == element].mean())
            self._add(name, uiso, *_UISO_RANGE)
            self.steps[name] = 1e-5
        for name, highest in _SQUARED.items():
            self._add(name, getattr(parameters, name), 0.0, highest)
            self.steps[name] = 1e-6
        self._add("delta2", parameters.delta2, 0.0, _MOST_SHARPENING * sites.shortest.min() ** 2)
        self.steps["delta2"] = 1e-2

    def _add(self, name: str, start: float, lower: float, upper: float) -> None:
        self.start[name], self.bounds[name] = start, (lower, upper)

    def at(self, values: Mapping[str, float]) -> tuple[AtomicStructure, PDFParameters]:
        """The structure and the parameters with these values."""
        host = self._host
        lattice, uiso = host.lattice.copy(), host.uiso.copy()
        for name, axes in self.axes.items():
            lattice[axes] *= values[name] / self.start[name]
        for name, element in self._elements.items():
            # Atoms of one element may differ, and keep that while their mean is not changed.
            if values[name] != self.start[name]:
                uiso[host.elements == element] = values[name]
        structure = AtomicStructure(lattice, host.frac, host.elements, uiso, host.occupancy)
        instrument: dict[str, Any] = {name: values[name] for name in ("scale", *_SQUARED, "delta2")}
        return structure, replace(self._parameters, **instrument)

    def pdf(self, values: Mapping[str, float], r: np.ndarray) -> np.ndarray:
        """(n,) G at r (n,), 1/A^2."""
        from scipy.interpolate import CubicSpline

        structure, parameters = self.at(values)
        parameters = replace(parameters, rmin=0.0, rmax=parameters.rmax + BEYOND)
        return CubicSpline(*calculate_pdf(structure, parameters))(r)


@dataclass(frozen=True, eq=False)
class _Problem:
    """The least-squares problem of the free values, from where `start` is."""

    model: _Model
    r: np.ndarray
    g: np.ndarray
    start: Mapping[str, float]
    free: Sequence[str]

    def values(self, x: np.ndarray) -> dict[str, float]:
        """All values by name, of a vector of the free ones (squared where `_SQUARED`)."""
        found = zip(self.free, x.tolist(), strict=True)
        return {**self.start, **{n: v**0.5 if n in _SQUARED else v for n, v in found}}

    def vector(self) -> np.ndarray:
        """The start of the free ones, within bounds."""
        found = [self.start[n] ** 2 if n in _SQUARED else self.start[n] for n in self.free]
        return np.clip(found, *self.bounds())

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        lower, upper = np.array([self.model.bounds[name] for name in self.free]).T
        return lower, upper

    def residual(self, x: np.ndarray) -> np.ndarray:
        return self.model.pdf(self.values(x), self.r) - self.g

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """(n, K) difference quotients, with steps that a value of zero does not make vanish."""
        here = self.residual(x)
        steps = np.array([self.model.steps[name] for name in self.free])
        moved = [self.residual(point) for point in x + np.diag(steps)]
        return (np.stack(moved, axis=1) - here[:, None]) / steps


def _solved(problem: _Problem) -> tuple[dict[str, float], dict[str, float], bool, np.ndarray]:
    """The best values, the uncertainties of the free ones, whether the fit converged, and
    derivatives (m, K) at its end."""
    from scipy.optimize import least_squares

    free = problem.free
    if not free:
        return dict(problem.start), {}, True, np.empty((len(problem.r), 0))
    result = least_squares(
        problem.residual,
        problem.vector(),
        problem.jacobian,
        bounds=problem.bounds(),
        x_scale="jac",
        max_nfev=_MOST_STEPS,
    )
    values = problem.values(result.x)
    variance = 2 * result.cost / (len(problem.r) - len(free))
    found = np.sqrt(np.diag(np.linalg.pinv(result.jac.T @ result.jac)).clip(0) * variance)
    uncertainties = dict(zip(free, found.tolist(), strict=True))
    for name in set(free) & set(_SQUARED):
        # To first order that of the square over twice the value, and finite where that is zero.
        square = values[name] ** 2
        uncertainties[name] = (square + uncertainties[name]) ** 0.5 - values[name]
    return values, uncertainties, bool(result.status > 0), result.jac


def _near_fit(
    host: AtomicStructure,
    r: np.ndarray,
    g: np.ndarray,
    parameters: PDFParameters,
    free: Collection[str],
) -> dict[str, float]:
    """Values with the cell, the scale and displacements that suit the first `_NEAR` of r."""
    near = r < r[0] + _NEAR
    r, g = r[near], g[near]
    end = min(parameters.rmax, float(r[-1]) + 2 * parameters.rstep)
    model = _Model(host, replace(parameters, rmax=end))
    values = _tried_cells(model, r, g, free)
    # Over so short a range the instrument and the displacements cannot be told apart.
    first = [name for name in free if name not in (*_SQUARED, "delta2")]
    if len(r) > len(first):
        values, *_ = _solved(_Problem(model, r, g, values, first))
    return values


def _tried_cells(
    model: _Model, r: np.ndarray, g: np.ndarray, free: Collection[str]
) -> dict[str, float]:
    """The start with the strains of the free lengths that suit best, and the best scale."""
    lengths = [name for name in model.axes if name in free]
    best, values = -np.inf, model.start
    for strains in itertools.product(_STRAINS, repeat=len(lengths)):
        strained = {n: model.start[n] * (1 + e) for n, e in zip(lengths, strains, strict=True)}
        calculated = model.pdf(model.start | strained | {"scale": 1.0}, r)
        overlap = calculated @ g / np.linalg.norm(calculated)
        if overlap > best:
            best, values = overlap, model.start | strained
            scale = max(float(calculated @ g / (calculated @ calculated)), 1e-3)
    return values | {"scale": scale} if "scale" in free else values


def _free_names(model: _Model, fixed: Collection[str]) -> list[str]:
    fixed = [fixed] if isinstance(fixed, str) else fixed
    groups = {"cell": [*model.axes], "uiso": [n for n in model.start if n.startswith("uiso_")]}
    names = {name for one in fixed for name in groups.get(one, [one])}
    unknown = sorted(names - set(model.start))
    if unknown:
        raise ValueError(
            f"fixed: {', '.join(unknown)}: this crystal has the values {', '.join(model.start)}"
        )
    return [name for name in model.start if name not in names]


def _in_range(
    r: npt.ArrayLike, g: npt.ArrayLike, parameters: PDFParameters
) -> tuple[np.ndarray, np.ndarray]:
    """The points to fit, once they are known to make a PDF."""
    r, g = np.asarray(r, float), np.asarray(g, float)
    if r.ndim != 1 or r.shape != g.shape:
        raise ValueError(f"r {r.shape} and g {g.shape} must be two columns of equal length")
    if not (np.isfinite(r).all() and np.isfinite(g).all() and (np.diff(r) > 0).all()):
        raise ValueError("r and g must be finite and r must increase: remove the other points")
    # The last point of the calculation lies below rmax; at r = 0 there is nothing to fit.
    inside = (r >= max(parameters.rmin, 1e-6)) & (r < parameters.rmax - 0.99 * parameters.rstep)
    if not inside.any():
        has = f"from {r[0]:g} to {r[-1]:g} A" if len(r) else "nowhere"
        raise ValueError(
            f"the data lie {has}, none between rmin = {parameters.rmin:g} and "
            f"rmax = {parameters.rmax:g} A: change the range"
        )
    if not g[inside].any():
        raise ValueError("G(r) is zero at all points in the range: nothing to fit")
    return r[inside], g[inside]


def _independent(r: np.ndarray, parameters: PDFParameters) -> np.ndarray:
    """Indices of the points nearest to multiples of pi / qmax, the Nyquist grid."""
    if parameters.qmax is None:
        raise ValueError("qmax, up to which the measured G(r) was computed, must be given")
    wanted = np.arange(r[0], r[-1], np.pi / parameters.qmax)
    after = np.searchsorted(r, wanted).clip(1, len(r) - 1)
    return np.unique(after - (wanted - r[after - 1] < r[after] - wanted))
