"""`sai3tui results report` and `export`: a finished run as a page for people or as a table for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from sai3tui.errors import printable
from sai3tui.results.caveats import caveats, grave
from sai3tui.results.export_files import TEXT_FORMS, exported, write_export
from sai3tui.results.reader import RunRecord
from sai3tui.results.report_data import load_report_data

EXIT_OK = 0
EXIT_DOUBTFUL = 1
"""What was asked for is done, but files of the run are not as they were written."""


def report_results(path: Path, output: Path | None, out: TextIO, err: TextIO) -> int:
    """Write the report of the run in `path` and tell where it is. Raises Sai3Error if one of them cannot be done."""
    return export_results(path, "html", "stages", output or path / "report.html", out, err)


def export_results(path: Path, form: str, table: str, output: Path | None, out: TextIO, err: TextIO) -> int:
    """Write a run's rows. Text goes to stdout if there is no `output`; a workbook or a Parquet file then goes into the
    run's directory. What is grave about the figures is told on `err`. Raises Sai3Error if the directory cannot be read
    as a run, or the file not be written."""
    data = load_report_data(path)
    if output is None and form in TEXT_FORMS:
        out.write(exported(data, form, table).decode())
    else:
        name = f"{table}.parquet" if form == "parquet" else "results.xlsx"
        for written in write_export(data, form, output if output is not None else path / name, table):
            out.write(f"{written}\n")
    return told(data.record, err)


def told(record: RunRecord, err: TextIO) -> int:
    """Say what is grave about a run's figures; returns the exit code."""
    for caveat in grave(caveats(record)):
        err.write(printable(caveat.line) + "\n")
    return EXIT_DOUBTFUL if record.doubts else EXIT_OK
