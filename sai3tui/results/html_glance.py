"""The top of the HTML report: what ran, how fast, how sure, what went wrong and why, each in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from sai3tui.config.units import format_count
from sai3tui.metrics.attribution import Cause
from sai3tui.results.caveats import open_end_text
from sai3tui.results.describe import failure_lines
from sai3tui.results.figures import MIB, per_second
from sai3tui.results.files import utc_text
from sai3tui.results.html_parts import facts
from sai3tui.results.reader import RunRecord
from sai3tui.results.status import steady_text, unreported_text
from sai3tui.results.threshold_text import verdict
from sai3tui.results.thresholds import show_value
from sai3tui.results.views import StageStatus, StageView

FEWEST_SECONDS = 20
"""Of a stage whose mean can have an interval (results/steady.py)."""
MOST_CAUSES = 5
MOST_HEADLINES = 4
SERVING = frozenset({"validation", "prepare", "cleanup", "verify"})
"""Types of stages that serve others."""


def glance(record: RunRecord) -> str:
    """The verdict, and the five answers."""
    outcome = record.outcome
    if outcome is None:
        told, css = "The run never said how it ended", "bad"
    elif outcome.exit_code == 0:
        told, css = "Success", "good"
    else:
        told, css = f"{outcome.status.replace('_', ' ').capitalize()}, exit code {outcome.exit_code}", "bad"
    measured = [stage for stage in record.stages if stage.total_ops or stage.failure]
    answers = (
        ("What ran", _what(record)),
        ("How fast", [_speed(stage) for stage in measured]),
        ("How sure", _sure(measured)),
        ("What went wrong", _wrong(record) or ["Nothing."]),
        ("What limited it", _why(measured)),
    )
    parts = [f'<p class="verdict {css}">{escape(told)}</p>']
    if record.doubts:
        parts.append('<p class="verdict bad">Files of this run are not as they were written: figures may be wrong</p>')
    parts += [*map(_tiles, _headline(measured)), facts(answers, "glance")]
    if outcome is not None and outcome.failure is not None:
        parts.append(f"<pre>{escape(chr(10).join(failure_lines(outcome.failure)))}</pre>")
    if outcome is not None and outcome.resume:
        parts.append(f"<p>To go on where it stopped: <code>{escape(outcome.resume)}</code></p>")
    return "".join(parts)


def _headline(stages: Sequence[StageView]) -> list[StageView]:
    """Whose figures are the run's: what was measured for its own sake, else what took longest."""
    found = [stage for stage in stages if stage.type not in SERVING and stage.total_ops]
    longest = max(stages, key=lambda stage: stage.elapsed_s, default=None)
    return found[:MOST_HEADLINES] or ([longest] if longest is not None and longest.total_ops else [])


def _tiles(stage: StageView) -> str:
    """A stage's figures, large."""
    tiles = [(f"{per_second(stage.total_ops, stage.elapsed_s):,.0f}", "ops/s")]
    if stage.total_bytes:
        tiles.insert(0, (f"{per_second(stage.total_bytes, stage.elapsed_s) / MIB:,.1f}", "MiB/s"))
    if stage.p50_us:
        tiles += [
            (f"{value / 1000:.2f}", f"ms, {name}") for name, value in (("p50", stage.p50_us), ("p99", stage.p99_us))
        ]
    tiles.append((f"{stage.errors:,}", "errors"))
    if stage.steady is not None:
        tiles.append((f"± {stage.steady.half_width:.1%}", "of the mean (95 %)"))
    shown = "".join(f"<div><b>{escape(value)}</b><span>{escape(unit)}</span></div>" for value, unit in tiles)
    return f'<div class="tiles" role="group" aria-label="{escape(stage.name)}"><p>{escape(stage.name)}</p>{shown}</div>'


