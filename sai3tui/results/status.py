"""`STATUS.txt`: how the run ended, what was done, what failed and why, and how to go on, for a person in a hurry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sai3tui.events import AttemptStats
from sai3tui.metrics.attribution import Cause
from sai3tui.results.coverage import CoverageSpan, coverage_lines
from sai3tui.results.describe import failure_lines
from sai3tui.results.figures import MIB, per_second
from sai3tui.results.files import utc_text
from sai3tui.results.going_on import how_to_go_on
from sai3tui.results.metadata import AgentMeta, RunMeta
from sai3tui.results.passport import clock_text
from sai3tui.results.steady import known_to
from sai3tui.results.threshold_text import threshold_table
from sai3tui.results.thresholds import ThresholdView
from sai3tui.results.views import FailureGroup, Outcome, StageStatus, StageView, SteadyView

MOST_CAUSES = 20
MOST_ATTEMPTS = 5
STAGE_HEADER = ("stage", "status", "objects", "ops", "MiB", "seconds", "ops/s", "MiB/s", "p50 ms", "p99 ms", "errors")


def stage_table(stages: Iterable[StageView]) -> list[str]:
    """Per stage what was done, in aligned columns; the same in STATUS.txt and at the end of `--batch`."""
    rows: list[Sequence[str]] = [STAGE_HEADER, *(stage_cells(stage) for stage in stages)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(STAGE_HEADER))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def lateness_text(stage: StageView) -> str:
    """How a stage kept its rate. Empty without one."""
    late = stage.lateness
    if late is None:
        return ""
    kept = late.delivered(stage.elapsed_s)
    return late.text() if kept else f"the io_rate asked for was not delivered: {late.text()}"


def limit_notes(stage: StageView) -> list[str]:
    """What limited a stage, in words that go on from its name; none if nothing stands out. An agent's own limit is
    among the facts of an attribution to the client, and is not said twice."""
    found = stage.attribution
    if found.short and stage.total_ops:
        return [
            ": too short to say what limited it"
            + ("; agents were at limits of their own" if stage.client_limited else "")
        ]
    notes = []
    if stage.client_limited and found.cause is not Cause.CLIENT:
        notes.append(f" was limited by the load generator, not the storage: {stage.client_limited}")
    if found.facts:
        notes.append(f": limited by {found.sentence}")
    return notes


def unreported_text(stage: StageView) -> str:
    """Of agents that were lost, in the stage or before anybody here had heard what they did in it."""
    return (
        f"what {', '.join(stage.unreported)} did after the last report that is known is not counted: the figures are"
        " what was done at the least"
    )


def stage_notes(stages: Iterable[StageView], *, limits: bool = True, losses: bool = True) -> list[str]:
    """What is to be known about the figures of `stage_table`: a line each, none if there is nothing; what limited them
    only with `limits`, who was lost only with `losses`."""
    lines = []
    for stage in stages:
        name = f"stage {stage.index} {stage.name}"
        lines += [name + note for note in limit_notes(stage)] if limits else []
        if stage.unreported and losses:
            lines.append(f"{name}: {unreported_text(stage)}")
        if stage.warmup_s:
            lines.append(f"{name}: the first {stage.warmup_s:.1f} s were warm-up and are left out")
        if stage.repeated_puts:
            again = f"{stage.repeated_puts:,} objects were PUT again"
            lines.append(f"{name}: {again}, in flight when a worker, an agent or an earlier run ended")
        if stage.lateness is not None:
            lines.append(f"{name}: {lateness_text(stage)}")
        if stage.steady is not None:
            lines.append(f"{name}: {steady_text(stage.steady)}")
        over = stage.status not in (StageStatus.PENDING, StageStatus.RUNNING, StageStatus.SKIPPED)
        if stage.half_width and over and not known_to(stage.steady, stage.half_width):
            lines.append(f"{name}: its mean was not known to ± {stage.half_width:.2%} when its longest time was over")
        if stage.failed_attempts:
            count = sum(stats.count for stats in stage.failed_attempts)
            causes = [attempts_text(stats) for stats in stage.failed_attempts[:MOST_ATTEMPTS]]
            more = len(stage.failed_attempts) - len(causes)
            text = ", ".join(causes) + (f", and {more} more causes" if more else "")
            lines.append(f"{name}: {count} attempts failed, {stage.retries} were made again: {text}")
    return lines


def skew_text(stages: Iterable[StageView]) -> str:
    """How far apart agents let each stage begin, once its barrier had opened."""
    ran = [stage for stage in stages if stage.status not in (StageStatus.PENDING, StageStatus.SKIPPED)]
    return ", ".join(f"{stage.index} {stage.name} {stage.start_skew_ms:.1f} ms" for stage in ran) or "no stage began"


def steady_text(steady: SteadyView) -> str:
    """From when on a stage was steady, and the mean of that part with its interval."""
    rate = f"{steady.ops:.1f} ops/s" + (f", {steady.bytes / MIB:.1f} MiB/s" if steady.bytes else "")
    when = f"steady from {steady.from_s:.0f} s on" if steady.from_s >= 0.5 else "steady from the beginning"
    return f"{when}: over these {steady.seconds:.0f} s {rate}, ± {steady.half_width:.1%} (95 %)"


def attempts_text(stats: AttemptStats) -> str:
    """`7 x get network/reset at s3://...`."""
    kind = stats.kind.word + (f"/{stats.subclass}" if stats.subclass else "")
    return f"{stats.count} x {stats.op.word} {kind}" + (f" at {stats.uri}" if stats.uri else "")


def at_least(incomplete: bool) -> str:
    """What stands before a count that may be too small."""
    return ">= " if incomplete else ""


def stage_cells(s: StageView) -> tuple[str, ...]:
    """One line of a table with the columns of `STAGE_HEADER`."""
    least = at_least(bool(s.unreported))
    return (
        f"{s.index} {s.name}",
        s.status.value,
        f"{least}{s.done}" + (f" ({s.existed} existed)" if s.existed else ""),
        f"{least}{s.total_ops}",
        f"{s.total_bytes / MIB:.1f}",
        f"{s.elapsed_s:.2f}",
        f"{per_second(s.total_ops, s.elapsed_s):.1f}",
        f"{per_second(s.total_bytes, s.elapsed_s) / MIB:.1f}",
        f"{s.p50_us / 1000:.2f}",
        f"{s.p99_us / 1000:.2f}",
        str(s.errors),
    )


def _agent_line(agent: AgentMeta, known: Mapping[str, Any]) -> str:
    """One agent; `known` is its passport."""
    clock = clock_text(known)
    text = f"{agent.id}: {agent.address}, {agent.hostname or 'unknown host'}, sai3tui {agent.version or '?'}"
    return text + (f", {clock}" if clock else "")


def status_text(
    meta: RunMeta,
    outcome: Outcome,
    stages: tuple[StageView, ...],
    failures: tuple[FailureGroup, ...],
    ended_ns: int,
    directory: Path,
    thresholds: tuple[ThresholdView, ...] = (),
    coverage: tuple[CoverageSpan, ...] = (),
    baseline: Sequence[str] = (),
) -> str:
    """The whole file. It names only files that are there."""
    word = "SUCCESS" if outcome.exit_code == 0 else "FAILURE"
    lines = [
        f"TEST STATUS: {word}",
        f"Timestamp: {utc_text(ended_ns)}",
        "",
        "=== Summary ===",
        f"Run: {meta.run_id} of {meta.config_name}",
        f"Ended: {outcome.status.replace('_', ' ')}, exit code {outcome.exit_code}",
        f"Started: {utc_text(meta.started_ns)}, {(ended_ns - meta.started_ns) / 1e9:.1f} s",
        f"Preflight: {'run' if meta.preflight else 'SKIPPED'}",
        f"Total agents: {len(meta.agents)}",
        f"Total operations: {at_least(any(s.unreported for s in stages))}{sum(stage.total_ops for stage in stages)}",
        f"Total errors: {sum(stage.errors for stage in stages)}",
        *([f"Start skew: {skew_text(stages)}"] if len(meta.agents) > 1 else []),
        "",
        *stage_table(stages),
        *stage_notes(stages),
        *(["", "=== Thresholds ===", *threshold_table(thresholds)] if thresholds else []),
        *(["", "=== Baseline ===", *baseline] if baseline else []),
        *(["", "=== Coverage ===", *coverage_lines(coverage)] if coverage_lines(coverage) else []),
        "",
        "=== Agent Details ===",
        *(_agent_line(agent, meta.passport.get("agents", {}).get(agent.id, {})) for agent in meta.agents),
    ]
    if outcome.failure is not None:
        lines += ["", "=== What failed ===", *failure_lines(outcome.failure)]
    told = outcome.failure.message if outcome.failure is not None else ""
    failures = tuple(group for group in failures if group.count > 1 or group.sample.message != told)
    if failures:
        lines += ["", "=== Failures by cause ==="]
        for group in failures[:MOST_CAUSES]:
            lines.append(f"{group.count} x {group.sample.sentence()} ({', '.join(group.agents) or 'controller'})")
            uri = group.sample.context.uri
            if uri and uri not in lines[-1]:
                lines.append(f"    for example {uri}")
            lines.append(f"    hint: {group.sample.what_next}")
        if len(failures) > MOST_CAUSES:
            lines.append(f"and {len(failures) - MOST_CAUSES} more causes")
    if outcome.resume:
        lines += [
            "",
            "=== How to go on ===",
            how_to_go_on([(stage.type, stage.status) for stage in stages]),
            outcome.resume,
        ]
    files = sorted(path.name for path in directory.iterdir() if path.is_file() and not path.name.startswith("."))
    lines += ["", "=== Files ===", *files]
    return "\n".join(lines) + "\n"
