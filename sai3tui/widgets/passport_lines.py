"""What the figures of a run rest on: versions, hosts, layout, files, endpoints, warnings."""

from __future__ import annotations

from rich.text import Text

from sai3tui.theme import Palette
from sai3tui.widgets.run_views import RunReport
from sai3tui.widgets.text import plural
from sai3tui.widgets.wrapping import labelled, wrapped


def passport_lines(report: RunReport, width: int, palette: Palette) -> list[Text]:
    """Lines of at most `width` cells."""
    lines: list[Text] = []
    for label, value in report.facts:
        lines += labelled(label, value, width, palette)
    lines += labelled("results", report.path, width, palette)
    for note in report.notes:
        lines += labelled("warning", note, width, palette, "warn")
    lines.append(Text())
    if report.endpoints:
        lines.append(Text("endpoints", style=palette.muted))
    for endpoint in report.endpoints:
        figures = f"{endpoint.total_ops:,} ops, {plural(endpoint.errors, 'error')}"
        lines += wrapped(endpoint.uri, width, palette.text)
        lines += wrapped(figures, width, palette.muted, 2)
    errors = sum(group.count for group in report.failures)
    if errors:
        kinds = plural(len(report.failures), "kind")
        text = f"✗ {plural(errors, 'error')} of {kinds}; e shows them"
        lines += [Text(), *wrapped(text, width, palette.bad)]
    return lines
