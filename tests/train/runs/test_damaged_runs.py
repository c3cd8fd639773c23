"""Every file of a run directory, damaged in every way, under every command that reads it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crystals import fcc_cif
from safetensors.torch import load_file, save_file

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf, write_gr
from train.cli import main

MEASURED = PDFParameters(rmax=15.0, qmin=0.6, qmax=24.0, qdamp=0.035, qbroad=0.012)
SETTINGS = ("epochs=1", "batch_size=8")
COMMANDS = ("evaluate", "predict", "report", "explain", "robustness", "export-model", "train")
CONTINUE = "train, not finished"
NEEDED_BY = {
    "config.json": (*COMMANDS, CONTINUE),
    "split.json": ("evaluate", "report", "explain", "robustness"),
    "split.safetensors": ("evaluate", "report", "explain", "robustness"),
    "model.safetensors": ("evaluate", "predict", "report", "explain", "robustness", "export-model"),
    "calibration.json": ("evaluate", "predict", "report", "robustness", "export-model"),
    "familiarity.safetensors": ("predict",),
    "metrics.jsonl": ("report",),
    "metrics.json": ("predict", "train", "export-model"),
    "snapshot.pt": (CONTINUE,),
}
"""The commands that read each file, the quickest first where it can be."""
HARMLESS = {
    *((CONTINUE, "snapshot.pt", damage) for damage in ("deleted", "a link to nothing")),
    *(("train", "metrics.json", damage) for damage in ("deleted", "a link to nothing")),
    *((command, "split.safetensors", "nan in signatures") for command in COMMANDS),
}
"""Runs that are not finished have no more, and signatures are not looked into."""

Damage = Callable[[Path], object]


class Runs:
    """A finished run, and commands on copies of it."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self.store, self.run = folder, store, folder / "finished"
        (folder / "copper.cif").write_text(fcc_cif("Cu", 3.615, 0.006))
        frac = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
        copper = AtomicStructure(np.eye(3) * 3.63, frac, ["Cu"] * 4, [0.007] * 4)
        write_gr(folder / "copper.gr", *calculate_pdf(copper, MEASURED), MEASURED)

    def copied(self, to: Path) -> Path:
        """A copy of the finished run, whose files are to be replaced, not written to."""
        return Path(shutil.copytree(self.run, to, copy_function=os.link))

    def arguments(self, command: str, run: Path) -> list[str]:
        folder, run_and_store = run.parent, [str(run), str(self.store)]
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        measured = [str(self.folder / name) for name in ("copper.gr", "copper.cif")]
        train = ["train", str(self.store), "--out", str(run), *settings]
        return {
            "train": train,
            CONTINUE: train,
            "evaluate": ["evaluate", *run_and_store],
            "predict": ["predict", str(run), measured[0], "--structure", measured[1]],
            "report": ["report", str(run), "-o", str(folder / "report.html")],
            "explain": ["explain", *run_and_store, "-o", str(folder / "figure.svg")],
            "robustness": ["robustness", *run_and_store],
            "export-model": ["export-model", str(run), "--out", str(folder / "model")],
        }[command]


