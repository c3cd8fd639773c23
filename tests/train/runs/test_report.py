from __future__ import annotations

import os
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from train.fitting.loop import fit
from train.problems.defects import PLUG_IN as Defects
from train.problems.defects.recipes import make_recipe
from train.report.figures import binned_accuracy
from train.runs.report import write_report
from train.setup.distributed import World


class _Page(HTMLParser):
    """Tags, and every address that a browser would fetch."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [
            value for name, value in attributes if name in ("src", "href", "xlink:href") and value
        ]


def test_run_report_is_complete_and_self_contained(store_path, tmp_path):
    run = tmp_path / "<i>run"
    recipe = make_recipe("default", {"epochs": 1})
    fit(store_path, run, recipe, "row", 0, World(0, 1, torch.device("cpu")))
    write_report(run, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert page.tags.count("svg") == 4
    assert all(address.startswith(("#", "data:image/png")) for address in page.addresses)
    assert "script" not in page.tags
    assert "i" not in page.tags
    assert "&lt;i&gt;run" in text
    assert "test hosts are also in training" in text
    assert "a training host is left out" not in text
    assert "currentColor" in text

    moved = shutil.copytree(run, tmp_path / "moved")
    config = moved / "config.json"
    config.write_text(config.read_text().replace(str(store_path), "/gone.zarr"))
    with pytest.raises(ValueError, match=r"/gone\.zarr is not a store"):
        write_report(moved, tmp_path / "moved.html")
    write_report(moved, tmp_path / "moved.html", store_path)


def test_store_report_escapes_what_the_store_says(store_path, tmp_path):
    write_report(store_path, tmp_path / "report.html", problem=Defects)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert "script" not in page.tags
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;b&gt;toy&lt;/b&gt;" in text
    assert page.tags.count("svg") == 2
    assert "<b>48</b>hosts" in text
    assert "<b>1</b>quarantined hosts" in text


def test_anything_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither a run directory nor a store"):
        write_report(tmp_path, tmp_path / "report.html")


def test_what_is_no_file_is_left_alone(store_path, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe is not a file"):
        write_report(store_path, tmp_path / "pipe", problem=Defects)
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere; make it first"):
        write_report(store_path, tmp_path / "nowhere" / "report.html", problem=Defects)


def test_binned_accuracy_leaves_out_empty_bins():
    value, correct = np.array([0.5, 0.6, 2.5, 9.0]), np.array([True, False, True, True])
    filled, accuracy, counts = binned_accuracy(value, correct, np.array([0, 1, 2, 3]))
    assert filled.tolist() == [0, 2]
    assert accuracy.tolist() == [0.5, 1.0]
    assert counts.tolist() == [2, 1]
