"""A run as a workbook: a summary, and a sheet for each stage with its figures, its seconds and charts of them."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from sai3tui.results.export import Cell, agent_rows, interval_rows, rows
from sai3tui.results.figures import MIB
from sai3tui.results.files import utc_text
from sai3tui.results.report_data import ReportData
from sai3tui.results.threshold_text import HEADER, threshold_cells
from sai3tui.results.views import StageView

LONGEST_NAME = 31
"""Of a sheet, as Excel allows it."""
MOST_ROWS = 1_000_000
CHARTS = (
    ("Throughput, MiB/s", ("get_mib_per_s", "put_mib_per_s")),
    ("Operations a second", ("ops_per_s",)),
    ("Service time, µs", ("p50_us", "p99_us")),
)
CHART_ROWS = 16


def as_xlsx(data: ReportData) -> bytes:
    """The workbook. Text stays text: nothing in it is taken for a formula or a link."""
    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(out, options) as book:
        bold = book.add_format({"bold": True})
        _summary(book.add_worksheet("Summary"), bold, data)
        names = {"summary"}
        by_stage, agents, seconds = rows(data), agent_rows(data), interval_rows(data)
        for stage in data.record.stages:
            sheet = book.add_worksheet(_name(stage, names))
            _stage(
                book,
                sheet,
                bold,
                [row for row in by_stage if row["stage_index"] == stage.index],
                [row for row in agents if row["stage_index"] == stage.index],
                [row for row in seconds if row["stage_index"] == stage.index][:MOST_ROWS],
            )
    return out.getvalue()


def _summary(sheet: Worksheet, bold: Format, data: ReportData) -> None:
    record = data.record
    outcome = record.outcome
    facts: list[tuple[str, Cell]] = [
        ("Run", record.meta.run_id),
        ("Configuration", record.meta.config_name),
        ("Started", utc_text(record.meta.started_ns)),
        ("Seconds", round((record.ended_ns - record.meta.started_ns) / 1e9, 3)),
        ("Ended", outcome.status.replace("_", " ") if outcome else "never"),
        ("Agents", len(record.meta.agents)),
        ("sai3tui", record.meta.version),
    ]
    for line, (name, value) in enumerate(facts):
        sheet.write(line, 0, name, bold)
        sheet.write(line, 1, value)
    header = ("Stage", "Type", "Status", "Seconds", "Operations", "MiB", "Errors", "Retries", "Limited by")
    line = _table(sheet, bold, len(facts) + 1, header, [_stage_cells(stage) for stage in record.stages])
    if record.thresholds:
        _table(sheet, bold, line + 1, HEADER, [threshold_cells(view) for view in record.thresholds])
    sheet.set_column(0, 0, 28)
    sheet.set_column(1, 8, 16)


def _stage_cells(stage: StageView) -> tuple[Cell, ...]:
    return (
        f"{stage.index} {stage.name}",
        stage.type,
        stage.status.value,
        round(stage.elapsed_s, 3),
        stage.total_ops,
        round(stage.total_bytes / MIB, 3),
        stage.errors,
        stage.retries,
        stage.attribution.cause.value,
    )


def _stage(
    book: Workbook,
    sheet: Worksheet,
    bold: Format,
    ops: Sequence[Mapping[str, Cell]],
    agents: Sequence[Mapping[str, Cell]],
    seconds: Sequence[Mapping[str, Cell]],
) -> None:
    line = 0
    for table in (ops, agents):
        if table:
            line = _table(sheet, bold, line, tuple(table[0]), [tuple(row.values()) for row in table]) + 1
    sheet.set_column(0, 30, 13)
    if not seconds:
        return
    header = tuple(seconds[0])
    charts_at, line = line, line + CHART_ROWS * len(CHARTS) + 1
    first = line + 1
    last = _table(sheet, bold, line, header, [tuple(row.values()) for row in seconds]) - 1
    for number, (title, columns) in enumerate(CHARTS):
        chart = book.add_chart({"type": "scatter", "subtype": "straight"})
        for column in columns:
            place = header.index(column)
            chart.add_series(
                {
                    "name": [sheet.get_name(), line, place],
                    "categories": [sheet.get_name(), first, 0, last, 0],
                    "values": [sheet.get_name(), first, place, last, place],
                }
            )
        chart.set_title({"name": title, "name_font": {"size": 11}})
        chart.set_x_axis({"name": "seconds since the run began"})
        chart.set_size({"width": 900, "height": 300})
        sheet.insert_chart(charts_at + CHART_ROWS * number, 0, chart)


def _table(sheet: Worksheet, bold: Format, line: int, header: Sequence[str], table: Sequence[Sequence[Any]]) -> int:
    """Write it from `line` on; returns the line after it."""
    sheet.write_row(line, 0, header, bold)
    for row in table:
        line += 1
        sheet.write_row(line, 0, row)
    return line + 1


def _name(stage: StageView, taken: set[str]) -> str:
    """Unique, and without what Excel forbids in the name of a sheet."""
    name = re.sub(r"[\[\]:*?/\\']", "_", f"{stage.index} {stage.name}")[:LONGEST_NAME]
    if name.lower() in taken:
        name = f"stage {stage.index}"
    taken.add(name.lower())
    return name
