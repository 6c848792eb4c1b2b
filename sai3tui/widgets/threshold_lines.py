"""What a run must meet, and whether it does: a glyph, a word, the value, how much of the bound is left."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from sai3tui.results.thresholds import ThresholdStatus, ThresholdView, show_value
from sai3tui.theme import Palette
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.states import Look
from sai3tui.widgets.text import NOTHING, clean

COLUMNS = (
    Column("text", "threshold", 19, grow=True),
    Column("verdict", "verdict", 9),
    Column("value", "value", 10, right=True),
    Column("margin", "left", 7, right=True, need=1),
    Column("stage", "stage", 10, need=2),
    Column("where", "where", 12, need=3),
)


def threshold_look(view: ThresholdView) -> Look:
    """Missed now or before, met, or not measured yet."""
    if view.status is ThresholdStatus.UNMEASURED:
        return Look("✗" if view.failed else "·", "no data", "bad" if view.failed else "muted", 1)
    if view.failed or view.status is ThresholdStatus.MISSED:
        return Look("✗", "missed", "bad", 0)
    return Look("✓", "met", "ok", 2)


def threshold_lines(views: Sequence[ThresholdView], width: int, palette: Palette) -> list[Text]:
    """Those that are missed first."""
    if not views:
        return [Text("the configuration has no thresholds", style=palette.muted)]
    columns = fitting(COLUMNS, width)
    lines = [head_line(columns, palette)]
    for view in sorted(views, key=lambda each: threshold_look(each).rank):
        look = threshold_look(view)
        cells = {
            "text": (clean(view.text), palette.text),
            "verdict": (f"{look.glyph} {look.word}", look.colour(palette)),
            "value": (show_value(view.value, view.unit) if view.value is not None else NOTHING, palette.text),
            "margin": (f"{view.margin:+.0%}".replace("-", "−") if view.margin is not None else NOTHING, palette.muted),
            "stage": (clean(view.stage), palette.muted),
            "where": (clean(view.subject), palette.muted),
        }
        lines.append(row_line(columns, cells))
    return lines
