"""Finished (or broken off) runs, read back: from the run log through the same tally as when they were live."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, Sai3Error
from sai3tui.events import Level, Note, Report
from sai3tui.results.bands import StageBand, read_bands
from sai3tui.results.details import StageDetail, TableRow, stage_detail
from sai3tui.results.directory import is_written
from sai3tui.results.doubts import EDITED, doubts
from sai3tui.results.events_log import read_events
from sai3tui.results.figures import rates_of
from sai3tui.results.headline import Headline, headline_of, headline_of_json
from sai3tui.results.metadata import ReadMeta, RunMeta, parse_metadata
from sai3tui.results.metrics_log import read_reports
from sai3tui.results.predecessor import PredecessorRun, died_early, is_predecessors, load_predecessor, stage_infos
from sai3tui.results.record_file import Condition
from sai3tui.results.seconds import FleetSecond
from sai3tui.results.stage_tally import StageTally
from sai3tui.results.tally import Item, Tally
from sai3tui.results.thresholds import ThresholdView
from sai3tui.results.totals import read_totals
from sai3tui.results.views import (
    AgentStageView,
    EndpointView,
    FailureGroup,
    LogLine,
    Outcome,
    Series,
    StageStatus,
    StageView,
)

NAME_PATTERN = "sai3-*"
UNFINISHED = "unfinished"
"""Status of a run that never said how it ended."""
CROSSING_NS = 3_000_000_000
MOST_WAITING = 1000
"""Reports that are put in order at a time, and how far apart in time they may have come."""


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One directory in a list of runs. `problem` says why one cannot be opened; all else is empty then."""

    path: Path
    name: str
    config_name: str = ""
    started_ns: int = 0
    seconds: float = 0.0
    status: str = ""
    exit_code: int | None = None
    agents: int = 0
    operations: int = 0
    bytes: int = 0
    errors: int = 0
    problem: str = ""
    doubt: str = ""
    """Why its figures may not be those of the run."""
    headline: Headline = Headline()


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs of a list to show. `config`: part of the configuration's name; `status`: how it ended; `since_ns`: it
    began then or later. What is empty does not matter; with any of them, what cannot be read is left out."""

    config: str = ""
    status: str = ""
    since_ns: int = 0

    def takes(self, entry: RunEntry) -> bool:
        if not (self.config or self.status or self.since_ns):
            return True
        status = self.status.lower().replace(" ", "_").replace("-", "_")
        return (
            not entry.problem
            and self.config.lower() in entry.config_name.lower()
            and status in ("", entry.status)
            and entry.started_ns >= self.since_ns
        )


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as its directory tells it. `outcome` is None if it never said how it ended; `endpoints` holds those of
    each stage, by stage index."""

    path: Path
    meta: RunMeta
    outcome: Outcome | None
    ended_ns: int
    stages: tuple[StageView, ...]
    endpoints: dict[int, tuple[EndpointView, ...]]
    series: Series
    failures: tuple[FailureGroup, ...]
    log: tuple[LogLine, ...]
    status_text: str
    files: tuple[str, ...]
    thresholds: tuple[ThresholdView, ...] = ()
    agents: dict[int, tuple[AgentStageView, ...]] = field(default_factory=dict)
    """What each agent did, by stage index."""
    details: dict[int, StageDetail] = field(default_factory=dict)
    """Figures per operation, agent and endpoint, by stage index."""
    baseline: Mapping[str, Any] | None = None
    """How it differs from its baseline, as metadata.json says."""
    bands: tuple[StageBand, ...] = ()
    """Where the baseline was, as it was written."""
    notes: tuple[str, ...] = ()
    """Warnings and worse that were told."""
    doubts: tuple[str, ...] = ()
    """What does not fit in its files: figures may be wrong then."""
    live: bool = False
    """A controller still writes there."""
    foreign: bool = False
    """sai3-bench wrote it: `tables` are known of it instead of `details`."""
    tables: tuple[TableRow, ...] = ()


