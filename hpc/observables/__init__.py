"""What is computed of each sample: one file an observable, found by its name.

An observable is an adapter: its physics is a room of `pdfcalc`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np

from defectgen.samples import PlugIn, Resources, Sample


class Observable(PlugIn, Protocol):
    """Something computed of samples, whatever made them."""

    title: ClassVar[str]
    """As in "Pair distribution functions"."""

    def lack(self, element: str) -> str | None:
        """Why nothing can be computed with atoms of an element; None if it can.

        As in "no neutron scattering length is tabulated".
        """
        ...

    def compute(
        self, samples: Sequence[Sample], on: Resources
    ) -> Mapping[str, Sequence[np.ndarray] | np.ndarray]:
        """What its fields store of some samples of one item, by name.

        Of a dense field the values (samples, ...), of a ragged one an array a sample, of a column
        that of the item. The same samples always come together, so that a result may depend on its
        company.

        Raises:
            UnusableItem: the item has nothing to be computed of.
        """
        ...
