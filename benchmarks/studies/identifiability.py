"""What can be known of a defect from its PDF, and how near trained networks come to that.

    python -m benchmarks.studies.identifiability --store metals.zarr --runs RUN [RUN ...]

- Errors of the networks on fresh draws of their test hosts: by fraction, contrast, Uiso, size of
  the supercell and noise.
- The limit for a host that is known: the likelihood of `benchmarks.studies.host_limit` on draws of
  one host at a time, and the networks on the same draws, at several levels of noise.

Writes identifiability-tables.md, identifiability.json and identifiability.png. All runs must have
the same test part. Some ten minutes on one core.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch

from benchmarks.common import machine, versions
from benchmarks.studies.error_study import NOISES, Noise, Rows, draw_rows, predicted
from benchmarks.studies.host_limit import HostLikelihood
from benchmarks.studies.identifiability_report import (
    draw_figure,
    limit_tables,
    network_tables,
    tables_page,
)
from defectgen.hosts.host import Host
from defectgen.point_defects.gpu_draws import random_seeds
from defectgen.point_defects.settings import KINDS, DefectSettings
from hpc.observables.pdf import PDFSettings
from hpc.store.store import Store
from train.data.store import Dataset
from train.problems.defects.examples import PRISTINE, read_examples
from train.problems.defects.problem import read_problem
from train.problems.defects.streaming import VariantStream
from train.report.figures import report_style
from train.runs.rundir import read_rows, write_json, write_text

_SEED = 20240
"""Of draws and noise; no training has it."""
Predictions = dict[str, np.ndarray]
"""Kinds (n,) by who says so."""


class Effort(NamedTuple):
    """How much to draw.

    Args:
        per_kind: draws of each kind in each test host, for the networks.
        hosts: for which to find the limit.
        learnt: draws of each kind in each of them from which the likelihood learns.
        judged: draws of each kind in each of them that it judges.
    """

    per_kind: int
    supercells: tuple[int, ...]
    noises: tuple[Noise, ...]
    hosts: int
    learnt: int
    judged: int


_FULL = Effort(30, (3, 4, 5, 7), NOISES, 40, 500, 100)
_QUICK = Effort(1, (2, 3), NOISES[::3], 2, 40, 4)


def held_out_hosts(store_path: Path, runs: Sequence[Path]) -> list[Host]:
    """The hosts of the runs' test part.

    Raises:
        ValueError: the runs have different ones, are of another store, or know samples without
            defects.
    """
    store = read_examples(Dataset.open(store_path))
    for run in runs:
        if PRISTINE in read_problem(run).classes:
            raise ValueError(f"{run} has a class of no defect: train with --recipe ideal")
    parts = [read_rows(run, "test", store) for run in runs]
    for run, part in zip(runs, parts, strict=True):
        if not np.array_equal(part, parts[0]):
            raise ValueError(f"{run} has other test hosts than {runs[0]}: study them one by one")
    hosts = Store(store_path).items
    return [hosts[index] for index in np.unique(store.rows[parts[0], 0]).tolist()]


def of_all_groups(hosts: Sequence[Host], count: int) -> list[Host]:
    """Some hosts, in turn from each space group, evenly spaced in each."""
    groups: dict[int, list[Host]] = {}
    for host in hosts:
        groups.setdefault(host.space_group, []).append(host)
    # Small groups give all they have, the others as many more.
    wanted = min(count, len(hosts))
    share = next(
        n for n in range(wanted + 1) if sum(min(n, len(g)) for g in groups.values()) >= wanted
    )
    chosen = [_evenly(group, share) for group in groups.values()]
    return [host for turn in zip_longest(*chosen) for host in turn if host is not None][:count]


def _evenly(hosts: Sequence[Host], count: int) -> list[Host]:
    places = np.linspace(0, len(hosts) - 1, min(count, len(hosts))).round().astype(int)
    return [hosts[place] for place in places]


class Study(NamedTuple):
    """Networks by name, hosts, what is drawn of them, and how much of it."""

    runs: dict[str, Path]
    hosts: list[Host]
    limit_hosts: list[Host]
    defects: DefectSettings
    pdf: PDFSettings
    effort: Effort

    @classmethod
    def of(cls, options: Namespace) -> Study:
        hosts = held_out_hosts(options.store, options.runs)
        description = Store(options.store).description
        effort = _QUICK if options.quick else _FULL
        return cls(
            {run.name: run for run in options.runs},
            hosts,
            of_all_groups(hosts, effort.hosts),
            description.defects,
            description.pdf,
            effort,
        )

    def by_networks(self, rows: Rows, defective: np.ndarray) -> Predictions:
        """What each network says of rows with these defective traces."""
        return {name: predicted(run, rows.pristine, defective) for name, run in self.runs.items()}

    def errors(self, size: int | None, per_kind: int) -> tuple[Rows, Predictions]:
        """Fresh draws of all hosts, in cubes of `size` cells; None for the store's supercells."""
        cells = {} if size is None else {"supercell": (size,) * 3}
        defects = self.defects.model_copy(update=cells)
        rows = draw_rows(self.hosts, defects, self.pdf, per_kind, _SEED)
        return rows, self.by_networks(rows, rows.defective)

    def near_the_limit(self, host: Host) -> tuple[Rows, dict[Noise, Predictions]]:
        """Draws of one host and what likelihood and networks say of them at each noise."""
        likelihood = learnt_likelihood(host, self.defects, self.pdf, self.effort.learnt)
        rows = draw_rows([host], self.defects, self.pdf, self.effort.judged, _SEED)
        said: dict[Noise, Predictions] = {}
        for noise in self.effort.noises:
            noisy = rows.noisy(noise, _SEED)
            deviation = float(noise.deviation(rows.pristine)[0, 0])
            said[noise] = {
                f"limit, scale {scale}": likelihood.log_likelihood(
                    noisy, deviation, scale == "free"
                ).argmax(axis=1)
                for scale in ("known", "free")
            } | self.by_networks(rows, noisy)
        return rows, said


