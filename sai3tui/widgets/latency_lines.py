"""Latencies of a stage: the percentiles of each operation, and how its latencies are spread, on one scale."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from sai3tui.results.distribution import QUANTILES, OpDistribution, common_ranges, in_ranges
from sai3tui.theme import Palette
from sai3tui.widgets.text import millis, number

LABEL = 10
EIGHTHS = " ▏▎▍▌▋▊▉█"


def latency_lines(parts: Sequence[OpDistribution], width: int, palette: Palette) -> list[Text]:
    """Lines of at most `width` cells."""
    shown = [part for part in parts if part.ops]
    if not shown:
        return [Text("no operation was measured in this stage", style=palette.muted)]
    heads = ("mean", *(name for name, _ in QUANTILES), "max")
    lines = [Text(f"{'ms':<{LABEL}}" + "".join(f"{head:>9}" for head in heads), style=palette.muted)]
    for part in shown:
        values = (part.mean_us, *part.quantiles, part.max_us)
        line = Text(f"{part.op.upper():<{LABEL}}", style=f"bold {_colour(part, palette)}")
        line.append("".join(f"{millis(value):>9}" for value in values), style=palette.text)
        lines.append(line)
    lines.append(Text())
    ranges = common_ranges(shown)
    most = max(1, (width - LABEL) // 24)
    column = max(16, (width - LABEL) // min(most, len(shown)))
    drawn = shown[:most]
    head = Text(f"{'up to ms':<{LABEL}}", style=palette.muted)
    for part in drawn:
        head.append(f"{part.op.upper()} {part.ops:,}".ljust(column)[:column], style=_colour(part, palette))
    lines.append(head)
    counts = [in_ranges(part, ranges) for part in drawn]
    for row, edge in enumerate(ranges):
        line = Text(f"{number(edge / 1000):>{LABEL - 2}}  ", style=palette.muted)
        for part, found in zip(drawn, counts, strict=True):
            of_all = found[row] / part.ops
            bar = _bar(found[row] / max(found), column - 9)
            line.append(bar, style=_colour(part, palette))
            line.append(f" {_percent(of_all):>6}  "[: column - len(bar)], style=palette.muted)
        lines.append(line)
    return lines


def _percent(part: float) -> str:
    if part <= 0:
        return ""
    return f"{part:.1%}" if part >= 0.001 else "<0.1%"


def _bar(part: float, width: int) -> str:
    eighths = round(part * width * 8)
    if part > 0:
        eighths = max(1, eighths)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)


def _colour(part: OpDistribution, palette: Palette) -> str:
    return str(getattr(palette, part.group))