def defectpdf(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """Exit code and standard error of a command."""
    before, sys.argv = sys.argv, ["defectpdf", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code or 0, capfd.readouterr().err
    finally:
        sys.argv = before
    raise AssertionError("main() returned")


@pytest.fixture(scope="module")
def runs(real_store, tmp_path_factory) -> Runs:
    runs = Runs(tmp_path_factory.mktemp("runs"), real_store)
    sys.argv = ["defectpdf", *runs.arguments("train", runs.run)]
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    return runs


def written(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content)


def dumped(content: Any) -> Damage:
    return written(json.dumps(content).encode())


def pipe_in_place(path: Path) -> None:
    os.mkfifo(path)


def damages_of_any(content: bytes) -> Iterator[tuple[str, Damage]]:
    yield "deleted", lambda path: None
    yield "emptied", written(b"")
    yield "cut in half", written(content[: len(content) // 2])
    yield "a folder", Path.mkdir
    yield "a pipe", pipe_in_place
    yield "a device without end", lambda path: path.symlink_to("/dev/zero")
    yield "a link to nothing", lambda path: path.symlink_to("nothing")


def of_another_type(value: Any) -> Any:
    return 5 if isinstance(value, (str, list, dict)) else ["another"]


def damages_of_json(content: dict[str, Any]) -> Iterator[tuple[str, Damage]]:
    for other in ([], None, 5, "text", {}):
        yield f"{other!r}", dumped(other)
    yield "not UTF-8", written(b'{"\xff": 1}')
    yield "nested without end", written(b"[" * 100_000 + b"]" * 100_000)
    yield "a number without end", written(b'{"epoch": ' + b"9" * 100_000 + b"}")
    for key, value in content.items():
        yield f"without {key}", dumped({k: v for k, v in content.items() if k != key})
        yield f"another type of {key}", dumped(content | {key: of_another_type(value)})


def damages_of_tensors(tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, Damage]]:
    def saved(content: dict[str, torch.Tensor]) -> Damage:
        return lambda path: save_file(content, path)

    yield "no tensor", saved({})
    for name in (min(tensors), max(tensors)):
        yield f"without {name}", saved({k: v for k, v in tensors.items() if k != name})
        yield f"another shape of {name}", saved(tensors | {name: torch.ones(3, 1, 7)})
        yield f"nan in {name}", saved(tensors | {name: tensors[name] * torch.nan})


def damages_of_snapshot(state: dict[str, Any]) -> Iterator[tuple[str, Damage]]:
    def saved(content: dict[str, Any]) -> Damage:
        return lambda path: torch.save(content, path)

    yield "a list", lambda path: torch.save([1, 2], path)
    for key, value in state.items():
        yield f"without {key}", saved({k: v for k, v in state.items() if k != key})
        yield f"another type of {key}", saved(state | {key: of_another_type(value)})


def damages_of(path: Path) -> dict[str, Damage]:
    """What may have happened to a sound file of a run, by name."""
    content = path.read_bytes()
    found = dict(damages_of_any(content))
    if path.suffix == ".json":
        found |= damages_of_json(json.loads(content))
    elif path.suffix == ".jsonl":
        lines = damages_of_json(json.loads(content))
        # An object without keys, and text that is none, are no lines of theirs either.
        found |= {f"a line: {name}": damage for name, damage in lines}
    elif path.suffix == ".safetensors":
        found |= damages_of_tensors(load_file(path))
    else:
        found |= damages_of_snapshot(torch.load(path, weights_only=True))
    return found


def check(runs: Runs, folder: Path, file: str, command: str, damage: str, capfd: Any) -> None:
    """A command on a run with a damaged file ends as it should."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run = runs.copied(folder / "run")
    if command == CONTINUE:
        (run / "metrics.json").unlink()
    (run / file).unlink()
    damages_of(runs.run / file)[damage](run / file)
    code, error = defectpdf(runs.arguments(command, run), capfd)
    told = f"{command} on {file}, {damage}: {code}, {error}"
    assert "Traceback" not in error, told
    needed = command in NEEDED_BY[file] and (command, file, damage) not in HARMLESS
    # Training writes all files, and reads a split that is there.
    if needed or (command == CONTINUE and damage != "deleted" and code):
        assert code == 2, told
        (line,) = error.splitlines()
        assert line.startswith("defectpdf: error: "), told
        assert str(run / file) in line or (str(run) in line and file in line), told
    else:
        assert code == 0, told


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=() if command in ("evaluate", "predict") else pytest.mark.slow)
        for command in (*COMMANDS, CONTINUE)
    ],
)
def test_every_command_names_what_it_lacks(runs, tmp_path, capfd, command):
    for file in (file for file, commands in NEEDED_BY.items() if command in commands):
        for damage in ("deleted", "emptied", "a folder"):
            check(runs, tmp_path / "case", file, command, damage, capfd)


QUICK = {("split.json", "evaluate")}


@pytest.mark.parametrize(
    ("file", "command"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for case in product(NEEDED_BY, (*COMMANDS, CONTINUE))
        if case != ("metrics.json", CONTINUE)  # by which a run is known to be finished
    ],
)
def test_any_damage_under_any_command(runs, tmp_path, capfd, file, command):
    damages = list(damages_of(runs.run / file))
    # What is not read needs no more than a look.
    for damage in damages if command in NEEDED_BY[file] else ("deleted", "a pipe"):
        check(runs, tmp_path / "case", file, command, damage, capfd)


@pytest.mark.parametrize(
    "points",
    ["[]", "[1, 1, 1]", "[2, 1]", "[1, NaN, 3]", "[1, Infinity]", "[1, 1e999]", '["1", 2]'],
)
def test_points_that_do_not_rise_are_refused(runs, tmp_path, capfd, points):
    run = runs.copied(tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    content["problem"]["points"] = "these"
    (run / "config.json").unlink()
    (run / "config.json").write_text(json.dumps(content).replace('"these"', points))
    code, error = defectpdf(runs.arguments("predict", run), capfd)
    assert code == 2, error
    assert error.startswith(f"defectpdf: error: {run / 'config.json'} is damaged (problem: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "file",
    [
        "split.json",
        *(
            pytest.param(file, marks=pytest.mark.slow)
            for file in NEEDED_BY
            if file not in ("config.json", "snapshot.pt", "split.json")
        ),
    ],
)
def test_the_remedy_makes_the_file_anew(runs, tmp_path, capfd, file):
    run = runs.copied(tmp_path / "run")
    for name in {file} if file.startswith("split.") else {file, "metrics.json"}:
        (run / name).unlink()
    code, error = defectpdf(runs.arguments("train", run), capfd)
    assert code == 0, error
    made, before = (read_for_comparison(folder / file) for folder in (run, runs.run))
    assert made == before


def read_for_comparison(path: Path) -> Any:
    """What a file holds, without how long it took."""
    if path.suffix == ".safetensors":
        return {name: value.tolist() for name, value in load_file(path).items()}
    content = json.loads(path.read_text())
    return {key: value for key, value in content.items() if key != "seconds"}
