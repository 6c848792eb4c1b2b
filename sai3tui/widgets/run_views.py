"""A finished run as the results screen shows it, live a moment ago or read from its directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sai3tui.controller.snapshot import (
    EndpointView,
    FailureGroup,
    LogLine,
    Outcome,
    RunSnapshot,
    Series,
    StageView,
)
from sai3tui.results.distribution import OpDistribution, distribution
from sai3tui.results.reader import RunRecord
from sai3tui.results.report_data import ReportData
from sai3tui.results.thresholds import ThresholdView
from sai3tui.results.views import AgentStageView


@dataclass(frozen=True, slots=True)
class RunReport:
    """A finished run, live a moment ago or opened from its directory. `facts` is its passport: label and value."""

    name: str
    path: str
    outcome: Outcome
    started_ns: int = 0
    seconds: float = 0.0
    stages: tuple[StageView, ...] = ()
    endpoints: tuple[EndpointView, ...] = ()
    series: Series = Series()
    failures: tuple[FailureGroup, ...] = ()
    log: tuple[LogLine, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    operations: Mapping[int, tuple[OpDistribution, ...]] = field(default_factory=dict)
    """Latencies per stage and operation, as far as the run log was read."""
    agents: Mapping[int, tuple[AgentStageView, ...]] = field(default_factory=dict)
    stage_endpoints: Mapping[int, tuple[EndpointView, ...]] = field(default_factory=dict)
    thresholds: tuple[ThresholdView, ...] = ()
    notes: tuple[str, ...] = ()
    """Warnings and worse of the run, each once."""
    doubts: tuple[str, ...] = ()
    """Why its figures may be wrong: what is not as it was written in its files."""
    config: Path | None = None
    """The configuration as it was run, where it was kept."""
    config_path: str = ""
    """Where it was read from."""


def report_of(snapshot: RunSnapshot) -> RunReport:
    """The report of a run that has just ended."""
    outcome = snapshot.outcome or Outcome("unfinished", 1)
    directory = outcome.results or snapshot.results_dir
    agents = ", ".join(f"{a.id} ({a.hostname or a.address})" for a in snapshot.agents)
    versions = ", ".join(dict.fromkeys(a.version for a in snapshot.agents if a.version))
    passport = (
        ("run", snapshot.run_id),
        ("agents", agents),
        ("version", versions),
        ("coverage", f"{snapshot.coverage:.0%}"),
        *(("notice", notice) for notice in snapshot.notices),
    )
    return RunReport(
        name=snapshot.config_name,
        path=directory,
        outcome=outcome,
        started_ns=snapshot.started_ns,
        seconds=snapshot.elapsed_s,
        stages=snapshot.stages,
        endpoints=snapshot.endpoints,
        series=snapshot.series,
        thresholds=snapshot.thresholds,
        failures=snapshot.failures,
        log=snapshot.log,
        facts=tuple((label, value) for label, value in passport if value),
        config=Path(directory) / "config.yaml" if directory else None,
    )


def report_of_data(data: ReportData) -> RunReport:
    """The report of a run whose directory was read, with everything that its log tells."""
    record = data.record
    operations = {
        index: tuple(distribution(op.word, op.group, figures) for op, figures in sorted(detail.figures.items()))
        for index, detail in data.details.items()
    }
    return replace(_report_of_record(record), operations=operations, notes=data.notes, doubts=record.doubts)


def _report_of_record(record: RunRecord) -> RunReport:
    meta = record.meta
    unfinished = Outcome("unfinished", 1)
    agents = ", ".join(f"{agent.id} ({agent.hostname or agent.address})" for agent in meta.agents)
    passport = (
        ("run", meta.run_id),
        ("layout", meta.layout_hash),
        ("version", meta.version),
        ("controller", meta.hostname),
        ("agents", agents),
        ("preflight", "" if meta.preflight else "skipped"),
        *(("notice", notice) for notice in meta.notices),
        ("files", ", ".join(record.files)),
    )
    return RunReport(
        name=meta.config_name,
        path=str(record.path),
        outcome=record.outcome or unfinished,
        started_ns=meta.started_ns,
        seconds=max(0.0, (record.ended_ns - meta.started_ns) / 1e9),
        stages=record.stages,
        endpoints=_over_all_stages(record),
        agents=record.agents,
        stage_endpoints=record.endpoints,
        thresholds=record.thresholds,
        series=record.series,
        failures=record.failures,
        log=record.log,
        facts=tuple((label, value) for label, value in passport if value),
        config=record.path / "config.yaml",
        config_path=meta.config_path,
    )


def _over_all_stages(record: RunRecord) -> tuple[EndpointView, ...]:
    """Counts per endpoint over the whole run; rates are those of stages, and left out."""
    totals: dict[str, EndpointView] = {}
    for views in record.endpoints.values():
        for view in views:
            known = totals.get(view.uri, EndpointView(view.uri))
            ops, errors = known.total_ops + view.total_ops, known.errors + view.errors
            totals[view.uri] = EndpointView(view.uri, total_ops=ops, errors=errors)
    return tuple(totals[uri] for uri in sorted(totals))
