"""The network that comes with the toolkit, for measurements of anyone.

    python -m train.measured.pretrained RUN STORE

puts a finished run on a store in its place, as `jobs/pretrain.sh` does at its end.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from train.data.store import Dataset
from train.run_files import CALIBRATION, CONFIG, FAMILIARITY, METRICS, MODEL
from train.runs.rundir import read_config, read_metrics, read_rows, write_json, write_text

PRETRAINED = Path(__file__).parent / "pretrained"
CARD, HELD_OUT = "README.md", "held_out.json"
_COPIED = (MODEL, CALIBRATION, FAMILIARITY, METRICS)


def keep(run: Path, store: Path, folder: Path = PRETRAINED) -> None:
    """Copy what judging takes of a finished run, with its card and the hosts that it never saw.

    Raises:
        ValueError: it is none, or one on another store.
    """
    text, config = card(run), read_config(run)
    examples = config.problem.examples(Dataset.open(store))
    hosts = np.unique(examples.rows[read_rows(run, "test", examples), 0])
    folder.mkdir(exist_ok=True)
    for name in _COPIED:
        shutil.copyfile(run / name, folder / name)
    named = config.model_copy(update={"store": store.name})
    write_json(folder / CONFIG, named.model_dump(mode="json"))
    write_json(folder / HELD_OUT, examples.id[hosts].tolist())
    write_text(folder / CARD, text)


def held_out() -> frozenset[str]:
    """Ids of the hosts that the network was tested on."""
    return frozenset(json.loads((PRETRAINED / HELD_OUT).read_text()))


def card(run: Path) -> str:
    """What the network is, and how well it does on hosts that it never saw."""
    config, metrics = read_config(run), read_metrics(run)
    scores = metrics["test"]
    rows = "\n".join(
        f"| {name.replace('_', '-')} | {of['n']} | {of['recall']:.1%} | {of['precision']:.1%} |"
        for name, of in scores["per_class"].items()
    )
    return f"""# The network that `defectpdf analyse` asks

Tells point defects by what the refined perfect crystal leaves of a measured PDF, with scale, cell,
displacements and instrument free. It learned from simulated samples alone, whose atoms relax
around their defects and whose hosts were each measured on an instrument of its own
(`jobs/pretrained.toml`), with noise of up to 6 % of the rms of G and slow errors of S(Q). X-rays.

Recipe `{config.recipe.name}`, split by {config.split} ({config.split_meaning}), seed {config.seed}.
On the {scores["n"]} samples of hosts that it never saw, all of these errors on:
accuracy {scores["accuracy"]:.1%}, calibration error {scores["calibration"]["ece"]:.1%}.

| class | samples | found | right where claimed |
|---|---|---|---|
{rows}

With a scale that is free a vacancy and a small substitution can hardly be told from none; the
probabilities say so. Its word narrows what the fits of `analyse` claim, and never adds to it.

Trained again by `bash jobs/pretrain.sh`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("store", type=Path)
    given = parser.parse_args()
    try:
        keep(given.run, given.store)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
