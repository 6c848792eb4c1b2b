"""Two finished runs side by side: which of their stages can be compared, how they differ, and what could explain it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, Sai3Error
from sai3tui.metrics.histogram import Counts, Histogram
from sai3tui.results.compare import Difference, Intervals, Verdict, compare, overall
from sai3tui.results.reader import RunRecord, load_run, read_predecessor
from sai3tui.results.seconds import FleetSecond
from sai3tui.results.views import StageView

MOST_DIFFERENT_LINES = 60
UNIMPORTANT = (
    "clock_offset_ms",
    "clock_uncertainty_ms",
    "clock_drift_ppm",
    "clock_drift_uncertainty_ppm",
    "config_sha256",
    "layout_hash",
    "address",
)
"""Facts of the passport that differ between any two runs, or are told in words."""


@dataclass(slots=True)
class LoadedRun:
    """A run with its intervals per stage and operation."""

    record: RunRecord
    intervals: dict[tuple[int, Op], Intervals]

    @property
    def stages(self) -> dict[tuple[str, str], StageView]:
        """Stages that measured anything, by name and type."""
        return {(s.name, s.type): s for s in self.record.stages if s.total_ops}


@dataclass(frozen=True, slots=True)
class StageComparison:
    """One operation of one stage in both runs."""

    stage: str
    op: Op
    differences: tuple[Difference, ...]

    @property
    def verdict(self) -> Verdict:
        return overall(self.differences)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second run against the first. `caveats` say why it may not be fair; `config` is a unified difference;
    `passport` names facts with both values."""

    first: RunRecord
    second: RunRecord
    rows: tuple[StageComparison, ...]
    caveats: tuple[str, ...]
    config: tuple[str, ...]
    passport: tuple[tuple[str, str, str], ...]

    @property
    def verdict(self) -> Verdict:
        return overall(difference for row in self.rows for difference in row.differences)


class _Collector:
    """Gathers seconds as sparse columns: a histogram each would be 16 KiB a second and operation."""

    def __init__(self) -> None:
        self._columns: dict[tuple[int, Op], list[tuple[int, int, float, Counts, Counts]]] = {}

    def take(self, second: FleetSecond) -> None:
        if second.warmup or not second.has_rate:
            return
        found: dict[Op, tuple[int, int, Histogram]] = {}
        for stats in second.ops.rows():
            ops, size, merged = found.get(stats.op, (0, 0, Histogram()))
            merged.merge(stats.service)
            found[stats.op] = (ops + stats.ops, size + stats.bytes, merged)
        for op, (ops, size, merged) in found.items():
            filled, counts = merged.filled()
            column = self._columns.setdefault((second.stage_index, op), [])
            column.append((ops, size, second.seconds, filled.astype(np.uint64), counts))

    def intervals(self) -> dict[tuple[int, Op], Intervals]:
        made = {}
        for key, column in self._columns.items():
            rows = [np.full(len(bins), n) for n, (*_, bins, _) in enumerate(column)]
            made[key] = Intervals(
                np.array([c[0] for c in column], dtype=float),
                np.array([c[1] for c in column], dtype=float),
                np.array([c[2] for c in column], dtype=float),
                np.concatenate(rows).astype(np.intp),
                np.concatenate([c[3] for c in column]).astype(np.intp),
                np.concatenate([c[4] for c in column]).astype(float),
            )
        return made


def load_for_comparison(path: Path) -> LoadedRun:
    """Raises Sai3Error if the directory cannot be read as a run."""
    foreign = read_predecessor(path)
    if foreign is not None:
        return LoadedRun(load_run(path), foreign.intervals)
    collector = _Collector()
    record = load_run(path, collector.take)
    return LoadedRun(record, collector.intervals())


