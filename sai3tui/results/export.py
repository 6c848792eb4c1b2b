"""A run's figures as rows: per stage and operation, per agent, or per second; and these as CSV, JSON or markdown, with
what is to be known about them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from sai3tui.errors import printable
from sai3tui.results.caveats import Caveat, grave
from sai3tui.results.details import TableRow
from sai3tui.results.figures import MIB, Figures, per_second
from sai3tui.results.files import utc_text
from sai3tui.results.json_text import json_text
from sai3tui.results.report_data import ReportData
from sai3tui.results.views import StageView

Cell = str | int | float | None
"""None: not known."""
QUANTILES = (("p50_us", 0.5), ("p90_us", 0.9), ("p95_us", 0.95), ("p99_us", 0.99), ("p999_us", 0.999))
RUN = ("config", "run_id", "started")
"""Columns that are the same in every row."""
_PLACE = ("run_id", "config", "started", "stage_index", "stage", "type", "status")
_FIGURES = (
    "seconds",
    "count",
    "bytes",
    "errors",
    "attempts",
    "ops_per_s",
    "mib_per_s",
    "mean_us",
    *(name for name, _ in QUANTILES),
    "max_us",
)
COLUMNS = (*_PLACE, "op", *_FIGURES)
AGENT_COLUMNS = (*_PLACE, "agent", "op", *_FIGURES)
INTERVAL_COLUMNS = (
    "at_s",
    "stage_index",
    "stage",
    "get_mib_per_s",
    "put_mib_per_s",
    "ops_per_s",
    "p50_us",
    "p99_us",
)
Rows = list[dict[str, Cell]]


def rows(data: ReportData) -> Rows:
    """Per stage and operation. Numbers are numbers, rates averages over the stage, latencies service times in µs."""
    made = _foreign(data, COLUMNS, lambda row: not row.agent)
    for stage in data.record.stages:
        detail = data.details.get(stage.index)
        for op, figures in sorted(detail.figures.items()) if detail is not None else ():
            if figures.ops or figures.errors:
                values = (*_place(data, stage), op.word, *_figures(figures, stage.elapsed_s))
                made.append(dict(zip(COLUMNS, values, strict=True)))
    return made


def agent_rows(data: ReportData) -> Rows:
    """Per stage, agent and operation; rates are averages over the time that the agent measured."""
    made = _foreign(data, AGENT_COLUMNS, lambda row: bool(row.agent))
    for stage in data.record.stages:
        detail = data.details.get(stage.index)
        for (agent, op), figures in sorted(detail.agents.items()) if detail is not None else ():
            if detail is not None and (figures.ops or figures.errors):
                values = (*_place(data, stage), agent, op.word, *_figures(figures, detail.seconds[agent]))
                made.append(dict(zip(AGENT_COLUMNS, values, strict=True)))
    return made


def interval_rows(data: ReportData) -> Rows:
    """The fleet, second by second; `at_s` counts from the beginning of the run."""
    series = data.record.series
    names = {stage.index: stage.name for stage in data.record.stages}
    columns = (series.at_s, series.stage_index, series.get_bytes, series.put_bytes, series.ops)
    made: Rows = []
    for at, index, get, put, ops, p50, p99 in zip(*columns, series.p50_us, series.p99_us, strict=True):
        values = (at, index, names.get(index, ""), get / MIB, put / MIB, ops, p50, p99)
        rounded = [round(value, 3) if isinstance(value, float) else value for value in values]
        made.append(dict(zip(INTERVAL_COLUMNS, rounded, strict=True)))
    return made


TABLES: Mapping[str, tuple[tuple[str, ...], Callable[[ReportData], Rows]]] = MappingProxyType(
    {
        "stages": (COLUMNS, rows),
        "agents": (AGENT_COLUMNS, agent_rows),
        "intervals": (INTERVAL_COLUMNS, interval_rows),
    }
)
"""What can be exported: columns and rows of each."""


def as_csv(table: Rows, columns: Sequence[str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in table:
        writer.writerow(
            {name: printable(cell, lines=True) if isinstance(cell, str) else cell for name, cell in row.items()}
        )
    return out.getvalue()


def as_json(table: Rows, columns: Sequence[str], found: Sequence[Caveat]) -> str:
    told = [{"weight": each.weight.value, "text": each.text} for each in found]
    return json_text({"caveats": told, "columns": list(columns), "rows": table}, indent=2) + "\n"


def as_markdown(table: Rows, columns: Sequence[str], found: Sequence[Caveat]) -> str:
    """What is the same in every row stands above the table, then what is grave; all else is below."""

    def text(value: Cell) -> str:
        word = "" if value is None else str(value)
        return " ".join(printable(word, lines=True).replace("\\", "\\\\").replace("|", "\\|").split())

    run = [f"**{text(table[0][name])}**" for name in RUN if table and name in columns]
    shown = [name for name in columns if name not in RUN]
    above = grave(found)
    lines = [", ".join(run), ""] if run else []
    lines += [f"> **{each.weight.value.capitalize()}:** {text(each.text)}  " for each in above]
    lines += [""] if above else []
    lines += ["| " + " | ".join(shown) + " |", "|" + " --- |" * len(shown)]
    lines += ["| " + " | ".join(text(row[name]) for name in shown) + " |" for row in table]
    notes = [f"- {text(each.text)}" for each in found if each not in above]
    lines += ["", "To be known about these figures:", "", *notes] if notes else []
    return "\n".join(lines) + "\n"


def _foreign(data: ReportData, columns: Sequence[str], wanted: Callable[[TableRow], bool]) -> Rows:
    """Rows of a run of sai3-bench: its tables, as far as they go."""
    stages = {stage.index: stage for stage in data.record.stages}
    made: Rows = []
    for row in data.record.tables:
        if wanted(row):
            place = dict(zip(_PLACE, _place(data, stages[row.stage_index]), strict=True))
            known: dict[str, Cell] = {**place, "agent": row.agent, "op": row.op, **row.figures}
            made.append({column: known.get(column) for column in columns})
    return made


def _place(data: ReportData, stage: StageView) -> tuple[Cell, ...]:
    meta = data.record.meta
    return (
        meta.run_id,
        meta.config_name,
        utc_text(meta.started_ns),
        stage.index,
        stage.name,
        stage.type,
        stage.status.value,
    )


def _figures(figures: Figures, seconds: float) -> tuple[Cell, ...]:
    return (
        round(seconds, 6),
        figures.ops,
        figures.bytes,
        figures.errors,
        figures.attempts,
        round(per_second(figures.ops, seconds), 3),
        round(per_second(figures.bytes, seconds) / MIB, 3),
        round(figures.service.mean_us, 1),
        *(round(figures.percentile_us(q), 1) for _, q in QUANTILES),
        figures.service.max_us,
    )
