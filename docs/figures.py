"""Makes the README's figures from a finished run: python docs/figures.py RUN STORE."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np

from train.judging.evaluation import predict_part
from train.report.figures import confusion_figure, report_style
from train.report.report import examples_figure

FOLDER = Path(__file__).parent


def main(run: Path, store: Path) -> None:
    with report_style(), matplotlib.rc_context({"savefig.facecolor": "white"}):
        predictions = predict_part(run, store, "test")
        store_of_run, rows = predictions.store, predictions.rows
        is_published = store_of_run.origin[store_of_run.rows[rows, 0]] == "published"
        confusion = np.array(predictions.score()["confusion"])
        figures = {
            "confusion": confusion_figure(confusion, predictions.config.classes),
            "examples": examples_figure(store_of_run, rows[is_published], seed=0),
        }
        for name, figure in figures.items():
            figure.savefig(FOLDER / f"{name}.png", dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
