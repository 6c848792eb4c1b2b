"""What the HTML report shows of a run: a `RunRecord`, and what each operation, agent and endpoint did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sai3tui.results.details import StageDetail
from sai3tui.results.reader import RunRecord, load_run


@dataclass(slots=True)
class ReportData:
    record: RunRecord
    details: dict[int, StageDetail]
    notes: tuple[str, ...]


def load_report_data(path: Path) -> ReportData:
    """Raises Sai3Error if the directory cannot be read as a run."""
    record = load_run(path)
    return ReportData(record, record.details, record.notes)