@dataclass(slots=True)
class _Reading:
    """What comes up while a run log is read: warnings that were told, each once, how metrics.zst was found, and where
    stages were that had not ended when it broke off."""

    notes: dict[str, None] = field(default_factory=dict)
    condition: Condition = field(default_factory=Condition)
    broke_off: dict[int, StageStatus] = field(default_factory=dict)


def _seconds_of(path: Path, tally: Tally, ended_ns: int, reading: _Reading) -> Iterator[FleetSecond]:
    """Fill the tally and give the seconds of the fleet."""
    totals = read_totals(path)
    for item in read_items(path, totals.metrics_bytes if totals is not None else 0, reading.condition):
        if isinstance(item, Note) and item.level >= Level.WARNING:
            reading.notes[f"{item.agent}: {item.text}" if item.agent else item.text] = None
        if totals is not None and isinstance(item, Report) and item.stage_index in totals.waiting:
            yield from totals.restore(tally, item.stage_index)
        yield from tally.apply(item)
        for index in totals.waiting if totals is not None else ():
            if tally.stages[index].start_ns:
                yield from totals.restore(tally, index) if totals is not None else ()
    if totals is not None:
        for index in totals.waiting:
            yield from totals.restore(tally, index)
    for stage in tally.stages.values():
        if stage.live:
            last_ns = max((part.reported_ns for part in stage.agents.values()), default=0)
            if not ended_ns:
                reading.broke_off[stage.info.index] = stage.status
            yield from stage.finish(ended_ns or last_ns, None)


@dataclass(frozen=True, slots=True)
class Again:
    """What it takes to run a configuration again as it was run."""

    config: Path
    name: str
    agents_override: tuple[str, ...]
    only: str


def run_again(path: Path) -> Again:
    """Of the run in a results directory: its copy of the configuration, which may have changed elsewhere since. Raises
    Sai3Error, naming the file, if the directory is not a run's."""
    meta = read_run_metadata(path).meta
    return Again(path / "config.yaml", meta.config_name, meta.agents_override, meta.only)


def list_runs(root: Path) -> list[RunEntry]:
    """The runs in `root`, the newest first; broken directories are in it with a `problem`. Raises OSError if `root`
    cannot be listed; one that does not exist has no runs."""
    if not root.is_dir():
        return []
    found = [_entry(path) for path in root.glob(NAME_PATTERN) if path.is_dir()]
    return sorted(found, key=lambda entry: (entry.started_ns, entry.name), reverse=True)


def load_run(
    path: Path,
    on_second: Callable[[FleetSecond], None] | None = None,
) -> RunRecord:
    """Read a run again; `on_second` gets every second of the fleet, in the order of each stage.

    What is stored of its figures is taken from there, and only later reports are added up.

    Raises Sai3Error, naming the file, if the directory is not a run's or cannot be read.
    """
    foreign = read_predecessor(path)
    if foreign is not None:
        return _predecessor_record(path, foreign)
    read = read_run_metadata(path)
    connections = {agent.id: agent.concurrency for agent in read.meta.agents}
    tally = Tally(read.meta.stages, connections=connections, log_lines=None, series_seconds=None)
    reading = _Reading()
    try:
        for second in _seconds_of(path, tally, read.ended_ns, reading):
            if on_second is not None:
                on_second(second)
    except (ValueError, KeyError, OverflowError, DecodeError) as error:
        hint = "without totals.zst and seconds.zst its figures are made from all reports"
        raise Sai3Error(f"the run log in {path} is broken", hint=hint, kind=ErrorKind.RESOURCE) from error
    last_ns = max((part.reported_ns for stage in tally.stages.values() for part in stage.agents.values()), default=0)
    ended_ns = read.ended_ns or max([read.meta.started_ns, last_ns, *(line.time_ns for line in tally.log)])
    views = tuple(
        replace(view, status=reading.broke_off.get(view.index, view.status)) for view in tally.views(ended_ns)
    )
    return RunRecord(
        path=path,
        meta=read.meta,
        outcome=read.outcome,
        ended_ns=ended_ns,
        stages=views,
        endpoints={index: endpoint_views(stage) for index, stage in tally.stages.items()},
        agents={index: agent_stage_views(stage) for index, stage in tally.stages.items()},
        series=tally.series,
        failures=tally.failures,
        log=tuple(sorted(tally.log, key=lambda line: line.time_ns)),
        status_text=_text(path / "STATUS.txt"),
        files=_files(path),
        details={index: stage_detail(tally, stage) for index, stage in tally.stages.items() if stage.agents},
        notes=tuple(reading.notes),
        doubts=_doubts(path, read, views, reading.condition, last_ns),
        live=read.outcome is None and is_written(path),
        baseline=read.baseline,
        bands=read_bands(path),
        thresholds=read.thresholds,
    )