def _what(record: RunRecord) -> list[str]:
    meta = record.meta
    agents = len(meta.agents)
    connections = sum(agent.concurrency for agent in meta.agents)
    endpoints = {view.uri for views in record.endpoints.values() for view in views}
    where = f" against {_plural(len(endpoints), 'endpoint')}" if endpoints else ""
    stages = ", ".join(stage.name for stage in record.stages)
    seconds = (record.ended_ns - meta.started_ns) / 1e9
    return [
        f"{_plural(agents, 'agent')} with {_plural(connections, 'connection')}{where}; stages: {stages}",
        f"run {meta.run_id}, from {utc_text(meta.started_ns)} (UTC), {seconds:.1f} s, sai3tui {meta.version}",
    ]


def _speed(stage: StageView) -> str:
    kind = f" ({stage.type})" if stage.type != stage.name else ""
    text = f"{stage.name}{kind}: {stage.total_ops:,} operations in {stage.elapsed_s:.1f} s"
    text += f", {per_second(stage.total_ops, stage.elapsed_s):,.0f} a second"
    if stage.total_bytes:
        rate = per_second(stage.total_bytes, stage.elapsed_s) / MIB
        text += f", {stage.total_bytes / MIB:,.1f} MiB at {rate:,.1f} MiB/s"
    if stage.p50_us:
        text += f"; half of them within {stage.p50_us / 1000:.2f} ms, 99 % within {stage.p99_us / 1000:.2f} ms"
    return text


def _sure(stages: Sequence[StageView]) -> list[str]:
    lines, short, limited = [], [], []
    for stage in stages:
        if stage.steady is not None:
            lines.append(f"{stage.name}: {steady_text(stage.steady)}")
        elif stage.elapsed_s - stage.warmup_s < FEWEST_SECONDS:
            short.append(stage.name)
        elif stage.total_ops:
            lines.append(f"{stage.name} did not settle: its mean depends on when it was measured")
        if stage.unreported:
            lines.append(f"{stage.name}: {unreported_text(stage)}")
        if stage.attribution.cause is Cause.CLIENT:
            limited.append(stage.name)
    if limited:
        lines.append(f"{', '.join(limited)}: these are figures of the load generators, not of the storage")
    if short:
        lines.append(f"{', '.join(short)}: shorter than {FEWEST_SECONDS} s, no interval of confidence")
    return lines


def _wrong(record: RunRecord) -> list[str]:
    lines = []
    if record.outcome is None:
        lines.append(open_end_text(record))
    lines += record.doubts
    for view in record.thresholds:
        if view.failed:
            value = show_value(view.value, view.unit) if view.value is not None else "nothing was measured"
            worst = f", {show_value(view.worst, view.unit)} at worst" if view.worst is not None else ""
            where = f" in {view.stage}" if view.stage else ""
            lines.append(f"{verdict(view).lower()}: {view.text}{where}: {value}{worst}")
    for stage in record.stages:
        if stage.status is StageStatus.FAILED:
            lines.append(f"{stage.name} failed")
        if stage.status is StageStatus.ABORTED:
            lines.append(f"{stage.name} was aborted")
        if stage.errors:
            lines.append(f"{stage.name}: {_plural(stage.errors, 'operation')} failed")
        if stage.retries:
            lines.append(f"{stage.name}: {_plural(stage.retries, 'attempt')} failed and were made again")
        lines += [f"{agent} was lost: not all that it did in {stage.name} is counted" for agent in stage.unreported]
    for group in record.failures[:MOST_CAUSES]:
        lines.append(f"{group.count:,} x {group.sample.sentence()}")
    return lines


def _why(stages: Sequence[StageView]) -> list[str]:
    """Of those of which something can be said, by the strongest fact."""
    found = [(stage.name, stage.attribution) for stage in stages if not stage.attribution.short]
    return [f"{name}: {replace(attribution, facts=attribution.facts[:1]).sentence}" for name, attribution in found]


def _plural(count: int, word: str) -> str:
    return f"{format_count(count)} {word}{'' if count == 1 else 's'}"