def learnt_likelihood(
    host: Host, defects: DefectSettings, pdf: PDFSettings, per_kind: int
) -> HostLikelihood:
    """The likelihood of a host's defects, learnt from so many draws of each kind."""
    stream = VariantStream([host], defects, pdf)
    label = np.repeat(np.arange(len(KINDS) + 1), per_kind)
    g, drawn = stream.draw(
        np.zeros_like(label), label, random_seeds(len(label), torch.Generator().manual_seed(_SEED))
    )
    changes = stream.draws.changes(drawn)[per_kind:]
    pristine, defective = g[0].numpy(), g[per_kind:].numpy()
    return HostLikelihood(stream.draws.supercells[0], pdf, changes, defective, pristine)


def make_study(options: Namespace) -> dict[str, Any]:
    """All tables, and what they are of."""
    study = Study.of(options)
    rows, said = study.errors(None, study.effort.per_kind)
    print(f"{len(rows.kind)} draws of {len(study.hosts)} hosts", file=sys.stderr)
    fewer = -(-study.effort.per_kind // 5)
    by_size = {size: study.errors(size, fewer) for size in study.effort.supercells}
    judged = []
    for host in study.limit_hosts:
        print(f"limit: {host.element}, {host.space_group}, {host.id}", file=sys.stderr)
        judged.append(study.near_the_limit(host))
    limit = limit_tables([one for one, _ in judged], [says for _, says in judged])
    scalings = {name: read_problem(run).recipe.scaling for name, run in study.runs.items()}
    return {
        "machine": machine(),
        "versions": versions(),
        "runs": scalings,
        "hosts": len(study.hosts),
        "limit_hosts": len(study.limit_hosts),
        "tables": network_tables(rows, said, by_size) | limit,
    }


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="of `defectpdf generate`")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="of `defectpdf train`")
    docs = Path(__file__).parents[2] / "docs"
    parser.add_argument("--out", type=Path, default=docs, help="folder of tables and figure")
    parser.add_argument("--quick", action="store_true", help="few draws, to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON, too")
    options = parser.parse_args()
    try:
        content = make_study(options)
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(options.out / "identifiability.json", content)
        write_text(options.out / "identifiability-tables.md", tables_page(content))
        with report_style(), matplotlib.rc_context({"savefig.facecolor": "white"}):
            figure = draw_figure(content["tables"])
            figure.savefig(options.out / "identifiability.png", dpi=100)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    if options.json:
        print(json.dumps(content))


if __name__ == "__main__":
    main()