def _doubts(
    path: Path, read: ReadMeta, views: tuple[StageView, ...], condition: Condition, last_ns: int
) -> tuple[str, ...]:
    try:
        return doubts(path, read, views, condition, last_ns)
    except ValueError as error:
        raise _broken(path / "metadata.json", error) from error


def read_predecessor(path: Path) -> PredecessorRun | None:
    """A directory that sai3-bench wrote; None for any other. Raises Sai3Error if it is one and cannot be read."""
    try:
        document = json.loads((path / "metadata.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        # Whoever reads it as one of ours says what is wrong with it.
        document = None
    if not is_predecessors(document) and not died_early(path):
        return None
    try:
        return load_predecessor(path)
    except (OSError, ValueError) as error:
        raise Sai3Error(f"cannot read {path} as sai3-bench wrote it", kind=ErrorKind.RESOURCE) from error


def _predecessor_record(path: Path, run: PredecessorRun) -> RunRecord:
    return RunRecord(
        path=path,
        meta=replace(run.meta, stages=stage_infos(run.stages)),
        outcome=run.outcome,
        ended_ns=run.ended_ns,
        stages=run.stages,
        endpoints=run.endpoints,
        series=run.series,
        failures=(),
        log=(),
        status_text=_text(path / "STATUS.txt"),
        files=_files(path),
        foreign=True,
        tables=run.tables,
        doubts=run.doubts,
    )


def _files(path: Path) -> tuple[str, ...]:
    return tuple(sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()))


def agent_stage_views(stage: StageTally) -> tuple[AgentStageView, ...]:
    """What each agent did in a stage, in the order of their names."""
    whole = stage.ops.ops
    views = []
    for agent, part in sorted(stage.agents.items()):
        rows = part.ops.rows()
        seconds = stage.agent_seconds(agent)
        limited = part.summary.client_limited_reason if part.summary is not None else part.limited
        views.append(
            AgentStageView(
                agent,
                seconds,
                rates_of(rows, seconds),
                part.ops.ops,
                part.ops.bytes,
                part.ops.errors,
                part.ops.ops / whole if whole else 0.0,
                limited,
                part.lost and part.summary is None,
            )
        )
    return tuple(views)


def endpoint_views(stage: StageTally) -> tuple[EndpointView, ...]:
    """Averages of a stage per endpoint, over all agents."""
    seconds = stage.seconds or 1.0
    views = []
    for uri, per_op in stage.endpoints.by_uri().items():
        ops = sum(stats.ops for stats in per_op.values())
        views.append(
            EndpointView(
                uri=uri,
                get_bytes=per_op[Op.GET].bytes / seconds if Op.GET in per_op else 0.0,
                put_bytes=per_op[Op.PUT].bytes / seconds if Op.PUT in per_op else 0.0,
                ops=ops / seconds,
                p99_us=max((stats.service.percentile_us(0.99) for stats in per_op.values()), default=0.0),
                total_ops=ops,
                errors=sum(stats.errors for stats in per_op.values()),
            )
        )
    return tuple(views)


def _entry(path: Path) -> RunEntry:
    try:
        foreign = read_predecessor(path)
    except Sai3Error as error:
        return RunEntry(path, path.name, problem="; ".join((error.failure().message, *error.failure().causes)))
    if foreign is not None:
        return _predecessor_entry(path, foreign)
    try:
        return _own_entry(path, parse_metadata((path / "metadata.json").read_bytes()))
    except OSError as error:
        return RunEntry(path, path.name, problem=f"metadata.json: {error.strerror}")
    except (ValueError, TypeError, OverflowError) as error:
        return RunEntry(path, path.name, problem=f"metadata.json: {error}")


def _own_entry(path: Path, read: ReadMeta) -> RunEntry:
    outcome = read.outcome
    return RunEntry(
        path=path,
        name=path.name,
        config_name=read.meta.config_name,
        started_ns=read.meta.started_ns,
        seconds=max(0.0, (read.ended_ns - read.meta.started_ns) / 1e9) if outcome else 0.0,
        status=outcome.status if outcome else UNFINISHED,
        exit_code=outcome.exit_code if outcome else None,
        agents=len(read.meta.agents),
        operations=sum(int(stage.get("ops", 0)) for stage in read.stages),
        bytes=sum(int(stage.get("bytes", 0)) for stage in read.stages),
        errors=sum(int(stage.get("errors", 0)) for stage in read.stages),
        doubt=EDITED if read.edited else "",
        headline=headline_of_json(read.stages),
    )


def _predecessor_entry(path: Path, run: PredecessorRun) -> RunEntry:
    return RunEntry(
        path=path,
        name=path.name,
        config_name=run.meta.config_name,
        started_ns=run.meta.started_ns,
        seconds=max(0.0, (run.ended_ns - run.meta.started_ns) / 1e9),
        status=run.outcome.status if run.outcome is not None else UNFINISHED,
        exit_code=run.outcome.exit_code if run.outcome is not None else None,
        agents=len(run.meta.agents),
        operations=sum(stage.total_ops for stage in run.stages),
        bytes=sum(stage.total_bytes for stage in run.stages),
        errors=sum(stage.errors for stage in run.stages),
        doubt="; ".join(run.doubts),
        headline=headline_of(run.stages),
    )


def read_run_metadata(path: Path) -> ReadMeta:
    """Raises Sai3Error, naming the file, if the directory is not a run's."""
    file = path / "metadata.json"
    try:
        return parse_metadata(file.read_bytes())
    except OSError as error:
        hint = f"`sai3tui results list {path}` shows the runs in it" if any(path.glob(NAME_PATTERN)) else _HINT
        raise Sai3Error(f"cannot read {file}: {error.strerror}", hint=hint, kind=ErrorKind.RESOURCE) from error
    except ValueError as error:
        raise _broken(file, error) from error


_HINT = "a results directory is made by a run; see `sai3tui --batch --help`"


def _broken(file: Path, error: ValueError) -> Sai3Error:
    return Sai3Error(f"{file} is broken: {error}", hint=_HINT, kind=ErrorKind.RESOURCE)


def read_items(path: Path, start: int = 0, condition: Condition | None = None) -> Iterator[Item]:
    """Events, and reports from byte `start` of metrics.zst on, as they ended; `condition` gets how that was found.
    Raises Sai3Error if that fails.

    Events are few, but reports are not held: with their histograms they take some 200 KiB each.
    """
    events, metrics = path / "events.jsonl", path / "metrics.zst"
    try:
        happened = list(read_events(events)) if events.exists() else []
        happened.sort(key=lambda event: event.time_ns)
        reports = _in_order(read_reports(metrics, start, condition)) if metrics.exists() else iter(())
        place = 0
        for report in reports:
            while place < len(happened) and happened[place].time_ns < report.end_ns:
                yield happened[place]
                place += 1
            yield report
        yield from happened[place:]
    except (OSError, ValueError) as error:
        raise Sai3Error(f"cannot read the run log in {path}", kind=ErrorKind.RESOURCE) from error


def _in_order(reports: Iterator[Report]) -> Iterator[Report]:
    """Reports as they came are nearly in order: of agents side by side, whose reports cross on their way."""
    waiting: list[tuple[int, int, Report]] = []
    newest_ns = 0
    for number, report in enumerate(reports):
        heapq.heappush(waiting, (report.end_ns, number, report))
        newest_ns = max(newest_ns, report.end_ns)
        while len(waiting) > MOST_WAITING or waiting[0][0] < newest_ns - CROSSING_NS:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