def compare_runs(first: LoadedRun, second: LoadedRun) -> Comparison:
    """Raises Sai3Error if the runs have nothing in common that could be compared."""
    pairs = []
    for key, stage in first.stages.items():
        other = second.stages.get(key)
        if other is None:
            continue
        for op in Op:
            mine, theirs = first.intervals.get((stage.index, op)), second.intervals.get((other.index, op))
            if mine is not None and theirs is not None and mine.ops.sum() and theirs.ops.sum():
                pairs.append((f"{stage.index} {stage.name}", op, mine, theirs))
    if not pairs:
        raise Sai3Error(
            f"{first.record.path} and {second.record.path} have no stage in common with an operation of both",
            hint="stages are matched by name and type; a run that was broken off may have none",
            kind=ErrorKind.CONFIG,
        )
    metrics = 4 * len(pairs)
    rows = [StageComparison(name, op, tuple(compare(a, b, family=metrics))) for name, op, a, b in pairs]
    return Comparison(
        first.record,
        second.record,
        tuple(rows),
        tuple(_caveats(first, second)),
        tuple(_config_difference(first.record, second.record)),
        tuple(passport_differences(first.record.meta.passport, second.record.meta.passport)),
    )


def _caveats(first: LoadedRun, second: LoadedRun) -> list[str]:
    a, b = first.record, second.record
    found = []
    for record in (a, b):
        outcome = record.outcome
        if outcome is None or outcome.exit_code:
            status = outcome.status.replace("_", " ") if outcome else "never ended"
            found.append(f"{record.path.name} {'is ' if outcome else ''}{status}: its figures are of what it got to")
    found += [f"{record.path.name}: {doubt}" for record in (a, b) for doubt in record.doubts]
    if not (a.meta.layout_hash and b.meta.layout_hash):
        found.append("whether the objects were the same is not known: sai3-bench does not say")
    elif a.meta.layout_hash != b.meta.layout_hash:
        found.append("unlike: the objects differ (another tree, other sizes, seed or place)")
    if len(a.meta.agents) != len(b.meta.agents):
        found.append(f"unlike: {len(a.meta.agents)} agents against {len(b.meta.agents)}")
    before, after = (sum(agent.concurrency for agent in r.meta.agents) for r in (a, b))
    if before != after:
        found.append(f"unlike: {before} connections against {after}")
    found += [f"stage {name} is in one of them only" for name, _ in sorted(first.stages.keys() ^ second.stages.keys())]
    for key, stage in first.stages.items():
        other = second.stages.get(key)
        for record, view in ((a, stage), (b, other)):
            if view is not None and view.client_limited:
                found.append(f"{record.path.name}, stage {view.name}: limited by the load generator, not the storage")
            if view is not None and view.errors:
                found.append(f"{record.path.name}, stage {view.name}: {view.errors} errors")
    return found


def _config_difference(a: RunRecord, b: RunRecord) -> list[str]:
    texts = []
    for record in (a, b):
        try:
            texts.append((record.path / "config.yaml").read_text(errors="replace").splitlines())
        except OSError:
            return [f"config.yaml of {record.path.name} cannot be read"]
    lines = list(difflib.unified_diff(texts[0], texts[1], a.path.name, b.path.name, lineterm="", n=1))
    more = len(lines) - MOST_DIFFERENT_LINES
    return lines[:MOST_DIFFERENT_LINES] + ([f"... and {more} more lines"] if more > 0 else [])


def passport_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Facts that differ: where they stand, and both values; empty where one of them has none."""
    if not first or not second:
        return [] if first == second else [("passport", "known" if first else "", "known" if second else "")]
    flat = [dict(_flat("", document)) for document in (first, second)]
    keys = dict.fromkeys([*flat[0], *flat[1]])
    return [
        (key, flat[0].get(key, ""), flat[1].get(key, ""))
        for key in keys
        if flat[0].get(key) != flat[1].get(key) and key.rsplit(".", 1)[-1] not in UNIMPORTANT
    ]


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        start = f"{prefix}." if prefix else ""
        return [pair for key, inner in value.items() for pair in _flat(f"{start}{key}", inner)]
    return [(prefix, str(value))]
