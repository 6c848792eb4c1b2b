"""Moments of a run that its charts mark: what went wrong or was steady when."""

from __future__ import annotations

import re
from dataclasses import replace

from sai3tui.events import Level
from sai3tui.results.html_charts import Mark
from sai3tui.results.reader import RunRecord
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.views import LogLine

MOST = 12
"""Marks; more would hide the lines."""


def event_marks(record: RunRecord) -> list[Mark]:
    """Warnings and errors of the log while stages ran, the gravest first if there are too many, and the moments from
    which stages were steady; numbered in the order of time."""
    started = record.meta.started_ns
    last_ns = started + int(max(record.series.at_s, default=0.0) * SECOND_NS)
    lines = [line for line in record.log if line.level >= Level.WARNING and started < line.time_ns <= last_ns]
    kept = sorted(_first_of_each(lines), key=lambda line: -line.level)[:MOST]
    moments = [
        (
            (line.time_ns - started) / SECOND_NS,
            "bad" if line.level is Level.ERROR else "warn",
            f"{line.agent}: {line.text}" if line.agent else line.text,
        )
        for line in kept
    ]
    first_s = stage_starts(record)
    for stage in record.stages:
        if stage.steady is not None and stage.steady.from_s >= 0.5 and stage.index in first_s:
            at = first_s[stage.index] + stage.warmup_s + stage.steady.from_s
            moments.append((at, "good", f"{stage.name} is steady from here on"))
    return [
        Mark(at, str(number), css, f"{at:.0f} s: {text}") for number, (at, css, text) in enumerate(sorted(moments), 1)
    ]


def stage_starts(record: RunRecord) -> dict[int, float]:
    """When the first second of each stage began, in seconds since the run did."""
    found: dict[int, float] = {}
    for at, index in zip(record.series.at_s, record.series.stage_index, strict=True):
        found.setdefault(index, max(0.0, at - 1.0))
    return found


def _first_of_each(lines: list[LogLine]) -> list[LogLine]:
    """Without repetitions: what an agent says again and again, of other objects or with other figures, is marked once,
    with how often it was."""
    groups: dict[tuple[str, str], list[LogLine]] = {}
    for line in lines:
        groups.setdefault((line.agent, re.sub("[0-9]+", "", line.text)), []).append(line)
    return [
        replace(first, text=f"{first.text} ({len(later)} more like it)") if later else first
        for first, *later in groups.values()
    ]
