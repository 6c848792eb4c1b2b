"""A run's figures as CSV, JSON or markdown: a row per stage and operation, with the same columns in each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType

from sai3tui.results.figures import MIB, per_second
from sai3tui.results.files import utc_text
from sai3tui.results.report_data import ReportData

Cell = str | int | float
QUANTILES = (("p50_us", 0.5), ("p90_us", 0.9), ("p95_us", 0.95), ("p99_us", 0.99), ("p999_us", 0.999))
COLUMNS = (
    "run_id",
    "config",
    "started",
    "stage_index",
    "stage",
    "type",
    "status",
    "op",
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


def rows(data: ReportData) -> list[dict[str, Cell]]:
    """Numbers are numbers; rates are averages over the stage, latencies service times in µs."""
    meta = data.record.meta
    made: list[dict[str, Cell]] = []
    for stage in data.record.stages:
        detail = data.details.get(stage.index)
        for op, figures in sorted(detail.figures.items()) if detail is not None else ():
            if not figures.ops and not figures.errors:
                continue
            values: list[Cell] = [
                meta.run_id,
                meta.config_name,
                utc_text(meta.started_ns),
                stage.index,
                stage.name,
                stage.type,
                stage.status.value,
                op.word,
                round(stage.elapsed_s, 6),
                figures.ops,
                figures.bytes,
                figures.errors,
                figures.attempts,
                round(per_second(figures.ops, stage.elapsed_s), 3),
                round(per_second(figures.bytes, stage.elapsed_s) / MIB, 3),
                round(figures.service.mean_us, 1),
                *(round(figures.percentile_us(q), 1) for _, q in QUANTILES),
                figures.service.max_us,
            ]
            made.append(dict(zip(COLUMNS, values, strict=True)))
    return made


def as_csv(data: ReportData) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(data))
    return out.getvalue()


def as_json(data: ReportData) -> str:
    return json.dumps({"rows": rows(data)}, indent=2, ensure_ascii=False) + "\n"


def as_markdown(data: ReportData) -> str:
    def cell(value: Cell) -> str:
        return " ".join(str(value).replace("\\", "\\\\").replace("|", "\\|").split())

    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(cell(value) for value in row.values()) + " |" for row in rows(data)]
    return "\n".join(lines) + "\n"


FORMATS: Mapping[str, Callable[[ReportData], str]] = MappingProxyType(
    {"csv": as_csv, "json": as_json, "markdown": as_markdown}
)
