"""Console commands about crystals: the library of hosts, and one structure's PDF."""

from __future__ import annotations

import json as json_module
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer


def library(
    cif: Annotated[
        Path | None,
        typer.Option(
            help="Folder of CIF files, searched recursively.  [default: embedded library]"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the hosts to this JSON file.")] = None,
    published_only: Annotated[
        bool, typer.Option("--published-only", help="Leave the embedded derived entries out.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Curate hosts from CIF files, or list the embedded library."""
    from defectgen.hosts.flags import flag_of
    from defectgen.hosts.library import embedded_library, write_library

    if cif is not None and published_only:
        raise ValueError("--published-only is about the embedded library: leave it out with --cif")
    if cif is None:
        hosts, notes, quarantined = embedded_library(published_only=published_only), [], []
    else:
        from defectgen.hosts.cif import read_cif_folder

        folder = read_cif_folder(cif)
        hosts = [entry.host for entry in folder.accepted]
        notes = [(entry.file, note) for entry in folder.accepted for note in entry.notes]
        quarantined = [{"file": bad.file, "reason": bad.reason} for bad in folder.quarantined]
    if out is not None:
        write_library(out, hosts)
    groups = Counter(host.space_group for host in hosts)
    flagged = [(host.id, reason) for host in hosts if (reason := flag_of(host))]
    report = {
        "n_accepted": len(hosts),
        "n_quarantined": len(quarantined),
        "quarantined": quarantined,
        "repairs": [{"file": file, "repair": note} for file, note in notes],
        "flagged": [{"id": id_, "reason": reason} for id_, reason in flagged],
        "space_groups": {str(group): groups[group] for group in sorted(groups)},
        "origins": dict(Counter(host.origin for host in hosts)),
    }
    if json:
        typer.echo(json_module.dumps(report))
        return
    for file, note in notes:
        typer.echo(f"repaired {file}: {note}")
    for bad in quarantined:
        typer.echo(f"quarantined {bad['file']}: {bad['reason']}")
    counts = ", ".join(f"{count} in {group}" for group, count in groups.most_common())
    typer.echo(
        f"{len(hosts)} hosts accepted ({counts}), {len(flagged)} of them flagged (see --json), "
        f"{len(quarantined)} files quarantined"
    )


def pdf(
    structure: Annotated[Path, typer.Argument(help="CIF file of any crystal.")],
    out: Annotated[Path | None, typer.Option(help="Write a .gr file, not to the terminal.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="lattice, pairs or diffpy.  [default: what suits]")
    ] = None,
    pair: Annotated[str | None, typer.Option(help="Partial PDF of two elements: Cu-Au")] = None,
    rmin: Annotated[float, typer.Option(help="A")] = 0.0,
    rmax: Annotated[float, typer.Option(help="A")] = 30.0,
    rstep: Annotated[float, typer.Option(help="A")] = 0.01,
    qmin: Annotated[float, typer.Option(help="1/A")] = 0.6,
    qmax: Annotated[float, typer.Option(help="1/A")] = 23.6,
    qdamp: Annotated[float, typer.Option(help="1/A")] = 0.0291601718936,
    qbroad: Annotated[float, typer.Option(help="1/A")] = 0.0103215402787,
    delta1: Annotated[float, typer.Option(help="A, correlated motion")] = 0.0,
    delta2: Annotated[float, typer.Option(help="A^2, correlated motion")] = 0.0,
    scale: Annotated[float, typer.Option(help="Factor of G(r).")] = 1.0,
    spdiameter: Annotated[float | None, typer.Option(help="A, spherical particle")] = None,
    stepcut: Annotated[float | None, typer.Option(help="A, zero beyond")] = None,
    neutron: Annotated[bool, typer.Option("--neutron", help="Neutrons, not X-rays.")] = False,
    form_factors: Annotated[
        str, typer.Option(help="X-ray ones: constant (at Q = 0), or q_dependent.")
    ] = "constant",
    uiso: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ELEMENT=]A^2",
            help="Of atoms of which the file gives no usable one: 0.01, or Na=0.02; repeatable.",
        ),
    ] = None,
) -> None:
    """Compute one structure's PDF."""
    from defectgen.hosts.cif import read_with_notes
    from pdfcalc import PDFParameters, calculate_pdf, write_gr
    from pdfcalc.crystals.structure_files import uiso_in_words

    parameters = PDFParameters(
        rmin=rmin,
        rmax=rmax,
        rstep=rstep,
        qmin=qmin,
        qmax=qmax,
        qdamp=qdamp,
        qbroad=qbroad,
        scattering="neutron" if neutron else "xray",
        delta1=delta1,
        delta2=delta2,
        scale=scale,
        spdiameter=spdiameter,
        stepcut=stepcut,
        form_factors=form_factors,
    )
    elements = _pair(pair)
    atoms, notes = read_with_notes(structure, _uiso(uiso or []))
    for note in notes:
        typer.echo(f"defectpdf: warning: {structure}: {note}", err=True)
    r, g = calculate_pdf(atoms, parameters, engine, elements)
    typer.echo(f"Uiso (A^2): {uiso_in_words(atoms)}", err=out is None)
    if out is None:
        for x, y in zip(r, g, strict=True):
            typer.echo(f"{x:.10g} {y:.8g}")
    else:
        write_gr(out, r, g, parameters, atoms)
        typer.echo(f"wrote {len(r)} points to {out}")


def _uiso(options: list[str]) -> dict[str, float] | float | None:
    """Displacements, A^2, of all elements or of each."""
    found: dict[str, float] = {}
    for option in options:
        element, _, text = option.rpartition("=")
        try:
            found[element] = float(text)
        except ValueError:
            found[element] = 0.0
        if not 0 < found[element] < 1:
            raise ValueError(f"--uiso {option}: give a displacement in A^2 as 0.01 or Na=0.01")
    if "" in found and len(found) > 1:
        raise ValueError("--uiso: give one for all elements, or one for each as Na=0.01")
    return found.get("", found) if found else None


def _pair(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    elements = text.split("-")
    if len(elements) != 2:
        raise ValueError(f"--pair {text}: give two elements as Cu-Au")
    return elements[0], elements[1]
