"""A small run, the commands that make its store, and faults to put into them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAULTS = Path(__file__).with_name("faults")
PLUG_INS = Path(__file__).with_name("plugin")
TOML = """
hosts_per_shard = 2
[library]
limit = 11
[defects]
supercell = [2, 2, 2]
variants_per_kind = 1
[pdf]
rmax = 12.0
points = 60
"""
N_SHARDS = 6
TOY_TOML = """
hosts_per_shard = 2
[source.toy]
[[stage]]
name = "toy"
[observable.toy]
"""
"""All from another package: images of 4 dimensions and what is stored of each atom."""
POWDER_TOML = TOML.replace(
    "[pdf]\nrmax = 12.0\npoints = 60", "[observable.powder]\npoints = 301\nfwhm = 1.0"
)
RELAXED_TOML = """
[defects]
supercell = [3, 3, 3]
fraction = [0.02, 0.06]
separation = 1.5

[[stage]]
name = "relaxed"

[pdf]
rmax = 12.0
points = 100
refine_host = true
"""
MIXED_TOML = TOML.replace("[defects]", "[defects]\nmixed_variants = 1\nfraction = [0.05, 0.3]")
"""With two kinds at once as well, of which so small a supercell has too few below 10 %."""


def command(*arguments: object) -> list[str]:
    """`defectpdf` with arguments, as a program of its own."""
    return [sys.executable, "-c", "from train.cli import main; main()", *map(str, arguments)]


def files_of(path: Path) -> dict[str, bytes]:
    """All files of a store but the ledger, which holds times."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and "ledger" not in file.parts
    }


def until(true: Callable[[], object], process: Any, seconds: float = 60) -> None:
    """Wait until something is true that a process makes so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


class Bench:
    """A run description, a place for a store, and faults for the processes that write it."""

    def __init__(self, folder: Path, toml: str = TOML) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.store = folder, folder / "store.zarr"
        self.run_toml: Path | None = folder / "run.toml"
        self.run_toml.write_text(toml)

    def environment(self, **faults: Any) -> dict[str, str]:
        told = self.folder / "faults.json"
        told.write_text(
            json.dumps({"folder": str(self.folder), "store": str(self.store), **faults})
        )
        paths = [str(FAULTS), str(PLUG_INS), *filter(None, [os.environ.get("PYTHONPATH")])]
        return os.environ | {"DEFECTPDF_FAULTS": str(told), "PYTHONPATH": os.pathsep.join(paths)}

    def start(self, *options: str, launcher: tuple[str, ...] = (), **faults: Any) -> Any:
        run = [self.run_toml] if self.run_toml else []
        generate = command("generate", *run, "--store", self.store, *options)
        return subprocess.Popen(
            [*launcher, *generate],
            env=self.environment(**faults),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def generate(self, *options: str, **faults: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*options, **faults)
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def wait_for_shard(self, process: Any, shard: int) -> None:
        """Until a run has finished a shard."""
        while not (self.store / "ledger" / f"{shard:06d}.json").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)

    def wait_until_all_have_ended(self, session: int) -> None:
        """All processes of a session: one that is left could still write."""
        left = ["ps", "-o", "pid=,stat=,args=", "--sid", str(session)]
        deadline = time.monotonic() + 30
        while out := subprocess.run(left, capture_output=True, text=True).stdout.strip():
            assert time.monotonic() < deadline, out
            time.sleep(0.05)

    def computed(self) -> Counter[int]:
        """How often each shard was computed; fails if one was after it had been finished."""
        counts: Counter[int] = Counter()
        finished = set()
        for line in (self.folder / "shards").read_text().splitlines():
            event, shard = line.split()
            if event == "done":
                finished.add(int(shard))
            else:
                assert int(shard) not in finished, f"shard {shard} was computed again"
                counts[int(shard)] += 1
        return counts
