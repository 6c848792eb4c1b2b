"""A run as a workbook: a summary, what is to be known about it, a sheet for each stage with its figures and charts, and
the tables of agents and seconds that these are of."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from sai3tui.config.thresholds import Unit
from sai3tui.results.caveats import Caveat, Weight, caveats, grave
from sai3tui.results.export import Cell, Rows, agent_rows, interval_rows, rows
from sai3tui.results.figures import MIB
from sai3tui.results.files import utc_text
from sai3tui.results.report_data import ReportData
from sai3tui.results.threshold_text import verdict
from sai3tui.results.thresholds import ThresholdView
from sai3tui.results.views import StageView

THRESHOLDS = ("Threshold", "Stage", "Verdict", "Value", "Worst", "Unit", "Margin, share of the bound", "Where")
LONGEST_NAME = 31
"""Of a sheet, as Excel allows it."""
MOST_ROWS = 1_000_000
CHARTS = (
    ("Throughput, MiB/s", ("get_mib_per_s", "put_mib_per_s")),
    ("Operations/s", ("ops_per_s",)),
    ("Service time, µs", ("p50_us", "p99_us")),
)
CHART_ROWS = 16
FEW_SECONDS = 30
"""Of which a chart shows each as a point: a line alone does not show one."""
AGENTS, SECONDS = "Agents", "Seconds"
HEADINGS: Mapping[str, str] = MappingProxyType(
    {
        "stage_index": "Stage",
        "stage": "Name",
        "agent": "Agent",
        "op": "Operation",
        "at_s": "Since the start, s",
        "seconds": "Measured, s",
        "count": "Operations",
        "bytes": "Bytes",
        "errors": "Errors",
        "attempts": "Attempts",
        "ops_per_s": "Operations/s",
        "mib_per_s": "MiB/s",
        "get_mib_per_s": "GET, MiB/s",
        "put_mib_per_s": "PUT, MiB/s",
        "mean_us": "Mean, µs",
        "p50_us": "p50, µs",
        "p90_us": "p90, µs",
        "p95_us": "p95, µs",
        "p99_us": "p99, µs",
        "p999_us": "p99.9, µs",
        "max_us": "Maximum, µs",
    }
)
"""Of columns, with their units; other columns are the same in every row of a workbook and stand in its summary."""
_STAGE = ("stage_index", "stage")


class _Book:
    """A workbook that is written, and the formats of its cells."""

    def __init__(self, book: Workbook) -> None:
        self.book = book
        self.bold = book.add_format({"bold": True})
        self.header = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        self.whole = book.add_format({"num_format": "#,##0"})
        self.broken = book.add_format({"num_format": "#,##0.000"})
        self.wrapped = book.add_format({"text_wrap": True, "valign": "top"})
        self.grave = book.add_format({"bold": True, "font_color": "#b3261e"})

    def format_of(self, cell: Cell) -> Format | None:
        if isinstance(cell, float):
            return self.broken
        return self.whole if isinstance(cell, int) else None

    def table(
        self,
        sheet: Worksheet,
        line: int,
        header: Sequence[str],
        table: Sequence[Sequence[Cell]],
        *,
        mixed: bool = False,
    ) -> int:
        """Write it from `line` on; returns the line after it. `mixed`: numbers of a column differ in what they count,
        so they are shown as they are."""
        sheet.write_row(line, 0, header, self.header)
        for row in table:
            line += 1
            for column, cell in enumerate(row):
                if cell is not None:
                    sheet.write(line, column, cell, None if mixed else self.format_of(cell))
        return line + 1

    def rows(self, sheet: Worksheet, table: Rows, *, without: Sequence[str] = ()) -> None:
        """A sheet that is one table: its header stays in sight, and on every page."""
        columns = [column for column in (table[0] if table else ()) if column in HEADINGS and column not in without]
        self.table(sheet, 0, [HEADINGS[c] for c in columns], [[row[c] for c in columns] for row in table])
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, max(1, len(columns)), 13)
        _for_print(sheet)


def as_xlsx(data: ReportData) -> bytes:
    """The workbook. Text stays text: nothing in it is taken for a formula or a link."""
    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(out, options) as workbook:
        book = _Book(workbook)
        found = list(caveats(data.record))
        by_stage, agents, seconds = rows(data), agent_rows(data), interval_rows(data)
        if len(seconds) > MOST_ROWS or len(agents) > MOST_ROWS:
            found.insert(0, Caveat(Weight.WARNING, f"tables end after {MOST_ROWS:,} rows, as a sheet holds no more"))
        _summary(workbook.add_worksheet("Summary"), book, data, grave(found))
        _caveats(workbook.add_worksheet("Caveats"), book, found)
        names = {"summary", "caveats", AGENTS.lower(), SECONDS.lower()}
        for stage in data.record.stages:
            sheet = workbook.add_worksheet(_name(stage, names))
            table = [row for row in by_stage if row["stage_index"] == stage.index]
            own = [line for line, row in enumerate(seconds[:MOST_ROWS], 1) if row["stage_index"] == stage.index]
            if not table:
                sheet.write(0, 0, "No operation was measured.")
                continue
            book.rows(sheet, table, without=_STAGE)
            if own:
                _charts(workbook, sheet, len(table) + 2, tuple(seconds[0]), own[0], own[-1])
        book.rows(workbook.add_worksheet(AGENTS), agents[:MOST_ROWS])
        book.rows(workbook.add_worksheet(SECONDS), seconds[:MOST_ROWS])
    return out.getvalue()


def _summary(sheet: Worksheet, book: _Book, data: ReportData, worst: Sequence[Caveat]) -> None:
    record = data.record
    outcome = record.outcome
    facts: list[tuple[str, Cell]] = [
        ("Run", record.meta.run_id),
        ("Configuration", record.meta.config_name),
        ("Started (UTC)", utc_text(record.meta.started_ns)),
        ("Took, s", round((record.ended_ns - record.meta.started_ns) / 1e9, 3)),
        ("Ended", outcome.status.replace("_", " ") if outcome else "never"),
        ("Agents", len(record.meta.agents)),
        ("Written by", f"sai3tui {record.meta.version}" if not record.foreign else record.meta.version),
    ]
    for line, (name, value) in enumerate(facts):
        sheet.write(line, 0, name, book.bold)
        sheet.write(line, 1, value, book.format_of(value))
    line = len(facts)
    for caveat in worst:
        sheet.write(line, 0, caveat.weight.value.capitalize(), book.grave)
        sheet.write(line, 1, caveat.text, book.grave)
        line += 1
    header = ("Stage", "Type", "Status", "Took, s", "Operations", "Sent and received, MiB", "Errors", "Retries")
    line = book.table(sheet, line + 1, (*header, "Limited by"), [_stage_cells(stage) for stage in record.stages])
    if record.thresholds:
        book.table(sheet, line + 1, THRESHOLDS, [_threshold_cells(view) for view in record.thresholds], mixed=True)
    sheet.set_column(0, 0, 28)
    sheet.set_column(1, 8, 16)
    _for_print(sheet, header=False)


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


def _threshold_cells(view: ThresholdView) -> tuple[Cell, ...]:
    """Shares are fractions; the margin is the share of the bound that is left."""
    unit = "share" if view.unit == Unit.SHARE else view.unit
    value, worst, margin = (
        None if each is None else float(f"{each:.6g}") for each in (view.value, view.worst, view.margin)
    )
    return view.text, view.stage, verdict(view), value, worst, unit, margin, view.subject


def _caveats(sheet: Worksheet, book: _Book, found: Sequence[Caveat]) -> None:
    sheet.write_row(0, 0, ("Weight", "What is to be known about these figures"), book.header)
    for line, caveat in enumerate(found, 1):
        weighty = caveat.weight is not Weight.NOTE
        sheet.write(line, 0, caveat.weight.value, book.grave if weighty else None)
        sheet.write(line, 1, caveat.text, book.wrapped)
    sheet.set_column(0, 0, 12)
    sheet.set_column(1, 1, 110)
    sheet.freeze_panes(1, 0)
    _for_print(sheet)


def _charts(book: Workbook, sheet: Worksheet, line: int, columns: Sequence[str], first: int, last: int) -> None:
    """Of the lines of the sheet of seconds from `first` to `last`."""
    shown = [column for column in columns if column in HEADINGS]
    subtype = "straight_with_markers" if last - first < FEW_SECONDS else "straight"
    for number, (title, names) in enumerate(CHARTS):
        chart = book.add_chart({"type": "scatter", "subtype": subtype})
        for name in names:
            place = shown.index(name)
            series = {
                "name": [SECONDS, 0, place],
                "categories": [SECONDS, first, 0, last, 0],
                "values": [SECONDS, first, place, last, place],
            }
            chart.add_series(series | ({"marker": {"type": "circle", "size": 3}} if "markers" in subtype else {}))
        chart.set_title({"name": title, "name_font": {"size": 11}, "overlay": False})
        chart.set_x_axis({"name": "seconds since the run began", "major_gridlines": {"visible": False}})
        chart.set_y_axis({"min": 0, "num_format": "#,##0"})
        chart.set_legend({"position": "bottom"} if len(names) > 1 else {"none": True})
        chart.set_size({"width": 900, "height": 300})
        sheet.insert_chart(line + CHART_ROWS * number, 0, chart)


def _for_print(sheet: Worksheet, *, header: bool = True) -> None:
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    if header:
        sheet.repeat_rows(0)


def _name(stage: StageView, taken: set[str]) -> str:
    """Unique, and without what Excel forbids in the name of a sheet."""
    name = re.sub(r"[\[\]:*?/\\']", "_", f"{stage.index} {stage.name}")[:LONGEST_NAME]
    if name.lower() in taken:
        name = f"stage {stage.index}"
    taken.add(name.lower())
    return name
