"""The HTML report's charts over time: rates and latencies with stages, events and the baseline's band, and how sure the
mean was when."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sai3tui.results.bands import band_under
from sai3tui.results.figures import MIB
from sai3tui.results.html_charts import BROAD, NARROW, Area, Line, Part, legend, line_chart, thinned
from sai3tui.results.html_marks import event_marks, stage_starts
from sai3tui.results.html_parts import figure
from sai3tui.results.reader import RunRecord

LONGEST_GAP_S = 3.0
COLOURS = "abcdefg"
FEWEST_LOOKS = 3
"""At a confidence interval for a curve of it."""


def over_time(record: RunRecord) -> str:
    """Empty if nothing was measured."""
    series = record.series
    if not series.at_s:
        return ""
    names = {stage.index: stage.name for stage in record.stages}
    parts: dict[int, Part] = {}
    for at, index in zip(series.at_s, series.stage_index, strict=True):
        known = parts.get(index)
        parts[index] = Part(known.start if known else max(0.0, at - 1), at, names.get(index, str(index)))
    gap = max(LONGEST_GAP_S, 3 * (series.at_s[-1] - series.at_s[0]) / max(1, len(series.at_s)))
    marks = event_marks(record)

    def line(name: str, css: str, values: Sequence[float], scale: float, *, peaks: bool = False) -> Line:
        return Line(name, css, *thinned(series.at_s, [value / scale for value in values], peaks=peaks))

    def area(name: str, column: str, css: str, scale: float) -> list[Area]:
        band = band_under(record.bands, series, column)
        if not any(band.high):
            return []
        x, low = thinned(series.at_s, [value / scale for value in band.low])
        _, high = thinned(series.at_s, [value / scale for value in band.high], peaks=True)
        return [Area(f"{name} of the baseline", css, x, low, high)]

    def chart(title: str, unit: str, lines: Sequence[Line], areas: Sequence[Area] = (), gap: float = gap) -> str:
        broad, narrow = (
            line_chart(title, unit, lines, list(parts.values()), gap=gap, marks=marks, areas=areas, size=size)
            for size in (BROAD, NARROW)
        )
        return figure(f"{title}, {unit}", broad, narrow, legend(lines, areas))

    throughput, below = [], []
    for name, css, values, column in (
        ("GET", "a", series.get_bytes, "get_bytes"),
        ("PUT", "b", series.put_bytes, "put_bytes"),
    ):
        if any(values):
            throughput.append(line(name, css, values, MIB))
            below += area(name, column, css, MIB)
    latency = [line("p50", "c", series.p50_us, 1000), line("p99", "g", series.p99_us, 1000, peaks=True)]
    told = "".join(f'<li value="{mark.label}" class="{mark.css}">{escape(mark.text)}</li>' for mark in marks)
    charts = (
        chart("Throughput", "MiB/s", throughput, below),
        chart("Operations", "per second", [line("all operations", "d", series.ops, 1)], area("all", "ops", "d", 1)),
        chart("Service time", "ms", latency, area("p99", "p99_us", "g", 1000)),
        chart("Half-width of the 95 % interval of the mean", "% of it", _half_widths(record), gap=0.0),
    )
    return "".join(charts) + (f"<ol>{told}</ol>" if told else "")


def _half_widths(record: RunRecord) -> list[Line]:
    """Of each stage whose mean was looked at several times."""
    starts = stage_starts(record)
    lines = []
    for stage in record.stages:
        looks = stage.steady.history if stage.steady is not None else ()
        if len(looks) < FEWEST_LOOKS or stage.index not in starts:
            continue
        began = starts[stage.index] + stage.warmup_s
        x = [began + seconds for seconds, _ in looks]
        lines.append(Line(stage.name, COLOURS[stage.index % len(COLOURS)], x, [100 * share for _, share in looks]))
    return lines
