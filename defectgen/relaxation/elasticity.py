"""Elastic constants of the metals, of which only the ratios matter for where atoms go.

`data/elastic_constants.csv` has them in GPa near room temperature (Cs, Na, K, Rb and Li below it),
in the standard cell's axes and to three digits or so, as gathered in G. Simmons and H. Wang, Single
Crystal Elastic Constants and Calculated Aggregate Properties (MIT Press, 1971), "SW", and in
Landolt-Boernstein, New Series III/29a (1992), "LB".
"""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib.resources import files

import numpy as np

COMPONENTS = ((0, 0), (0, 1), (0, 2), (2, 2), (3, 3), (5, 5))
"""Where c11, c12, c13, c33, c44 and c66 are in Voigt's matrix, from 0."""
_NAMES = ("c11", "c12", "c13", "c33", "c44", "c66")
_ISOTROPIC = (1.0, 0.5, 0.5, 1.0, 0.25, 0.25)
"""Of Poisson's ratio 1/3, about the mean of the metals."""


def elastic_constants(element: str, space_group: int) -> np.ndarray:
    """(6,) c11, c12, c13, c33, c44, c66 as multiples of c11.

    The element's own where the table has it in that group, else the median of the metals that have
    three or more there, else those of an isotropic body.
    """
    of_group = _table().get(space_group, {})
    if element in of_group:
        return of_group[element]
    if len(of_group) >= 3:
        return np.median(list(of_group.values()), axis=0)
    return np.array(_ISOTROPIC)


@lru_cache(maxsize=1)
def _table() -> dict[int, dict[str, np.ndarray]]:
    """Ratios by space group and element."""
    path = files("defectgen.relaxation").joinpath("data", "elastic_constants.csv")
    table: dict[int, dict[str, np.ndarray]] = {}
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        values = np.array([float(row[name]) for name in _NAMES])
        table.setdefault(int(row["space_group"]), {})[row["element"]] = values / values[0]
    return table
