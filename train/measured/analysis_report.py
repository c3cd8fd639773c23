"""What `analyse` tells of a measurement: in words, on a terminal and on a page of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from defectgen.hosts.cif import printable
from defectgen.point_defects.settings import IMPURITY_KINDS
from hpc.watching.console import plain_console
from train.measured.analysis import NO_EVIDENCE, REFUSED, UNCLEAR, Analysis, KindLimit
from train.measured.limits import MOST
from train.measured.opinion import Opinion
from train.measured.refining import refinement_figure
from train.report import html
from train.report.figures import report_style
from train.runs.rundir import write_text

_SHOWN = 12  # elements named in a sentence


def verdict_sentences(found: Analysis) -> Iterator[str]:
    """What was found, in words."""
    if found.verdict == REFUSED:
        yield "Nothing can be said: " + "; ".join(found.refusals) + "."
        return
    if found.verdict == NO_EVIDENCE:
        yield (
            "There is no evidence of point defects. That does not say that there are none: what "
            "could be there unseen is below."
        )
        return
    names = [_shown(found, kind, element) for kind, element in found.found or found.fitting]
    some = ", or ".join(names[:_SHOWN]) + (" or others" if len(names) > _SHOWN else "")
    if found.verdict == UNCLEAR and found.is_explained:
        yield (
            f"{some} would fit, but a network that learned from simulated measurements takes this "
            "for something else: nothing is claimed."
        )
    elif found.verdict == UNCLEAR:
        yield (
            f"The refined host leaves more than noise (Rw {found.refinement.rw:.3f}). {some} would "
            "take up part of it, and so would faults of the data or of the model, such as the "
            "shape of the instrument's resolution: nothing is claimed."
        )
    else:
        yield f"There is evidence of {some}. Kinds that are not named explain the data worse."


def network_sentence(network: Opinion) -> str:
    ranked = sorted(network.probabilities.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{_spoken(name)} {100 * p:.0f} %" for name, p in ranked)
    return f"The network that comes with the toolkit, with the scale free: {shown}."


def limit_sentences(found: Analysis) -> Iterator[str]:
    """What can't be excluded, a kind each."""
    for kind, by_element in found.limits.items():
        if "" in by_element:
            yield f"{_spoken(kind)}: {_up_to(by_element[''])}"
        elif by_element:
            yield f"{_spoken(kind)}: {_of_elements(by_element)}"
        else:
            yield f"{_spoken(kind)}: nothing was looked for that this host could have"


def _shown(found: Analysis, kind: str, element: str) -> str:
    best = found.limits[kind][element].best
    by = f" by {element}" if element else ""
    return f"{100 * best.fraction:.2g} +- {100 * best.deviation:.1g} {_spoken(kind)}{by} (per 100)"


def _up_to(limit: KindLimit) -> str:
    relaxed, rigid = (_percent(one) for one in (limit.fraction_95, limit.fraction_95_rigid))
    return f"{relaxed} if the atoms around relax, {rigid} if they do not"


def _percent(fraction: float | None) -> str:
    if fraction is None:
        return f"{100 * MOST:g} or more per 100 atoms of the host can't be excluded"
    return f"up to {100 * fraction:.2g} per 100 atoms of the host (95 %)"


def _of_elements(by_element: dict[str, KindLimit]) -> str:
    bounds = {element: limit.fraction_95 for element, limit in by_element.items()}
    unseen = [element for element, bound in bounds.items() if bound is None]
    seen = [bound for bound in bounds.values() if bound is not None]
    parts = []
    if seen:
        names = [element for element in bounds if element not in unseen]
        parts.append(f"by {_one_of(names)} {_percent(max(seen))}")
    if unseen:
        parts.append(f"by {_one_of(unseen)} {_percent(None)}")
    return "; ".join(parts)


def _one_of(elements: list[str]) -> str:
    if len(elements) == 1:
        return elements[0]
    some = ", ".join(elements[:_SHOWN]) + (", ..." if len(elements) > _SHOWN else "")
    return f"one of {len(elements)} ({some})"


def _spoken(kind: str) -> str:
    return kind.replace("_", "-")


def print_analysis(found: Analysis) -> None:
    console = plain_console(soft_wrap=True)
    console.print(f"{printable(found.file)}: host refined to Rw {found.refinement.rw:.3f}")
    for sentence in verdict_sentences(found):
        console.print(f"  {sentence}")
    for sentence in limit_sentences(found):
        console.print(f"  {sentence}")
    if found.network:
        console.print(f"  {network_sentence(found.network)}")
    for note in found.notes:
        console.print(f"  note: {note}")


def write_page(found: Analysis, path: Path) -> None:
    """A page of its own: the verdict and its limits, the curves, the refined values."""
    title = f"{found.file.name}: {found.verdict}"
    write_text(path, html.page(title, _sections(found)))


def _sections(found: Analysis) -> Iterator[tuple[str, str]]:
    fit = found.refinement
    yield "", html.cards({"verdict": found.verdict, "Rw": f"{fit.rw:.3f}"})
    yield "", "".join(html.paragraph(sentence) for sentence in verdict_sentences(found))
    if found.limits:
        yield "What can't be excluded", html.bullets(limit_sentences(found))
    if found.network:
        yield "What a network says", html.paragraph(network_sentence(found.network))
    with report_style():
        drawn = refinement_figure(found.file, fit)
        caption = "G(r) as measured, the refined host, and what parts them, offset."
        yield "Measurement and host", html.figure(drawn, caption)
    uncertainties = {name: f"{of:.1g}" for name, of in fit.uncertainties.items()}
    values = [
        (name, f"{value:.6g}", uncertainties.get(name, "fixed"))
        for name, value in fit.values.items()
    ]
    yield "Refined values", html.table(("", "value", "standard uncertainty"), values)
    for kind in IMPURITY_KINDS:
        if kind in found.limits:
            rows = [
                (element, *(_cell(of) for of in (limit.fraction_95, limit.fraction_95_rigid)))
                for element, limit in found.limits[kind].items()
            ]
            head = ("element", "relaxed, %", "rigid, %")
            yield f"Upper limits of {_spoken(kind)} impurities", html.table(head, rows)
    if found.notes:
        yield "Notes", html.bullets(found.notes)


def _cell(fraction: float | None) -> str:
    return f"over {100 * MOST:g}" if fraction is None else f"{100 * fraction:.2g}"
