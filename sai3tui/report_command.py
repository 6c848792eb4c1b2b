"""`sai3tui results report` and `export`: a finished run as a page for people or as a table for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from sai3tui.errors import ResourceError
from sai3tui.results.export import TABLES, TEXTS
from sai3tui.results.export_parquet import as_parquet
from sai3tui.results.files import write_whole
from sai3tui.results.html_report import html_report
from sai3tui.results.report_data import load_report_data

EXIT_OK = 0


def report_results(path: Path, output: Path | None, out: TextIO) -> int:
    """Write the report of the run in `path` and tell where it is. Raises Sai3Error if one of them cannot be done."""
    document = html_report(load_report_data(path)).encode()
    target = output if output is not None else path / "report.html"
    problems: list[ResourceError] = []
    if not write_whole(target, document, problems.append):
        raise problems[0]
    out.write(f"{target}\n")
    return EXIT_OK


def export_results(path: Path, form: str, table: str, output: Path | None, out: TextIO) -> int:
    """Write a run's rows. Text goes to stdout if there is no `output`; a workbook or a Parquet file then goes into the
    run's directory. Raises Sai3Error if the directory cannot be read as a run, or the file not be written."""
    data = load_report_data(path)
    columns, rows = TABLES[table]
    if form in TEXTS:
        document = TEXTS[form](rows(data), columns).encode()
        if output is None:
            out.write(document.decode())
            return EXIT_OK
    elif form == "xlsx":
        from sai3tui.results.export_xlsx import as_xlsx

        document = as_xlsx(data)
    else:
        document = as_parquet(rows(data), columns)
    target = output if output is not None else path / (f"{table}.parquet" if form == "parquet" else "results.xlsx")
    problems: list[ResourceError] = []
    if not write_whole(target, document, problems.append):
        raise problems[0]
    out.write(f"{target}\n")
    return EXIT_OK
