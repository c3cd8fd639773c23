"""Builder of the embedded library: `python -m defectgen.hosts.build_library` writes `library.json`.

1,172 elemental metals in the reference study's mix of space groups:

    group              225  194  229  139  141  140    all
    published          212   94  100   10    4    2    422
    derived            179  247  173   73   48   30    750
    distinct elements   69   69   69   69   50   32     69

Published cells (`data/published_cells.csv`, 525 rows) are cells of the American Mineralogist
Crystal Structure Database (ids `amcsd-...`, numbers as listed there) and further ones, mostly of
the thin groups, from the literature (ids `lit-...`). Each row cites its paper; its note says so
where the number was read from another source. Of cells that agree within 1e-4 in a and c the
first is kept. Left out as misread or mislabelled are rhombohedral, double-hexagonal and beta-Sn
cells listed under another group, doped samples and alloys, and: five Be cells whose a is doubled
but not the number of atoms (amcsd-0013186 to 0013190), a film of "fcc Y" with 1.5 times the
volume of Y (0014137), a Sc cell larger at 26 GPa than Sc at ambient pressure (0015008), and the
fcc cell of Cs-III (0015416), which is C222_1 (McMahon et al., Phys. Rev. Lett. 87 (2001) 255502).
Some cells before about 1949 are in kX units, 0.2 % short of A. Group 140 has the host frameworks
of the composite phases Sb-II and Bi-III on 8h, without the guest chains in their channels; those of
Ba-IV, Sr-V and Sc-II could not be confirmed, and the frameworks of K-III and Rb-IV have 16 atoms.

Derived cells complete each group. The element with the fewest cells in the group gets the next
one, so that each group covers as many elements as it can hold. An element with published cells in
the group gets one of them strained (rule strain). Any other gets the cell of a published entry of
another element, with its c/a and free x, scaled to its own atomic volume (rule prototype; in
group 140 times 1.33, as the empty channels are part of the framework's cell). Both are strained:
volume uniform within +-3 %, the range of heating by some hundred K or of a few GPa, and c/a
within +-1.5 %, little more than the +-1.1 % by which published cells of hcp Be differ.
Temperature goes over with a strained cell only. A cell is drawn again if its shortest distance is
not 0.75 to 1.25 times the diameter of close-packed spheres of the same volume, if a cell of group
139 has c/a within 2 % of 1 or sqrt(2), or if the element has that cell already. Every draw is
seeded by SEED, the id and the attempt.

U_iso is that of the Debye model at the entry's temperature, else at 300 K; the Debye temperature
is the one of ambient pressure, so that U_iso of a strongly compressed cell is an upper bound.
"""

from __future__ import annotations

import csv
import math
import random
from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from defectgen.hosts.elements import atomic_volume, debye_uiso, metals
from defectgen.hosts.host import CUBIC_GROUPS, Host
from defectgen.hosts.library import write_library

SEED = 20240
MIX = {225: 391, 194: 341, 229: 273, 139: 83, 141: 52, 140: 32}
VOLUME_STRAIN = 0.03
AXIAL_STRAIN = 0.015
SAME_CELL = 1e-4
NEAREST_NEIGHBOUR = (0.75, 1.25)
# Sb-II and Bi-III: 8 host and 2 * c_host / c_guest = 2.62 guest atoms share a cell of the host.
FRAMEWORK_VOLUME = (8 + 2.62) / 8
CENTRING: dict[int, tuple[tuple[float, float, float], ...]] = {
    225: ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)),
    194: ((0, 0, 0),),
} | dict.fromkeys((229, 139, 141, 140), ((0, 0, 0), (0.5, 0.5, 0.5)))


class Cell(NamedTuple):
    """A row of `data/published_cells.csv`."""

    id: str
    element: str
    space_group: int
    wyckoff: str
    x: float | None
    a: float
    c: float
    temperature: float | None
    pressure: float | None
    source: str


