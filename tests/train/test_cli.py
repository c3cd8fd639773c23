"""The console command as users meet it, where it matters in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from crystals import fcc_cif

from pdfcalc import PDFParameters, calculate_pdf, read_gr
from train.cli import main
from train.setup.endings import say_warnings

COMMANDS = (
    *("library", "generate", "status", "verify", "export", "pdf"),
    *("train", "evaluate", "predict", "refine", "baselines", "robustness", "explain", "report"),
    *("export-model", "launch"),
)
CIF = fcc_cif("Cu", 3.615, 0.0065)


def defectpdf(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "from train.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "run.toml").write_text("[defects]\nsupercell = [2, 2, 2]\n[pdf]\nrmax = 12.0\n")
    out = defectpdf("generate", folder / "run.toml", "--store", folder / "s.zarr", "--limit", 3)
    assert out.returncode == 0, out.stderr
    assert "3 hosts x 13 variants, 0 hosts quarantined; 39 PDFs computed" in out.stdout
    return folder / "s.zarr"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    out = defectpdf(name, "--help")
    assert out.returncode == 0
    assert "Usage" in out.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys, train.cli; "
        "print([m for m in ('torch', 'dask', 'zarr', 'scipy', 'pymatgen', 'matplotlib', 'numpy')"
        " if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_status_and_verify_report_in_json(store):
    found = json.loads(defectpdf("status", store, "--json").stdout)
    assert (found["n_done"], found["complete"], found["running"]) == (3, True, False)
    found = json.loads(defectpdf("verify", store, "--json").stdout)
    assert found["ok"]
    assert (found["n_structures"], found["n_pdfs"]) == (3, 39)
    assert len(found["digest"]) == 64


def test_verify_of_a_damaged_store_fails(store, tmp_path):
    import shutil

    damaged = tmp_path / "damaged.zarr"
    shutil.copytree(store, damaged)
    for file in (damaged / "label" / "c").rglob("*"):
        if file.is_file():
            file.unlink()
    out = defectpdf("verify", damaged, "--json")
    assert out.returncode == 1
    assert not json.loads(out.stdout)["ok"]


def test_export_then_pdf(store, tmp_path):
    out = defectpdf("export", store, "--structure", 1, "--variant", 12, tmp_path / "atoms.cif")
    assert out.returncode == 0, out.stderr
    out = defectpdf("pdf", tmp_path / "atoms.cif", "--rmax", 10, "--out", tmp_path / "atoms.gr")
    assert out.returncode == 0, out.stderr
    rows = (tmp_path / "atoms.gr").read_text().split("#### start data\n")[1].splitlines()[1:]
    assert len(rows) == 1000
    assert rows[-1].startswith("9.99 ")


def test_partial_pdf_of_a_cif_file(tmp_path):
    path = tmp_path / "alloy.cif"
    path.write_text(CIF + "Zn 0.5 0 0 0.0065\n")
    arguments = ("--rmin", 2, "--rmax", 4, "--scale", 3, "--spdiameter", 50, "--stepcut", 3.5)
    out = defectpdf("pdf", path, "--pair", "Zn-Cu", *arguments)
    assert out.returncode == 0, out.stderr
    found = np.array([line.split() for line in out.stdout.splitlines()], dtype=float).T
    parameters = PDFParameters(
        *(2.0, 4.0, 0.01, 0.6, 23.6, 0.0291601718936, 0.0103215402787),
        scale=3.0,
        spdiameter=50.0,
        stepcut=3.5,
    )
    expected = calculate_pdf(path, parameters, pair=("Cu", "Zn"))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_a_pdf_assumes_of_its_file_is_said_and_written(tmp_path):
    path = tmp_path / "salt.cif"
    path.write_text(CIF.replace("\nCu 0 0 0 0.0065", "\nNa1+ 0 0 0 0.02\nCl 0.5 0.5 0.5 ?"))
    out = defectpdf("pdf", path)
    assert out.returncode == 2
    assert "salt.cif: no usable Uiso of Cl, and none is known outside metals" in out.stderr
    assert out.stderr.strip().endswith("or give it as --uiso Cl=0.01")
    out = defectpdf("pdf", path, "--uiso", "Cl=0.03", "--out", tmp_path / "salt.gr", "--rmax", 5)
    assert out.returncode == 0, out.stderr
    assert out.stderr.splitlines() == [
        f"defectpdf: warning: {path}: no symmetry operations; those of space group 'F m -3 m' used",
        f"defectpdf: warning: {path}: no usable Uiso of Cl: 0.03 A^2 used, as given",
    ]
    assert "Uiso (A^2): Na 0.02, Cl 0.03" in out.stdout
    assert "uiso = Na 0.02, Cl 0.03\n" in (tmp_path / "salt.gr").read_text()
    assert read_gr(tmp_path / "salt.gr").r[-1] == pytest.approx(4.99)


def test_a_warning_is_one_line(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        say_warnings()
        warnings.warn("odd\nthing", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "defectpdf: warning: odd thing\n"


def test_library_of_cif_files(tmp_path):
    folder = tmp_path / "my 'CIF' files"
    folder.mkdir()
    (folder / "Cu.cif").write_text(CIF)
    (folder / "empty.cif").write_text("")
    out = defectpdf("library", "--cif", folder, "--out", tmp_path / "library.json", "--json")
    assert out.returncode == 0, out.stderr
    report = json.loads(out.stdout)
    assert (report["n_accepted"], report["n_quarantined"]) == (1, 1)
    assert report["quarantined"][0]["file"] == "empty.cif"
    assert report["quarantined"][0]["reason"]
    (host,) = json.loads((tmp_path / "library.json").read_text())
    assert (host["element"], host["space_group"], host["uiso"]) == ("Cu", 225, 0.0065)


def test_the_embedded_library():
    report = json.loads(defectpdf("library", "--json").stdout)
    assert report["n_accepted"] == 1172
    assert report["space_groups"] == {
        "139": 83, "140": 32, "141": 52, "194": 341, "225": 391, "229": 273
    }  # fmt: skip
    published = json.loads(defectpdf("library", "--published-only", "--json").stdout)
    assert published["origins"] == {"published": published["n_accepted"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "missing.zarr"], "missing.zarr is not a store"),
        (["verify", "missing.zarr"], "missing.zarr is not a store"),
        (["generate", "missing.toml", "--store", "s.zarr"], "missing.toml: No such file"),
        (["library", "--cif", "missing"], "missing"),
        (["pdf", "missing.cif"], "missing.cif"),
        (["pdf", "missing.cif", "--delta2", "-1"], "delta2 = -1.0: must be finite"),
        (["pdf", "missing.cif", "--pair", "Cu"], "--pair Cu: give two elements as Cu-Au"),
        (["pdf", "missing.cif", "--uiso", "Cl=x"], "--uiso Cl=x: give a displacement in A^2 as"),
        (["pdf", "missing.cif", "--uiso", "nan"], "--uiso nan: give a displacement in A^2 as"),
        (["pdf", "missing.cif", "--uiso", "0"], "--uiso 0: give a displacement in A^2 as 0.01"),
        (["refine", "missing.cif", "missing.gr"], "missing.cif"),
        (["train", "missing.zarr", "--out", "run"], "missing.zarr"),
        (["train", "missing.zarr", "--out", "run", "--set", "epoch=9"], "did you mean epochs?"),
        (["evaluate", "missing", "missing.zarr"], "missing"),
        (["baselines", "missing.zarr"], "missing.zarr is not a store"),
        (["explain", "missing", "missing.zarr", "-o", "a.png"], "missing is not a run directory"),
        (["explain", "missing", "missing.zarr", "-o", "a.jpg"], "must end in .svg or .png"),
        (["report", "missing", "-o", "report.html"], "missing"),
        (["export-model", "missing", "--out", "model"], "missing is not a run directory"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["defectpdf", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line


def test_rows_that_are_not_there_are_refused(store):
    out = defectpdf("export", store, "--structure", 3, "--variant", 0, "atoms.cif")
    assert (out.returncode, out.stderr.count("\n")) == (2, 1)
    assert "structure 3: the store has 0 to 2" in out.stderr


def in_place_of(path: Path, kind: str) -> None:
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(2**40)


@pytest.mark.parametrize("kind", ["a pipe", "a device", "too much"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "odd", "--store", "s.zarr"),
        ("generate", "odd", "--store", "s.zarr", "--dry-run"),
        ("generate", "run.toml", "--store", "s.zarr"),
        ("generate", "--store", "s.zarr", "--scheduler", "odd"),
        ("pdf", "odd"),
        pytest.param(("evaluate", "run", "s.zarr"), marks=pytest.mark.slow),
    ],
)
def test_what_is_no_file_is_not_waited_for(tmp_path, arguments, kind):
    (tmp_path / "run").mkdir()
    (tmp_path / "run.toml").write_text('[library]\nsource = "odd"\n')
    name = "run/config.json" if arguments[0] == "evaluate" else "odd"
    if kind == "too much" and (arguments[1] == "run.toml" or "--scheduler" in arguments):
        pytest.skip("libraries may be large, and of a scheduler file only the beginning is read")
    in_place_of(tmp_path / name, kind)
    code = "from train.cli import main; main()"
    out = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert out.returncode == 2
    (line,) = out.stderr.splitlines()
    assert name in line
    assert kind in line
