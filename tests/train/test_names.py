"""Names that rich or matplotlib would take for markup are printed and drawn as they are."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crystals import fcc_cif
from rich.table import Table
from runs import TOML, command

from defectgen.hosts.library import embedded_library, write_library
from defectgen.sources.defects import evenly_spaced
from hpc.watching.console import plain_console
from pdfcalc import PDFParameters, calculate_pdf, write_gr
from train.cli import main
from train.problems.defects.figures import histogram_figure
from train.problems.defects.tables import print_scores
from train.problems.defects.trace import Trace
from train.report.figures import confusion_figure, to_svg

ODD = "a[/]b[bold] :warning: $x_$ [link=file]"
MEASURED = PDFParameters(rmax=15.0, qmin=0.6, qmax=24.0, qdamp=0.035, qbroad=0.012)
WITH_MISSING = {
    "library": ("--cif", ODD),
    "generate": (f"{ODD}.toml", "--store", "s.zarr"),
    "status": (ODD,),
    "verify": (ODD,),
    "export": (ODD, "a.cif", "--structure", "0", "--variant", "0"),
    "pdf": (f"{ODD}.cif",),
    "train": (ODD, "--out", "run"),
    "evaluate": (ODD, "s.zarr"),
    "predict": (ODD, "a.gr", "--structure", "a.cif"),
    "baselines": (ODD,),
    "robustness": (ODD, "s.zarr"),
    "explain": (ODD, "s.zarr", "-o", "a.svg"),
    "report": (ODD, "-o", "a.html"),
    "export-model": (ODD, "--out", "model"),
}
TRAINED = ("--set", "epochs=1", "--set", "batch_size=8")
RUN, STORE = "run[/]", "store[/].zarr"
COMMANDS = {
    "library": ("--cif", ".", "--out", "[/].json"),
    "generate": ("run[/].toml", "--store", STORE),
    "status": (STORE,),
    "verify": (STORE,),
    "export": (STORE, "atoms[/].cif", "--structure", "0", "--variant", "1"),
    "pdf": ("copper[/].cif", "--out", "[/].gr"),
    "train": (STORE, "--out", RUN, *TRAINED),
    "evaluate": (RUN, STORE),
    "predict": (RUN, "$copper[/]$.gr", "--structure", "copper[/].cif", "--out", "figures[/]"),
    "robustness": (RUN, STORE, "--out", "robustness[/].svg"),
    "explain": (RUN, STORE, "-o", "explanation[/].svg"),
    "report": (RUN, "-o", "report[/].html"),
    "export-model": (RUN, "--out", "model[/]"),
}


def defectpdf(*arguments: object) -> Any:
    """The exit code of a command in this process."""
    before, sys.argv = sys.argv, ["defectpdf", *map(str, arguments)]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = before
    raise AssertionError("main() returned")


@pytest.mark.parametrize("name", WITH_MISSING)
def test_an_error_names_what_was_given_as_it_is(tmp_path, monkeypatch, capfd, name):
    monkeypatch.chdir(tmp_path)
    assert defectpdf(name, *WITH_MISSING[name]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert ODD in line


@pytest.mark.slow
def test_the_program_of_torchrun_names_it_as_well(tmp_path):
    program = [sys.executable, "-m", "train", ODD, "--out", "run"]
    out = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert out.returncode == 2
    (line,) = out.stderr.splitlines()
    assert ODD in line


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of an odd name, with the files and hosts that commands take."""
    folder = Path(tmp_path_factory.mktemp("names"), ODD)
    for word in ("library[/].json", *(word for words in COMMANDS.values() for word in words)):
        (folder / word).parent.mkdir(parents=True, exist_ok=True)
    hosts = [
        host.model_copy(update={"id": f"{place} {ODD}", "source": ODD})
        for place, host in enumerate(evenly_spaced(embedded_library(), 11))
    ]
    write_library(folder / "library[/].json", hosts)
    source = 'source = "../library[/].json"'
    (folder / "run[/].toml").write_text(TOML.replace("limit = 11", source))
    (folder / "copper[/].cif").write_text(fcc_cif("Cu", 3.615, 0.006))
    write_gr(
        folder / "$copper[/]$.gr", *calculate_pdf(folder / "copper[/].cif", MEASURED), MEASURED
    )
    return folder


@pytest.mark.slow
def test_every_command_works_where_names_are_odd(folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    made = subprocess.run(
        command("generate", *COMMANDS["generate"]), capture_output=True, text=True
    )
    assert (made.returncode, made.stdout.startswith(STORE)) == (0, True), made.stderr
    named = {
        **dict.fromkeys(("status", "verify"), STORE),
        **dict.fromkeys(("train", "evaluate", "explain", "robustness"), RUN),
        "predict": "$copper[/]$.gr",
    }
    # The second time a run is finished already.
    for name in ("train", *(name for name in COMMANDS if name != "generate")):
        code = defectpdf(name, *COMMANDS[name])
        out, error = capfd.readouterr()
        assert code == 0, (name, error)
        # Titles are wrapped to the width of their tables.
        assert named.get(name, "") in "".join(out.split("\n")), (name, out)


def scores_of(names: list[str]) -> dict[str, Any]:
    of_class = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "n": 1}
    return {
        "accuracy": 0.5,
        "top2": 1.0,
        "n": len(names),
        "per_class": dict.fromkeys(names, of_class),
        "confusion": np.eye(len(names), dtype=int).tolist(),
        "calibration": {"ece": 0.1},
    }


def test_classes_of_any_name_are_in_the_tables(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    trace = Trace(
        array="g",
        axis="r",
        long_name="G(r)",
        units="angstrom-2",
        axis_long_name="distance",
        axis_units="angstrom",
    )
    print_scores(scores_of(["[/]", "[bold]", ":warning:"]), f"{ODD}, test part", trace)
    shown = capfd.readouterr().out
    assert f"{ODD}, test part" in " ".join(shown.split())
    assert all(shown.count(name) >= 3 for name in ("[/]", "[bold]", ":warning:"))


def test_titles_captions_heads_and_cells_are_text():
    console = plain_console(width=200)
    console.file = io.StringIO()
    table = Table(ODD, title=f"title {ODD}", caption=f"caption {ODD}")
    table.add_row(f"cell {ODD}")
    console.print(table)
    console.print(ODD)
    assert console.file.getvalue().count(ODD) == 5


@pytest.mark.parametrize("name", ["$_$", r"$\frac$", "a$b", "_hidden"])
def test_names_in_figures_are_no_formulas(name):
    to_svg(confusion_figure(np.eye(2, dtype=int), [name, "other"]))
    figure = histogram_figure({name: np.arange(3)}, np.arange(4), "x", "y", "title")
    (legend,) = (axes.get_legend() for axes in figure.axes)
    (text,) = legend.get_texts()
    assert text.get_text().replace(r"\$", "$") == name.replace("_", "-")
    to_svg(figure)