def published_cells() -> list[Cell]:
    """All rows of `data/published_cells.csv`, in the file's order."""
    text = (
        files("defectgen.hosts").joinpath("data", "published_cells.csv").read_text(encoding="utf-8")
    )

    def number(value: str) -> float | None:
        return float(value) if value else None

    cells = []
    for row in csv.DictReader(text.splitlines()):
        source = "{authors}, {journal} {volume}, {page} ({year})".format(**row)
        if row["note"]:
            source += f"; {row['note']}"
        a = float(row["a"])
        cells.append(
            Cell(
                id=row["id"],
                element=row["element"],
                space_group=int(row["space_group"]),
                wyckoff=row["wyckoff"],
                x=number(row["x"]),
                a=a,
                c=number(row["c"]) or a,
                temperature=number(row["temperature"]),
                pressure=number(row["pressure"]),
                source=source,
            )
        )
    return cells


def positions(space_group: int, wyckoff: str, x: float | None = None) -> list[tuple[str, tuple]]:
    """(Wyckoff position, fractional coordinates) of each atom of the conventional cell."""
    orbits: dict[tuple[int, str], list[tuple[float, ...]]] = {
        (225, "4a"): [(0, 0, 0)],
        (229, "2a"): [(0, 0, 0)],
        (139, "2a"): [(0, 0, 0)],
        (141, "4a"): [(0, 0.75, 0.125), (0.5, 0.75, 0.375)],
        (194, "2a"): [(0, 0, 0), (0, 0, 0.5)],
        (194, "2c"): [(1 / 3, 2 / 3, 0.25), (2 / 3, 1 / 3, 0.75)],
    }
    if x is not None:
        orbits[140, "8h"] = [(x, x + 0.5, 0), (-x, 0.5 - x, 0), (0.5 - x, x, 0), (0.5 + x, -x, 0)]
    return [
        (position, tuple(round((u + v) % 1.0, 12) for u, v in zip(site, shift, strict=True)))
        for position in wyckoff.split("+")
        for site in orbits[space_group, position]
        for shift in CENTRING[space_group]
    ]


def make_host(cell: Cell, origin: str) -> Host:
    sites = positions(cell.space_group, cell.wyckoff, cell.x)
    temperature = 300.0 if cell.temperature is None else cell.temperature
    return Host.model_validate(
        {
            "id": cell.id,
            "element": cell.element,
            "space_group": cell.space_group,
            "a": cell.a,
            "c": cell.c,
            "wyckoff": [position for position, _ in sites],
            "frac": [site for _, site in sites],
            "uiso": float(f"{debye_uiso(cell.element, temperature):.5g}"),
            "uiso_source": "debye",
            "temperature": cell.temperature,
            "pressure": cell.pressure,
            "origin": origin,
            "source": cell.source,
        }
    )


def volume_per_atom(cell: Cell) -> float:
    base = math.sqrt(0.75) if cell.space_group == 194 else 1.0
    n_atoms = len(positions(cell.space_group, cell.wyckoff, cell.x))
    return base * cell.a**2 * cell.c / n_atoms


def is_sensible(cell: Cell) -> bool:
    """Whether the shortest distance suits close-packed spheres of the same volume per atom.

    Cells of group 139 must also stay clear of c/a = 1 and sqrt(2), where they would be bcc and fcc.
    """
    axial = cell.c / cell.a
    if cell.space_group == 139 and any(abs(axial / cubic - 1) < 0.02 for cubic in (1, 2**0.5)):
        return False
    sphere = (math.sqrt(2) * volume_per_atom(cell)) ** (1 / 3)
    low, high = NEAREST_NEIGHBOUR
    return low <= make_host(cell, "derived").nearest_neighbour / sphere <= high


def same_cell(cell: Cell, other: Cell) -> bool:
    return (
        (cell.element, cell.space_group, cell.wyckoff)
        == (other.element, other.space_group, other.wyckoff)
        and abs(cell.a / other.a - 1) <= SAME_CELL
        and abs(cell.c / other.c - 1) <= SAME_CELL
    )


