"""Exports as files: which form a run's figures are given, and where what is to be known about them goes."""

from __future__ import annotations

from pathlib import Path

from sai3tui.errors import ResourceError, printable
from sai3tui.results.caveats import Caveat, caveats
from sai3tui.results.export import TABLES, as_csv, as_json, as_markdown
from sai3tui.results.export_parquet import as_parquet
from sai3tui.results.files import write_whole
from sai3tui.results.html_report import html_report
from sai3tui.results.report_data import ReportData

TEXT_FORMS = frozenset({"csv", "json", "markdown"})
BESIDE = frozenset({"csv", "parquet"})
"""Forms whose readers look at rows alone: what is to be known about them is in a file beside them too."""


def exported(data: ReportData, form: str, table: str = "stages") -> bytes:
    """The document. Raises ResourceError if a package for it is not installed."""
    if form == "html":
        return html_report(data).encode()
    if form == "xlsx":
        from sai3tui.results.export_xlsx import as_xlsx

        return as_xlsx(data)
    columns, rows = TABLES[table]
    found = caveats(data.record)
    if form == "parquet":
        return as_parquet(rows(data), columns, found)
    if form == "csv":
        return as_csv(rows(data), columns).encode()
    return (as_json if form == "json" else as_markdown)(rows(data), columns, found).encode()


def caveats_path(target: Path) -> Path:
    """The file beside an export."""
    return target.with_name(f"{target.stem}.caveats.txt")


def write_export(data: ReportData, form: str, target: Path, table: str = "stages") -> list[Path]:
    """Write it, and what belongs beside it; returns the files. Raises ResourceError if that cannot be done."""
    documents = [(target, exported(data, form, table))]
    if form in BESIDE:
        documents.append((caveats_path(target), _lines(caveats(data.record))))
    problems: list[ResourceError] = []
    for path, document in documents:
        if not write_whole(path, document, problems.append):
            raise problems[0]
    return [path for path, _ in documents]


def _lines(found: tuple[Caveat, ...]) -> bytes:
    return "".join(printable(each.line) + "\n" for each in found).encode()
