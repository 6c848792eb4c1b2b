"""What the HTML report shows beyond a `RunRecord`: distributions per operation, and agents by endpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sai3tui.config.ops import Op
from sai3tui.events import Note, Report
from sai3tui.results.figures import Figures
from sai3tui.results.reader import RunRecord, load_run
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.tally import Item


@dataclass(slots=True)
class StageDetail:
    """Figures per operation, and per agent and operation; operations and body bytes per agent and endpoint. Warm-up is
    left out."""

    figures: dict[Op, Figures] = field(default_factory=dict)
    cells: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    agents: dict[tuple[str, Op], Figures] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each agent measured."""


@dataclass(slots=True)
class ReportData:
    record: RunRecord
    details: dict[int, StageDetail]
    notes: tuple[str, ...]


class _Collector:
    def __init__(self) -> None:
        self.details: dict[int, StageDetail] = {}
        self.notes: list[str] = []

    def take(self, item: Item) -> None:
        if isinstance(item, Report):
            self._report(item)
        elif isinstance(item, Note) and item.level >= 2:
            text = f"{item.agent}: {item.text}" if item.agent else item.text
            if text not in self.notes:
                self.notes.append(text)

    def _report(self, report: Report) -> None:
        if report.warmup:
            return
        detail = self.details.setdefault(report.stage_index, StageDetail())
        for stats in report.ops:
            detail.figures.setdefault(stats.op, Figures()).add(stats)
            detail.agents.setdefault((report.agent, stats.op), Figures()).add(stats)
        measured = (report.end_ns - report.start_ns) / SECOND_NS
        detail.seconds[report.agent] = detail.seconds.get(report.agent, 0.0) + measured
        for endpoint in report.endpoints:
            ops, size = detail.cells.get((report.agent, endpoint.uri), (0, 0))
            detail.cells[report.agent, endpoint.uri] = (ops + endpoint.ops, size + endpoint.bytes)


def load_report_data(path: Path) -> ReportData:
    """Raises Sai3Error if the directory cannot be read as a run."""
    collector = _Collector()
    record = load_run(path, on_item=collector.take)
    return ReportData(record, collector.details, tuple(collector.notes))
