"""A comparison of two runs as lines: what is better or worse, by how much, how surely; what else differs."""

from __future__ import annotations

import math

from rich.text import Text

from sai3tui.results.compare import CONFIDENCE, Difference, Verdict
from sai3tui.results.compared import Comparison
from sai3tui.theme import Palette
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.states import Look
from sai3tui.widgets.text import clean, millis, number, plural
from sai3tui.widgets.wrapping import LABEL, labelled, wrapped

MIB = 1024.0**2
VERDICTS = {
    Verdict.BETTER: Look("✓", "better", "ok"),
    Verdict.WORSE: Look("✗", "worse", "bad"),
    Verdict.SAME: Look("·", "no difference", "muted"),
    Verdict.UNKNOWN: Look("?", "too few intervals", "warn"),
}
COLUMNS = (
    Column("metric", "metric", 8),
    Column("first", "first", 8, right=True),
    Column("second", "second", 8, right=True),
    Column("share", "change", 8, right=True),
    Column("interval", f"{CONFIDENCE:.0%} interval", 19, right=True, need=1),
    Column("verdict", "verdict", 19),
)


def comparison_lines(comparison: Comparison, width: int, palette: Palette) -> list[Text]:
    """Lines of at most `width` cells; the second run is judged against the first."""
    look = VERDICTS[comparison.verdict]
    doubts = f"   ▲ {plural(len(comparison.caveats), 'caveat')}, below" if comparison.caveats else ""
    lines = [Text.assemble(("verdict".ljust(LABEL), palette.muted), look.text(palette), (doubts, palette.warn))]
    columns = fitting(COLUMNS, width)
    for row in comparison.rows:
        lines += [Text(), Text(clean(f"{row.stage}  {row.op.word.upper()}"), style=f"bold {palette.bright}")]
        lines.append(head_line(columns, palette))
        lines += [row_line(columns, _cells(difference, palette)) for difference in row.differences]
    if comparison.basis:
        lines += [Text(), *wrapped(comparison.basis, width, palette.muted)]
    if comparison.caveats:
        lines += [Text(), Text("What may make this unfair", style=f"bold {palette.bright}")]
    for caveat in comparison.caveats:
        lines += wrapped(f"▲ {caveat}", width, palette.warn)
    if comparison.config:
        lines += [Text(), Text("The configurations differ", style=f"bold {palette.bright}")]
        for line in comparison.config:
            lines += wrapped(line, width, palette.ok if line.startswith("+") else palette.muted)
    if comparison.passport:
        lines += [Text(), Text("Hosts and versions differ", style=f"bold {palette.bright}")]
        for fact, first, second in comparison.passport:
            lines += wrapped(f"{fact}: {first or '(nothing)'} → {second or '(nothing)'}", width, palette.text)
    lines += [Text(), *labelled("first", str(comparison.first.path), width, palette)]
    return lines + labelled("second", str(comparison.second.path), width, palette)


def _cells(difference: Difference, palette: Palette) -> dict[str, tuple[str, str]]:
    look = VERDICTS[difference.verdict]
    name, values = f"{difference.metric} ms", [millis(difference.first), millis(difference.second)]
    if difference.metric == "ops_per_s":
        name, values = "ops/s", [number(difference.first), number(difference.second)]
    elif difference.metric == "bytes_per_s":
        name, values = "MiB/s", [number(difference.first / MIB), number(difference.second / MIB)]
    interval = f"{difference.low:+.1%} .. {difference.high:+.1%}" if math.isfinite(difference.low) else ""
    return {
        "metric": (name, palette.text),
        "first": (values[0], palette.text),
        "second": (values[1], palette.text),
        "share": (f"{difference.share:+.1%}", look.colour(palette)),
        "interval": (interval, palette.muted),
        "verdict": (f"{look.glyph} {look.word}", look.colour(palette)),
    }