def without_repeats(cells: list[Cell]) -> list[Cell]:
    """Keep the first of several cells that agree within SAME_CELL."""
    kept: list[Cell] = []
    for cell in cells:
        if not any(same_cell(cell, other) for other in kept):
            kept.append(cell)
    return kept


def choose(items: list, rng: random.Random):
    return items[int(rng.random() * len(items))]


def draw_cell(element: str, number: int, published: dict[str, list[Cell]], attempt: int) -> Cell:
    """One derived cell of the group of `published`, which has its cells by element."""
    group = next(iter(published.values()))[0].space_group
    is_cubic = group in CUBIC_GROUPS
    name = f"derived-{group}-{element}-{number:04d}"
    rng = random.Random(f"{SEED}/{name}/{attempt}")
    donor = element if element in published else choose(sorted(published), rng)
    parent = choose(published[donor], rng)
    volume = VOLUME_STRAIN * (2 * rng.random() - 1)
    axial = 0.0 if is_cubic else AXIAL_STRAIN * (2 * rng.random() - 1)
    if donor == element:
        scale = 1.0
        source = f"rule strain: {parent.id} ({parent.source})"
    else:
        framework = FRAMEWORK_VOLUME if group == 140 else 1.0
        scale = framework * atomic_volume(element) / volume_per_atom(parent)
        source = f"rule prototype: {parent.id} ({parent.source}) at the atomic volume of {element}"
    a = round(parent.a * (scale * (1 + volume) / (1 + axial)) ** (1 / 3), 4)
    return parent._replace(
        id=name,
        element=element,
        a=a,
        c=a if is_cubic else round(a * parent.c / parent.a * (1 + axial), 4),
        temperature=parent.temperature if donor == element else None,
        pressure=None,
        source=f"{source}, volume {volume:+.2%}" + ("" if is_cubic else f", c/a {axial:+.2%}"),
    )


def derived_cells(published: list[Cell], n_wanted: int) -> list[Cell]:
    """Cells that complete a group: the element with fewest cells so far gets the next one."""
    group = published[0].space_group
    by_element: dict[str, list[Cell]] = defaultdict(list)
    for cell in published:
        by_element[cell.element].append(cell)
    counts = Counter({element: len(by_element.get(element, ())) for element in metals()})
    lot = {element: random.Random(f"{SEED}/{group}/{element}").random() for element in metals()}
    derived: list[Cell] = []
    numbers: Counter[str] = Counter()
    while len(derived) < n_wanted:
        element = min(counts, key=lambda e: (counts[e], lot[e]))
        counts[element] += 1
        numbers[element] += 1
        for attempt in range(100):
            cell = draw_cell(element, numbers[element], dict(by_element), attempt)
            others = by_element.get(element, []) + derived
            if is_sensible(cell) and not any(same_cell(cell, other) for other in others):
                derived.append(cell)
                break
        else:
            raise RuntimeError(f"no sensible cell for {element} in group {group} in 100 attempts")
    order = {element: rank for rank, element in enumerate(metals())}
    return sorted(derived, key=lambda cell: (order[cell.element], cell.id))


def build() -> list[Host]:
    """The whole library: group by group in the order of MIX, published before derived."""
    cells = without_repeats(published_cells())
    hosts = []
    for group, target in MIX.items():
        published = [cell for cell in cells if cell.space_group == group]
        derived = derived_cells(published, target - len(published))
        hosts += [make_host(cell, "published") for cell in published]
        hosts += [make_host(cell, "derived") for cell in derived]
    return hosts


def main() -> None:
    path = Path(__file__).parent / "data" / "library.json"
    hosts = build()
    write_library(path, hosts)
    for group in MIX:
        counts = Counter(host.origin for host in hosts if host.space_group == group)
        print(group, ", ".join(f"{counts[origin]} {origin}" for origin in counts))


if __name__ == "__main__":
    main()
