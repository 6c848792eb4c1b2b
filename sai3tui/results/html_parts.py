"""Pieces that the sections of the HTML report are made of; all text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def section(title: str, content: str) -> str:
    """Empty without content."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], text: int, css: Sequence[str] = (), *, wide: int | None = None
) -> str:
    """The first `text` columns hold words, the `wide` one sentences; `css` are classes of the rows."""
    columns = ['class="t"' if n < text else "" for n in range(len(header))]
    if wide is not None:
        columns[wide] = 'class="t w"'
    head = "".join(f"<th {c}>{escape(cell)}</th>" for c, cell in zip(columns, header, strict=True))
    lines = [
        (f'<tr class="{css[n]}">' if css else "<tr>")
        + "".join(f"<td {c}>{escape(cell)}</td>" for c, cell in zip(columns, row, strict=True))
        + "</tr>"
        for n, row in enumerate(rows)
    ]
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def figure(title: str, broad: str, narrow: str, below: str) -> str:
    """A drawing with its title, in two sizes of which the page shows one; `below` explains it. Empty without one."""
    if not broad:
        return ""
    shown = f'<div class="broad">{broad}</div><div class="narrow">{narrow}</div>'
    return f"<figure><h3>{escape(title)}</h3>{shown}{below}</figure>"


def bullets(items: Iterable[str]) -> str:
    """A list; empty without items."""
    found = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{found}</ul>" if found else ""


def facts(pairs: Iterable[tuple[str, Sequence[str]]], css: str = "") -> str:
    """Names with what is to be said of each, one or several lines; those without any are left out."""
    parts = []
    for name, lines in pairs:
        if lines:
            told = escape(lines[0]) if len(lines) == 1 else bullets(lines)
            parts.append(f"<dt>{escape(name)}</dt><dd>{told}</dd>")
    return f'<dl class="{css}">{"".join(parts)}</dl>' if parts else ""
