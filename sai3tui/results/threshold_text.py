"""Thresholds as lines for people and as JSON, both ways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sai3tui.results.thresholds import ThresholdStatus, ThresholdView, show_value

HEADER = ("threshold", "stage", "verdict", "value", "margin", "worst", "where")


def threshold_cells(view: ThresholdView) -> tuple[str, ...]:
    """One line of a table with the columns of `HEADER`."""
    where = view.subject
    if len(view.missing) > 1:
        where += f" and {len(view.missing) - 1} more of {view.subjects}"
    return (
        view.text,
        view.stage,
        verdict(view),
        show_value(view.value, view.unit) if view.value is not None else "",
        f"{view.margin:+.1%}" if view.margin is not None else "",
        show_value(view.worst, view.unit) if view.worst is not None else "",
        where,
    )


def verdict(view: ThresholdView) -> str:
    """`met`, `MISSED` or `not measured`; what was missed for a while stays missed."""
    if view.failed:
        return "NOT MEASURED" if view.status is ThresholdStatus.UNMEASURED else "MISSED"
    return view.status.value


def threshold_table(views: Iterable[ThresholdView]) -> list[str]:
    """Aligned columns; nothing if there are no thresholds."""
    rows = [threshold_cells(view) for view in views]
    if not rows:
        return []
    table = [HEADER, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADER))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def threshold_json(view: ThresholdView) -> dict[str, Any]:
    """All fields; shares are fractions, latencies seconds, throughput bytes per second."""
    return asdict(view) | {"missing": list(view.missing)}


def threshold_from_json(document: dict[str, Any]) -> ThresholdView:
    """The inverse. Raises KeyError, TypeError or ValueError for another document."""
    status = ThresholdStatus(document["status"])
    return ThresholdView(**(document | {"status": status, "missing": tuple(document["missing"])}))
