"""Makes the README's figures from a finished run: python docs/figures.py RUN STORE."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np

from train.problems.defects.examples import DefectExamples
from train.problems.defects.sections import examples_figure
from train.report.figures import confusion_figure, report_style
from train.runs.predictions import predict_part

FOLDER = Path(__file__).parent


def main(run: Path, store: Path) -> None:
    with report_style(), matplotlib.rc_context({"savefig.facecolor": "white"}):
        predictions = predict_part(run, store, "test")
        assert isinstance(predictions.examples, DefectExamples)
        store_of_run, rows = predictions.examples, predictions.rows
        is_published = store_of_run.origin[store_of_run.rows[rows, 0]] == "published"
        confusion = np.array(predictions.score()["confusion"])
        figures = {
            "confusion": confusion_figure(confusion, store_of_run.classes),
            "examples": examples_figure(store_of_run, rows[is_published], seed=0),
        }
        for name, figure in figures.items():
            figure.savefig(FOLDER / f"{name}.png", dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
