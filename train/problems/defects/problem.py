"""The defects problem: what a trace of a host with and without defects says of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from train.data.store import Dataset
from train.judging.calibration import Calibration
from train.judging.evaluation import Judged
from train.problems import Program, Section
from train.problems.defects.task import DefectTask
from train.runs.rundir import read_config

if TYPE_CHECKING:
    from train.problems.defects.attribution import Along
    from train.problems.defects.explanation import Explanation
    from train.problems.defects.robustness import Robustness


class Defects(DefectTask):
    """The task, and all that is made of what a network has learned of it."""

    def summary(self, scores: Mapping[str, Any]) -> str:
        rates = f"accuracy {scores['accuracy']:.4f}, top-2 {scores['top2']:.4f}"
        return f"{rates} on {scores['n']} {self.trace.title}"

    def print_scores(self, scores: dict[str, Any], title: str) -> None:
        from train.problems.defects.tables import print_scores

        print_scores(scores, title, self.trace)

    def cards(self, scores: Mapping[str, Any]) -> dict[str, str]:
        return {
            "test accuracy": f"{100 * scores['accuracy']:.2f} %",
            "top-2 accuracy": f"{100 * scores['top2']:.2f} %",
            f"test {self.trace.title}": str(scores["n"]),
            "calibration error": f"{100 * scores['calibration']['ece']:.1f} %",
        }

    def sections(self, found: Judged, scores: dict[str, Any]) -> Iterator[Section]:
        from train.problems.defects.sections import run_sections

        return run_sections(found, scores)

    def caveats(self) -> tuple[str, ...]:
        from train.problems.defects.sections import caveats_of

        return caveats_of(self.trace, self.recipe)

    def store_report(self, data: Dataset) -> tuple[str, list[Section]]:
        from train.problems.defects.sections import store_sections

        title = f"{self.trace.title} of metals with point defects: {data.path.resolve().name}"
        return title, list(store_sections(self.examples(data)))

    def baselines(self, data: Dataset, split: str | None, seed: int) -> dict[str, Any]:
        from train.problems.defects.baselines import score_baselines

        return score_baselines(self, data, split, seed)

    def print_baselines(self, found: dict[str, Any]) -> None:
        from train.problems.defects.tables import print_baselines

        print_baselines(found)

    def fits(self, found: Judged) -> dict[str, Any]:
        from train.problems.defects.fit_scores import score_fits

        self.require_pdf("fit")
        return score_fits(found, self)

    def explain(self, run: Path, store: Path, part: str, along: str) -> Explanation:
        from train.problems.defects.explanation import explain

        self.require_pdf("explanation")
        return explain(run, store, part, cast("Along", along))

    def robustness(self, run: Path, store: Path, part: str) -> Robustness:
        from train.problems.defects.robustness import measure_robustness

        self.require_pdf("measure of robustness")
        return measure_robustness(run, store, part)

    def program(self, model: torch.nn.Module, calibration: Calibration) -> Program:
        from train.problems.defects.program import program_of

        return program_of(self, model, calibration)


def read_problem(run: Path) -> Defects:
    """What a run directory is about; ValueError if that is another problem, or it is no run."""
    problem = read_config(run).problem
    if not isinstance(problem, Defects):
        raise ValueError(f"{run} is of the problem {problem.name!r}, not of defects")
    return problem
