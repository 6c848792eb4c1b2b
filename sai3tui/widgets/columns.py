"""Columns of a table that is drawn as text: widths, alignment, and which ones fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from sai3tui.theme import Palette
from sai3tui.widgets.text import fit

GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """`need` orders what is left out when there is no room: the highest goes first, 0 never does.
    At most one column has `grow`: it takes what is left, and `width` is its least."""

    key: str
    title: str
    width: int
    right: bool = False
    need: int = 0
    grow: bool = False


def fitting(columns: Sequence[Column], width: int) -> tuple[tuple[Column, int], ...]:
    """The columns that fit into `width` cells, each with its width."""
    kept = list(columns)
    while len(kept) > 1 and _total(kept) > width:
        worst = max(kept, key=lambda column: column.need)
        if worst.need == 0:
            break
        kept.remove(worst)
    spare = max(0, width - _total(kept))
    return tuple((column, column.width + (spare if column.grow else 0)) for column in kept)


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + len(GAP) * (len(columns) - 1)


def head_line(columns: Sequence[tuple[Column, int]], palette: Palette) -> Text:
    """The titles."""
    cells = [fit(column.title, width, right=column.right) for column, width in columns]
    return Text(GAP.join(cells), style=palette.muted)


def row_line(columns: Sequence[tuple[Column, int]], cells: Mapping[str, tuple[str, str]]) -> Text:
    """A row from key -> (text, style); texts are fitted to their columns."""
    line = Text()
    for position, (column, width) in enumerate(columns):
        text, style = cells.get(column.key, ("", ""))
        line.append(GAP if position else "")
        line.append(fit(text, width, right=column.right), style=style)
    return line
