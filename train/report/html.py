"""The page of a report and what it is made of.

Everything that comes from data passes through `html.escape`; figures are inline SVG.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from train.report.figures import to_svg

CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --page: #fff; --line: #d5d9de; --soft: #f3f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --page: #15181c; --line: #3a4048; --soft: #1f242a; } }
body { color: var(--ink); background: var(--page); font: 16px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child, table.text td { text-align: left; }
.scroll { overflow-x: auto; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.cards div { background: var(--soft); border-radius: .5rem; padding: .6rem 1rem; }
.cards b { display: block; font-size: 1.5rem; }
.warning { border-left: .3rem solid #d55e00; background: var(--soft); padding: .5rem 1rem; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; font-size: .8rem; }
figure { margin: 1rem 0; } figcaption { font-size: .9rem; opacity: .8; }
svg { max-width: 100%; height: auto; }
"""


def cards(values: Mapping[str, str]) -> str:
    """Large values, by name."""
    items = (f"<div><b>{escape(value)}</b>{escape(name)}</div>" for name, value in values.items())
    return f'<div class="cards">{"".join(items)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def figure(drawn: Any, caption: str) -> str:
    """A figure of matplotlib, made in `train.report.figures.report_style`."""
    return f"<figure>{to_svg(drawn)}<figcaption>{escape(caption)}</figcaption></figure>"


def paragraph(text: str, kind: str = "") -> str:
    """Of plain text; a `warning` stands out."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def bullets(items: Iterable[str]) -> str:
    """A list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def preformatted(content: Any) -> str:
    """Anything that JSON has a form for."""
    return f"<pre>{escape(json.dumps(content, indent=2, default=str))}</pre>"


def page(title: str, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page of titles and contents, which are HTML; a section may have no title."""
    parts = (
        (f"<h2>{escape(heading)}</h2>\n" if heading else "") + content
        for heading, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
