"""How well a run's strangeness tells what it was not made for from defects in unseen hosts.

    python -m benchmarks.studies.strangers --store metals.zarr --run RUN

The familiar ones are the run's test part. No stranger had a part in training or in the fit of
`train.judging.familiarity`. All have the store's instrument and the errors of the run's recipe; a
host that the store has refined against a sample is that of its strangers. Prints the area under the
receiver operating characteristic (AUROC) of each view and of the largest of them, and which part is
refused. Swapped traces are no strangers by themselves, and are not counted among all.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.table import Table

from hpc.store.store import Store
from hpc.watching.console import plain_console
from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from train.data.store import Dataset
from train.judging.familiarity import REFUSED, Familiarity
from train.problems.defects.errors import Errors, RowErrors
from train.problems.defects.examples import DefectExamples
from train.problems.defects.problem import read_problem
from train.runs.rundir import load_model, read_rows

SWAPPED = "swapped traces"
_SEED = 7
_COPIES = 14.0  # A, least length of the supercells that get defects
_FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
_DIAMOND = np.concatenate([_FCC, _FCC + 0.25])
_ROCK_SALT = np.concatenate([_FCC, (_FCC + np.array([0.5, 0, 0])) % 1])
_CSCL = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])


class Prototype(NamedTuple):
    """A cubic crystal: length of its cell in A, Uiso in A^2."""

    elements: tuple[str, ...]
    a: float
    frac: np.ndarray
    uiso: float


OTHER_GROUPS = (
    Prototype(("C",), 3.567, _DIAMOND, 0.002),
    Prototype(("Si",), 5.431, _DIAMOND, 0.006),
    Prototype(("Ge",), 5.658, _DIAMOND, 0.007),
    Prototype(("Sn",), 6.489, _DIAMOND, 0.012),
    Prototype(("Po",), 3.359, np.zeros((1, 3)), 0.02),
)
COMPOUNDS = (
    Prototype(("Na", "Cl"), 5.640, _ROCK_SALT, 0.015),
    Prototype(("Mg", "O"), 4.212, _ROCK_SALT, 0.004),
    Prototype(("Ti", "N"), 4.241, _ROCK_SALT, 0.004),
    Prototype(("Zn", "S"), 5.409, _DIAMOND, 0.009),
    Prototype(("Ga", "As"), 5.653, _DIAMOND, 0.008),
    Prototype(("Cs", "Cl"), 4.123, _CSCL, 0.015),
    Prototype(("Ni", "Al"), 2.887, _CSCL, 0.006),
)
FOREIGN = ("Al", "Ti", "Cu", "Ag", "W", "Au")

Traces = tuple[np.ndarray, np.ndarray]
"""G(r) (n, R) of hosts and of what is measured, 1/A^2."""


class Strangers:
    """Pairs of traces of each kind, `count` or so of each.

    Args:
        store: that of the run.
        rows: of its test part.
        errors: of what is measured.
    """

    def __init__(self, store: DefectExamples, rows: np.ndarray, count: int, errors: Errors) -> None:
        self._random = np.random.default_rng(_SEED)
        chosen = self._random.permutation(len(rows))[:count]
        self._structure, variant = store.rows[rows[chosen]].T
        structures, place = np.unique(self._structure, return_inverse=True)
        self._host, self._defective = (
            store.read(name, structures)[place, variant if of is None else of]
            for name, of in store.inputs
        )
        of_rows = store.rows[rows[chosen]]
        self._errors = RowErrors(errors, store.id, of_rows, store.points, _SEED)
        self._pdf = Store(store.path).description.pdf
        self._r = store.points

    def familiar(self) -> Traces:
        return self._measured((self._host, self._defective), 0)

    def all(self) -> dict[str, Traces]:
        """By kind; swapped traces are those of a measurement taken for the host's."""
        swapped = self._measured((self._host, self._defective), 0)[::-1]
        kinds = enumerate(self._exact().items(), 1)
        strangers = {name: self._measured(traces, epoch) for epoch, (name, traces) in kinds}
        return strangers | {SWAPPED: swapped}

    def _measured(self, traces: Traces, epoch: int) -> Traces:
        """With errors; an epoch has its own."""
        host, sample = (torch.from_numpy(g.astype(np.float32)) for g in traces)
        pair = self._errors.pair(host, sample, np.arange(len(host)), epoch)
        return pair[0].numpy(), pair[1].numpy()

    def _exact(self) -> dict[str, Traces]:
        host, defective = self._host, self._defective
        amorphous, particle = self._amorphous(), self._particle_factor()
        largest = np.abs(host).max(1, keepdims=True)
        order = self._random.permutation(len(host))
        wrong = self._structure[order] != self._structure
        return {
            "other space groups": self._crystals(OTHER_GROUPS),
            "compounds": self._crystals(COMPOUNDS),
            "amorphous": (host, amorphous),
            "amorphous host": (amorphous, amorphous * self._random.normal(1, 0.05, (len(host), 1))),
            "nanoparticle": (host, host * particle),
            "nanoparticle with defects": (host, defective * particle),
            "wrong host": (host[wrong], defective[order][wrong]),
            "noise": (host, 0.3 * largest * self._noise()),
            "noise twice": (largest * self._noise(), largest * self._noise()),
        }

    def _noise(self) -> np.ndarray:
        return self._random.normal(size=self._host.shape)

    def _particle_factor(self) -> np.ndarray:
        """(n, R) that a sphere of 15 to 60 A multiplies G(r) by."""
        x = self._r / self._random.uniform(15, 60, (len(self._host), 1))
        return np.where(x < 1, 1 - 1.5 * x + 0.5 * x**3, 0)

    def _amorphous(self) -> np.ndarray:
        """(n, R) damped ripples after a first neighbour at 2.4 to 3.6 A."""
        first, height, decay, density = (
            self._random.uniform(low, high, (len(self._host), 1))
            for low, high in ((2.4, 3.6), (1.5, 3.5), (3, 7), (0.04, 0.09))
        )
        ripples = np.cos(2 * np.pi * (self._r - first) / (0.87 * first))
        g = height * ripples * np.exp(-(self._r - first) / decay)
        return np.where(self._r < 0.8 * first, -4 * np.pi * self._r * density, g)

    def _crystals(self, prototypes: tuple[Prototype, ...]) -> Traces:
        each = -(-len(self._host) // (10 * len(prototypes)))
        pairs = [self._with_defects(one) for one in prototypes for _ in range(each)]
        host, defective = zip(*pairs, strict=True)
        return np.array(host), np.array(defective)

    def _with_defects(self, prototype: Prototype) -> tuple[np.ndarray, np.ndarray]:
        """G(r) of a crystal, and with 1 to 10 % of defects of a random kind in random places."""
        copies = int(np.ceil(_COPIES / prototype.a))
        cells = np.indices([copies] * 3).reshape(3, -1).T
        frac = ((prototype.frac[:, None] + cells) / copies).reshape(-1, 3)
        of_cell = np.repeat(prototype.elements, len(prototype.frac) // len(prototype.elements))
        elements = np.repeat(of_cell, len(cells)).astype(object)
        n = max(1, round(self._random.uniform(0.01, 0.1) * len(frac)))
        places = self._random.permutation(len(frac))[:n]
        foreign = self._random.choice(FOREIGN)
        kind = self._random.integers(3)
        if kind == 0:
            changed = np.delete(frac, places, 0), np.delete(elements, places)
        elif kind == 1:
            other = elements.copy()
            other[places] = foreign
            changed = frac, other
        else:
            added = self._random.random((n, 3))
            changed = np.concatenate([frac, added]), np.append(elements, [foreign] * n)
        lattice = prototype.a * copies * np.eye(3)
        host, defective = (
            self._trace(AtomicStructure(lattice, at, of.tolist(), [prototype.uiso] * len(at)))
            for at, of in ((frac, elements), changed)
        )
        return host, defective

    def _trace(self, structure: AtomicStructure) -> np.ndarray:
        parameters: PDFParameters = self._pdf.parameters
        return calculate_pdf(structure, parameters)[1][self._pdf.stored]


def judge(run: Path, store_path: Path, count: int) -> list[dict[str, Any]]:
    """A row for each kind of stranger, for all kinds together, and for the familiar ones."""
    from sklearn.metrics import roc_auc_score

    problem = read_problem(run)
    store = problem.examples(Dataset.open(store_path))
    rows = read_rows(run, "test", store)
    rows = rows[store.label[tuple(store.rows[rows].T)] > 0]
    model, _ = load_model(run)
    strangers, inputs = Strangers(store, rows, count, problem.recipe.errors), problem.inputs()

    def pairs(traces: Traces) -> torch.Tensor:
        return inputs(*(torch.from_numpy(g) for g in traces))

    own = strangers.familiar()
    familiarity = Familiarity.load(run, problem.views(model), pairs(own)[:1])

    def strangeness(traces: Traces) -> dict[str, np.ndarray]:
        by_view = familiarity.strangeness(pairs(traces))
        return by_view | {"largest": np.max(list(by_view.values()), axis=0)}

    def row(name: str, found: dict[str, np.ndarray]) -> dict[str, Any]:
        n = len(found["largest"])
        is_stranger = np.repeat([0, 1], [len(familiar["largest"]), n])
        areas = {
            view: float(roc_auc_score(is_stranger, np.append(familiar[view], found[view])))
            for view in found
        }
        refused = float(np.mean(found["largest"] > REFUSED))
        return {"strangers": name, "n": n, **areas, "refused": refused}

    familiar = strangeness(own)
    found = {name: strangeness(traces) for name, traces in strangers.all().items()}
    counted = [of for name, of in found.items() if name != SWAPPED]
    fewest = min(len(of["largest"]) for of in counted)
    together = {view: np.concatenate([of[view][:fewest] for of in counted]) for view in familiar}
    table = [row(name, of) for name, of in found.items()]
    return [*table, row("all, as many of each", together), row("none: the test part", familiar)]


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="of `defectpdf generate`")
    parser.add_argument("--run", type=Path, required=True, help="finished run on it")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--quick", action="store_true", help="few of each, to see that it works")
    options = parser.parse_args()
    try:
        found = judge(options.run, options.store, 30 if options.quick else 1000)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    if options.json:
        print(json.dumps(found))
        return
    table = Table(*found[0], title=f"{options.run}: AUROC by view")
    for line in found:
        table.add_row(*(f"{x:.3f}" if isinstance(x, float) else str(x) for x in line.values()))
    plain_console().print(table)


if __name__ == "__main__":
    main()
