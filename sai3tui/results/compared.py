"""Finished runs side by side: which of their stages can be compared, how they differ, and what could explain it."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, Sai3Error
from sai3tui.metrics.histogram import Counts, Histogram
from sai3tui.results.compare import EXPECTED, EXPECTED_BETWEEN, Difference, Intervals, Verdict, compare, overall
from sai3tui.results.reader import RunRecord, list_runs, load_run, read_predecessor, read_run_metadata
from sai3tui.results.seconds import FleetSecond
from sai3tui.results.totals import SECONDS
from sai3tui.results.views import StageView

MOST_DIFFERENT_LINES = 60
MOST_EARLIER = 8
LARGEST_EARLIER = 512 << 10
"""Bytes of seconds.zst: a second each."""
WENT_THROUGH = (0, 4)
"""Exit codes of runs that went through all stages: also if a threshold was missed."""
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

    def measured(self, stage: tuple[str, str], op: Op) -> Intervals | None:
        """Intervals of an operation of a stage; None if there was none of it."""
        view = self.stages.get(stage)
        found = self.intervals.get((view.index, op)) if view is not None else None
        return found if found is not None and found.ops.sum() else None


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
    """The second side against the first. Each is of one run or more, of which `first` and `second` are the first ones,
    and `also` are all others. `basis` says how it is known what is between runs of the same thing. `caveats` say why it
    may not be fair; `config` is a unified difference; `passport` names facts with both values."""

    first: RunRecord
    second: RunRecord
    rows: tuple[StageComparison, ...]
    caveats: tuple[str, ...]
    config: tuple[str, ...]
    passport: tuple[tuple[str, str, str], ...]
    basis: str = ""
    also: tuple[RunRecord, ...] = ()

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


def earlier_runs(sides: Sequence[LoadedRun]) -> list[LoadedRun]:
    """Runs of what the first one is, from before it began, in the same directory: of the same configuration, on the
    same hosts and versions, that went through. The latest ones, and of those that are read in a moment; none of the
    sides themselves."""
    record = sides[0].record
    wanted = record.meta.passport.get("config_sha256")
    if not wanted:
        return []
    taken = {run.record.path.resolve() for run in sides}
    found: list[LoadedRun] = []
    entries = [entry for entry in list_runs(record.path.resolve().parent) if not entry.problem]
    for entry in entries:
        if len(found) == MOST_EARLIER:
            break
        if entry.started_ns >= record.meta.started_ns or entry.exit_code not in WENT_THROUGH or entry.path in taken:
            continue
        with contextlib.suppress(Sai3Error, OSError):
            passport = read_run_metadata(entry.path).meta.passport
            same = passport.get("config_sha256") == wanted and not passport_differences(record.meta.passport, passport)
            if same and (entry.path / SECONDS).stat().st_size <= LARGEST_EARLIER:
                run = load_for_comparison(entry.path)
                found += [] if run.record.doubts else [run]
    return found


def compare_runs(
    first: Sequence[LoadedRun], second: Sequence[LoadedRun], before: Sequence[LoadedRun] = ()
) -> Comparison:
    """Two sides of one run or more; `before` are earlier runs of what the first side is. Raises Sai3Error if the sides
    have nothing in common that could be compared."""
    pairs: list[tuple[str, Op, list[Intervals], list[Intervals], list[Intervals]]] = []
    for key, stage in first[0].stages.items():
        for op in Op:
            a, b, known = (
                [each for run in runs if (each := run.measured(key, op)) is not None]
                for runs in (first, second, before)
            )
            if (len(a), len(b)) == (len(first), len(second)):
                pairs.append((f"{stage.index} {stage.name}", op, a, b, known))
    records = [run.record for run in (*first, *second)]
    if not pairs:
        raise Sai3Error(
            f"{' and '.join(str(record.path) for record in records)} have no stage in common with an operation of all",
            hint="stages are matched by name and type; a run that was broken off may have none",
            kind=ErrorKind.CONFIG,
        )
    rows = [
        StageComparison(name, op, tuple(compare(a, b, before=known, rows=len(pairs))))
        for name, op, a, b, known in pairs
    ]
    return Comparison(
        first[0].record,
        second[0].record,
        tuple(rows),
        tuple(_caveats(first, second)),
        tuple(_config_difference(first[0].record, second[0].record)),
        tuple(passport_differences(first[0].record.meta.passport, second[0].record.meta.passport)),
        _basis(len(first) + len(second) - 2, len(before)),
        tuple(run.record for run in (*first[1:], *second[1:])),
    )


def _basis(further: int, earlier: int) -> str:
    """How it is known how far runs of the same thing are apart, for a person."""
    known = [f"{earlier} earlier run{'s' * (earlier > 1)} of the first configuration"] if earlier else []
    known += ["the runs of each side"] if further else []
    expected = f"{EXPECTED:.1%} (p99 {EXPECTED_BETWEEN['p99']:.0%})"
    if known:
        return f"how far runs of the same thing are apart is taken from {' and '.join(known)}, and from what is usual"
    return (
        f"runs of the same thing are taken to be {expected} apart beside what changes within them, as there is no"
        " further run of either; several runs a side (--with) tell it better"
    )


def _caveats(first: Sequence[LoadedRun], second: Sequence[LoadedRun]) -> list[str]:
    runs = [*first, *second]
    a = first[0].record
    found = []
    for record in (run.record for run in runs):
        outcome = record.outcome
        if outcome is None or outcome.exit_code:
            status = outcome.status.replace("_", " ") if outcome else "never ended"
            found.append(f"{record.path.name} {'is ' if outcome else ''}{status}: its figures are of what it got to")
    found += [f"{run.record.path.name}: {doubt}" for run in runs for doubt in run.record.doubts]
    for run in runs[1:]:
        found += _unlike(a, run.record)
    stages = [run.stages.keys() for run in runs]
    partly = set().union(*stages) - set(stages[0]).intersection(*stages[1:])
    found += [f"stage {name} is in {'one' if len(runs) == 2 else 'some'} of them only" for name, _ in sorted(partly)]
    for key in first[0].stages:
        for run in runs:
            view = run.stages.get(key)
            name = run.record.path.name
            if view is not None and view.client_limited:
                found.append(f"{name}, stage {view.name}: limited by the load generator, not the storage")
            if view is not None and view.errors:
                found.append(f"{name}, stage {view.name}: {view.errors} errors")
    return list(dict.fromkeys(found))


def _unlike(a: RunRecord, b: RunRecord) -> list[str]:
    """Why a run is not of the same thing as the first one."""
    found = []
    if not (a.meta.layout_hash and b.meta.layout_hash):
        found.append("whether the objects were the same is not known: sai3-bench does not say")
    elif a.meta.layout_hash != b.meta.layout_hash:
        found.append("unlike: the objects differ (another tree, other sizes, seed or place)")
    if len(a.meta.agents) != len(b.meta.agents):
        found.append(f"unlike: {len(a.meta.agents)} agents against {len(b.meta.agents)}")
    before, after = (sum(agent.concurrency for agent in r.meta.agents) for r in (a, b))
    if before != after:
        found.append(f"unlike: {before} connections against {after}")
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
