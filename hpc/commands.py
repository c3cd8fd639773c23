"""Console commands that make a store and look into it."""

from __future__ import annotations

import json as json_module
import logging
import math
import signal
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hpc.description import RunDescription
    from hpc.store.locks import Part


class Cluster(StrEnum):
    local = "local"
    slurm = "slurm"
    srun = "srun"


class Engine(StrEnum):
    serial = "serial"
    dask = "dask"
    mpi = "mpi"


def generate(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run description (TOML).  [default: the reference study's settings]"),
    ] = None,
    *,
    store: Annotated[Path, typer.Option(help="Zarr store to write, or to continue.")],
    engine: Annotated[
        Engine | None, typer.Option(help="[default: dask with several workers, else serial]")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Dask workers.")] = 1,
    cluster: Annotated[
        Cluster | None,
        typer.Option(
            help="Where Dask workers run: on this machine, as jobs of their own, or as the tasks "
            "of this Slurm job.  [default: local]"
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS|FILE", help="Use the workers of this Dask scheduler."),
    ] = None,
    performance_report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write Dask's report of the run.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Take this many hosts, evenly spaced.")
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="K/N", help="Do the K-th of N shares, K from 0, beside others of N only."
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Also do what is damaged or quarantined.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds after which a host is given up, at the third try."),
    ] = 600.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it takes, measured; write nothing.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print what --dry-run says as JSON.")
    ] = False,
) -> None:
    """Compute the PDFs of all hosts and their defects into a Zarr store."""
    from hpc.description import read_description
    from hpc.executors import start_executor
    from hpc.generate import generate as generate_store
    from hpc.store.locks import Part

    _log_to_stderr()
    signal.signal(signal.SIGTERM, _stop)
    if not math.isfinite(timeout):
        raise ValueError(f"--timeout {timeout}: give a number of seconds")
    share = Part.parse(part) if part is not None else None
    description = read_description(run, limit) if run or limit else None
    if json and not dry_run:
        raise ValueError("--json is for --dry-run; `defectpdf status --json` tells of a store")
    if dry_run:
        if repair:
            raise ValueError("--dry-run can't tell what --repair does: see `defectpdf verify`")
        _say_what_it_takes(store, description, workers, share, json)
        return
    options: dict[str, str | Path | None] = {
        "cluster": cluster and cluster.value,
        "scheduler": scheduler,
        "performance_report": performance_report,
    }
    given = [name for name, value in options.items() if value is not None]
    chosen = engine or (Engine.dask if workers > 1 or given else Engine.serial)
    if chosen is Engine.dask:
        # All that work on a store see its folder.
        options["shared"] = store.absolute().parent
    elif given:
        option = given[0].replace("_", "-")
        raise ValueError(f"--{option} is for --engine dask, not for {chosen.value}")
    else:
        options = {}
    with start_executor(chosen.value, workers, **options) as execute:
        if execute is None:
            return
        summary = generate_store(
            store, description, execute, part=share, repair=repair, timeout=timeout
        )
    typer.echo(
        f"{store}: {summary.n_structures} hosts x {summary.n_variants} variants, "
        f"{len(summary.quarantined)} hosts quarantined; {summary.n_samples} {summary.of_samples} "
        f"computed in {summary.seconds:.1f} s ({summary.n_samples / summary.seconds:.0f}/s)"
    )
    for host in summary.quarantined:
        typer.echo(f"quarantined {host.id}: {host.reason}", err=True)
    if share is None and summary.quarantined and not summary.n_sound:
        reason = summary.quarantined[0].reason
        raise ValueError(f"{store}: no host could be computed; the first one: {reason}")


def _say_what_it_takes(
    store: Path, description: RunDescription | None, workers: int, part: Part | None, json: bool
) -> None:
    from hpc.estimate.estimate import as_text, estimate

    found = estimate(store, description, workers, part)
    typer.echo(json_module.dumps(asdict(found)) if json else as_text(found))


def _stop(number: int, _: object) -> None:
    """Unwind, so that workers and jobs are ended too, and exit as a shell reports a signal."""
    raise SystemExit(128 + number)


def _log_to_stderr() -> None:
    """Show our own messages; the libraries' stay as they are."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    for package in ("defectgen", "hpc"):
        log = logging.getLogger(package)
        log.addHandler(handler)
        log.setLevel(logging.INFO)


def status(
    store: Annotated[Path, typer.Argument(help="Store of `defectpdf generate`.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is done, missing and quarantined; works while a run writes."""
    from hpc.store.inspect import status as store_status

    found = store_status(store)
    if json:
        typer.echo(json_module.dumps(found))
        return
    state = "complete" if found["complete"] else "running" if found["running"] else "incomplete"
    typer.echo(f"{store}: {state}, {found['n_done']} of {found['n_structures']} hosts done")
    if not found["complete"] and found["seconds_since_last"] is not None:
        nodes = ", ".join(found["nodes"])
        typer.echo(f"last shard {found['seconds_since_last']:.0f} s ago; computed on {nodes}")
    if found["eta_seconds"] is not None:
        typer.echo(f"ETA {found['eta_seconds']:.0f} s")
    for host in found["quarantined"]:
        typer.echo(f"quarantined {host['id']}: {host['reason']}")


def verify(
    store: Annotated[Path, typer.Argument(help="Store of `defectpdf generate`.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read every byte back and hold it against the records; exit code 1 if not sound."""
    from hpc.store.inspect import verify as verify_store

    found = verify_store(store)
    if json:
        typer.echo(json_module.dumps(found))
    else:
        typer.echo(
            f"{store}: {'sound' if found['ok'] else 'NOT SOUND'}, {found['n_structures']} hosts, "
            f"{found['n_pdfs']} {found['of_samples']}, digest {found['digest']}"
        )
        for problem in found["problems"]:
            typer.echo(f"  {problem}")
    if not found["ok"]:
        raise typer.Exit(1)


def export(
    store: Annotated[Path, typer.Argument(help="Store of `defectpdf generate`.")],
    out: Annotated[Path, typer.Argument(help="File to write, .cif or .xyz (extended).")],
    structure: Annotated[int, typer.Option(help="Row of the host in the store.")],
    variant: Annotated[int, typer.Option(help="Variant of the host; 0 is pristine.")],
) -> None:
    """Write the atoms behind any stored PDF."""
    from hpc.store.inspect import atoms_of_row
    from pdfcalc.crystals.structure_files import write_structure

    atoms = atoms_of_row(store, structure, variant)
    write_structure(out, atoms)
    typer.echo(f"wrote {len(atoms.frac)} atoms to {out}")
