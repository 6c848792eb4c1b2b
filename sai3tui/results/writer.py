"""Writes a run's results directory while the run goes, from the same items and the same tally as the screen."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from sai3tui.errors import ResourceError, Sai3Error
from sai3tui.events import Event, Report, StageFinished
from sai3tui.results import bands, perf_ext, perf_log, stage_tsv
from sai3tui.results.baseline import BaselineView, baseline_json, difference_lines
from sai3tui.results.directory import make_directory
from sai3tui.results.events_log import EventsFile
from sai3tui.results.files import OutputFile, RowFile, safe_name, write_whole
from sai3tui.results.hdr import HistogramLog
from sai3tui.results.history import History, read_history
from sai3tui.results.html_report import html_report
from sai3tui.results.manifest import manifest
from sai3tui.results.metadata import RunMeta, metadata_json
from sai3tui.results.metrics_log import MetricsLog
from sai3tui.results.report_data import load_report_data
from sai3tui.results.seconds import FleetSecond
from sai3tui.results.stage_tally import StageTally
from sai3tui.results.status import status_text
from sai3tui.results.tally import Item, Tally
from sai3tui.results.thresholds import ThresholdView
from sai3tui.results.totals import SECONDS, TotalsLog
from sai3tui.results.views import Outcome, StageStatus

PREPARE = "prepare"
FLEET = ""
LARGEST_REPORTED = 4 << 20
"""Bytes of seconds.zst that are read again at the end of a run: a few seconds."""
CHECKPOINT_S = 120.0
"""How many seconds of reports a reader of a run that was killed adds up at most, beside what is stored."""


class RunWriter:
    """One results directory. A file that cannot be written is given up with one entry in `problems`; the run and the
    other files go on."""

    def __init__(self, directory: Path, meta: RunMeta, tally: Tally, *, reopen: bool = False) -> None:
        """With `reopen` it goes on with what the directory has, which is in `history` then. Raises ResourceError if
        another controller writes there."""
        self.history = History()
        self.directory = directory
        self.meta = meta
        self.problems: list[ResourceError] = []
        self._tally = tally
        self._events = EventsFile(directory / "events.jsonl", self._failed)
        if not self._events.lock():
            self._events.close()
            raise ResourceError(
                f"another controller writes into {directory}", hint="watch that run instead, or take it over there"
            )
        if reopen:
            self.history = self._resume()
        self._fleet = RowFile(directory / "perf_log.tsv", self._failed, perf_log.HEADER)
        self._ext = RowFile(directory / "perf_ext.tsv", self._failed, perf_ext.HEADER)
        self._hdr = HistogramLog(directory / "histograms.hlog", self._failed, meta.started_ns)
        self._metrics = MetricsLog(directory / "metrics.zst", self._failed, self.history.reports)
        self._totals = TotalsLog(directory, self._failed, meta.started_ns)
        self._unreplayed = len(self.history.reports)
        self._checkpoint_s = time.monotonic()
        self._agents: dict[str, RowFile] = {}
        self._rows: dict[str, perf_log.RowBuffer] = {}
        self._ledger = stage_tsv.LEDGER_HEADER
        self._written: set[int] = set()

    @classmethod
    def create(
        cls, root: Path, meta: RunMeta, tally: Tally, config_text: bytes, plan: dict[str, Any] | None
    ) -> RunWriter:
        """Make the directory and what is known at the start. Raises ResourceError if there can be no directory."""
        writer = cls(make_directory(root, meta.config_name, meta.started_ns), meta, tally)
        writer._whole("config.yaml", config_text)
        if plan is not None:
            writer._whole("plan.json", (json.dumps(plan, indent=2, ensure_ascii=False) + "\n").encode())
        writer._whole("metadata.json", metadata_json(meta, tally.views(meta.started_ns), None, meta.started_ns))
        return writer

    def write(self, item: Item, closed: list[FleetSecond], *, known: bool = False) -> None:
        """One item, after the tally took it in; `closed` are the seconds it completed. `known`: the run log has it
        already, only what is made of it may be missing."""
        if isinstance(item, Report):
            if known:
                self._unreplayed -= 1
            else:
                self._metrics.write(item)
            self._report(item)
        elif isinstance(item, Event) and not known:
            self._events.add(item)
        self.seconds(closed)
        if isinstance(item, StageFinished):
            self._end_stage(item)

    def seconds(self, closed: list[FleetSecond]) -> None:
        """Rows of the fleet's tables."""
        for second in closed:
            self._totals.second(second)
            self._hdr.add(second, self._tally.stages[second.stage_index].info.name)
            for interval in self._buffer(FLEET).add(second):
                self._row(FLEET, interval)

    def flush(self) -> None:
        """Once a second: what happened so far is in the files. What one file says of another is there first."""
        self._events.flush()
        self._metrics.flush(self._events.lines)
        self._totals.flush()
        for file in self._growing():
            file.flush()
        if time.monotonic() - self._checkpoint_s >= CHECKPOINT_S:
            self.checkpoint()

    def finish(
        self,
        outcome: Outcome,
        ended_ns: int,
        thresholds: tuple[ThresholdView, ...] = (),
        baseline: BaselineView | None = None,
    ) -> None:
        """The last items are in: stages that did not end get their tables too, then the summaries. Closes all."""
        compared = baseline_json(baseline) if baseline is not None else None
        for stage in self._tally.stages.values():
            if stage.status not in (StageStatus.PENDING, StageStatus.SKIPPED) and stage.info.index not in self._written:
                self._tables(stage, ended_ns)
                self._hdr.flush(stage.info.name)
        self._flush_rows()
        self.checkpoint()
        self._metrics.close()
        self._totals.close()
        for file in self._growing():
            file.close()
        views = self._tally.views(ended_ns)
        coverage = self._tally.coverage
        if baseline is not None:
            self._whole(bands.FILE, bands.bands_document(baseline.bands))
        failures = self._tally.failures
        text = status_text(
            self.meta,
            outcome,
            views,
            failures,
            ended_ns,
            self.directory,
            thresholds,
            coverage,
            difference_lines(baseline) if baseline is not None else (),
        )
        self._whole("STATUS.txt", text.encode())
        files = manifest(self.directory)
        document = metadata_json(self.meta, views, outcome, ended_ns, thresholds, coverage, compared, files)
        self._whole("metadata.json", document)
        self._report_page()

    def close(self) -> None:
        """Leave without an end: nothing that was given is lost. Idempotent."""
        self._metrics.close()
        self._totals.close()
        for file in self._growing():
            file.close()

    def _report(self, report: Report) -> None:
        stage = self._tally.stages.get(report.stage_index)
        if stage is None:
            return
        file = self._agents.get(report.agent)
        if file is None:
            path = self.directory / "agents" / safe_name(report.agent) / "perf_log.tsv"
            file = self._agents[report.agent] = RowFile(path, self._failed, perf_log.HEADER)
        if self.meta.perf_interval_s <= perf_log.SHORTEST_INTERVAL_S:
            file.row(perf_log.report_row(report, self._tally.interval(report), stage.info.name, stage.start_ns))
            return
        alone = FleetSecond(report.stage_index, 0, stage.start_ns)
        alone.add(report)
        for interval in self._buffer(report.agent).add(alone):
            self._row(report.agent, interval)

    def checkpoint(self) -> None:
        """Keep what all so far comes to. Not in the middle of a replay, when the tally lacks what the files have."""
        self._checkpoint_s = time.monotonic()
        self._events.flush()
        metrics_bytes = self._metrics.end_frame(self._events.lines)
        if not self._unreplayed:
            self._totals.checkpoint(self._tally, metrics_bytes)

    def _report_page(self) -> None:
        """The run for somebody who was not there; that of a long one is left to `sai3tui results report`."""
        try:
            if (self.directory / SECONDS).stat().st_size <= LARGEST_REPORTED:
                self._whole("report.html", html_report(load_report_data(self.directory)).encode())
        except (OSError, Sai3Error) as error:
            made = ResourceError(f"cannot write {self.directory / 'report.html'}: {error}")
            made.__cause__ = error
            self._failed(made)

    def _buffer(self, agent: str) -> perf_log.RowBuffer:
        return self._rows.setdefault(agent, perf_log.RowBuffer(self.meta.perf_interval_s))

    def _flush_rows(self) -> None:
        for agent, buffer in self._rows.items():
            for interval in buffer.flush():
                self._row(agent, interval)

    def _row(self, agent: str, interval: FleetSecond) -> None:
        file = self._fleet if agent == FLEET else self._agents[agent]
        stage = self._tally.stages[interval.stage_index]
        file.row(perf_log.row(interval, stage.info.name, agent or perf_log.FLEET_ID))
        if agent == FLEET:
            self._ext.row(perf_ext.row(interval, stage.info.name))

    def _end_stage(self, event: StageFinished) -> None:
        stage = self._tally.stages.get(event.stage_index)
        if stage is None:
            return
        self._tables(stage, event.time_ns)
        self._hdr.flush(stage.info.name)
        self._flush_rows()
        self.checkpoint()
        for file in self._growing():
            file.sync()

    def _tables(self, stage: StageTally, time_ns: int) -> None:
        self._written.add(stage.info.index)
        self._whole(stage_tsv.results_name(stage), stage_tsv.results_table(stage).encode())
        if stage.endpoints.by_uri():
            self._whole(stage_tsv.endpoints_name(stage), stage_tsv.endpoints_table(stage).encode())
        if stage.failed_attempts:
            self._whole(stage_tsv.attempts_name(stage), stage_tsv.attempts_table(stage).encode())
        if stage.info.type == PREPARE:
            self._ledger += stage_tsv.ledger_rows(stage, self.meta.config_name, time_ns)
            self._whole("populate_ledger.tsv", self._ledger.encode())

    def _growing(self) -> list[OutputFile]:
        return [self._events, self._fleet, self._ext, self._hdr.file, *self._agents.values()]

    def _whole(self, name: str, data: bytes) -> None:
        write_whole(self.directory / name, data, self._failed)

    def _resume(self) -> History:
        try:
            self._events.resume()
            return read_history(self.directory)
        except (OSError, ValueError) as error:
            self._events.close()
            raise ResourceError(f"cannot read the run log in {self.directory}") from error

    def _failed(self, error: ResourceError) -> None:
        if all(known.message != error.message for known in self.problems):
            self.problems.append(error)
