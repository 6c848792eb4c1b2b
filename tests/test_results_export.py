"""Export: the three forms hold the same rows, and these are the run's."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow.parquet
import pytest

from sai3tui.cli import main
from sai3tui.errors import ResourceError
from sai3tui.results.export import COLUMNS, agent_rows, as_csv, as_markdown, interval_rows, rows
from sai3tui.results.export_parquet import CAVEATS_KEY, as_parquet
from sai3tui.results.export_xlsx import as_xlsx
from sai3tui.results.report_data import load_report_data
from sai3tui.results.views import Outcome
from tests.test_results_files import FAILURE, written
from tests.test_results_thresholds import MISSED


def test_rows_add_up_to_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory, tally, _ = written(tmp_path, Outcome("success", 0))
    assert main(["results", "export", str(directory), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["stage"], row["op"], row["count"], row["errors"]) for row in found] == [
        ("prepare", "put", 16, 1),
        ("prepare", "list", 2, 0),
        ("execute", "get", 7, 0),
    ]
    assert sum(row["bytes"] for row in found) == sum(stage.figures.bytes for stage in tally.stages.values())
    assert main(["results", "export", str(directory)]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert table == [{key: str(value) for key, value in row.items()} for row in found]


def test_names_cannot_break_a_table(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    data = load_report_data(directory)
    evil = 'a|b,"c"\nd'
    data.record = replace(data.record, meta=replace(data.record.meta, config_name=evil))
    assert {row["config"] for row in csv.DictReader(io.StringIO(as_csv(rows(data), COLUMNS)))} == {evil}
    lines = as_markdown(rows(data), COLUMNS, ()).splitlines()
    assert lines[0].startswith('**a\\|b,"c" d**, **r1**, ')
    assert len(lines) == 2 + 2 + len(rows(data))
    assert all(line.replace("\\|", "").count("|") == len(COLUMNS) - 3 + 1 for line in lines[2:])


def test_another_format_or_directory_is_refused(tmp_path: Path) -> None:
    assert main(["results", "export", str(tmp_path)]) != 0
    with pytest.raises(SystemExit) as left:
        main(["results", "export", str(tmp_path), "--format", "pdf"])
    assert left.value.code == 2


def test_a_workbook_has_a_sheet_for_each_stage_and_its_numbers_are_the_runs(tmp_path: Path) -> None:
    directory, tally, _ = written(tmp_path, Outcome("success", 0))
    out = tmp_path / "run.xlsx"
    assert main(["results", "export", str(directory), "--format", "xlsx", "-o", str(out)]) == 0
    book = openpyxl.load_workbook(out)
    assert book.sheetnames == ["Summary", "Caveats", "1 prepare", "2 execute", "Agents", "Seconds"]
    assert all(len(book[name]._charts) == 3 for name in ("1 prepare", "2 execute"))
    assert all(book[name].freeze_panes == "A2" for name in book.sheetnames[1:])
    agents = list(book["Agents"].iter_rows(values_only=True))
    for stage in tally.stages.values():
        table = list(book[f"{stage.info.index} {stage.info.name}"].iter_rows(values_only=True))
        assert "Mean, µs" in table[0]
        of_stage = [row for row in agents[1:] if row[0] == stage.info.index]
        for header, lines in ((table[0], table[1:]), (agents[0], of_stage)):
            counts = [row[header.index("Operations")] for row in lines]
            assert all(isinstance(count, int) for count in counts)
            assert sum(counts) == stage.figures.ops
        sizes = [row[table[0].index("MiB/s")] for row in table[1:]]
        assert all(isinstance(size, int | float) for size in sizes)


def test_thresholds_are_numbers_with_units(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    data = load_report_data(directory)
    data.record = replace(data.record, thresholds=(MISSED, replace(MISSED, value=None, worst=None, margin=None)))
    lines = list(openpyxl.load_workbook(io.BytesIO(as_xlsx(data)))["Summary"].iter_rows(values_only=True))
    header = next(number for number, line in enumerate(lines) if line[0] == "Threshold")
    first, second = (dict(zip(lines[header], line, strict=True)) for line in lines[header + 1 : header + 3])
    assert (first["Value"], first["Worst"], first["Unit"]) == (0.0612, 0.08, "s")
    assert first["Margin, share of the bound"] == -0.224
    assert second["Value"] is None


def test_every_form_carries_what_is_to_be_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory, _, _ = written(tmp_path, Outcome("failed", 1, FAILURE))
    for form in ("csv", "json", "markdown", "parquet", "xlsx"):
        assert main(["results", "export", str(directory), "--format", form, "-o", str(tmp_path / f"x.{form}")]) == 0
        said = capsys.readouterr()
        assert "warning: the run ended as failed, exit code 1: no bucket" in said.err
        assert "percentiles" not in said.err  # That is a note.
    known = json.loads((tmp_path / "x.json").read_text())["caveats"]
    lines = [f"{each['weight']}: {each['text']}" for each in known]
    assert lines[0] == "warning: the run ended as failed, exit code 1: no bucket"
    assert lines[-1].startswith("note: percentiles are upper edges")
    assert (tmp_path / "x.caveats.txt").read_text().splitlines() == lines
    schema = pyarrow.parquet.read_schema(tmp_path / "x.parquet")
    assert json.loads(schema.metadata[CAVEATS_KEY.encode()]) == lines
    markdown = (tmp_path / "x.markdown").read_text()
    assert "\n> **Warning:** the run ended as failed" in markdown[: markdown.index("| stage")]
    assert markdown.rstrip().endswith(known[-1]["text"])
    book = openpyxl.load_workbook(tmp_path / "x.xlsx")
    assert [f"{row[0]}: {row[1]}" for row in book["Caveats"].iter_rows(min_row=2, values_only=True)] == lines
    assert known[0]["text"] in [row[1] for row in book["Summary"].iter_rows(values_only=True)]


def test_names_that_a_sheet_cannot_have_are_changed(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    data = load_report_data(directory)
    stages = tuple(replace(stage, name="=a/b[*]:?" + "x" * 40) for stage in data.record.stages)
    data.record = replace(data.record, stages=stages)
    names = openpyxl.load_workbook(io.BytesIO(as_xlsx(data))).sheetnames
    assert len(set(names)) == 6
    assert all(len(name) <= 31 for name in names)


@pytest.mark.parametrize("table", ["stages", "agents", "intervals"])
def test_parquet_holds_the_rows_of_the_csv_file(tmp_path: Path, table: str) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    for form, name in (("parquet", "t.parquet"), ("csv", "t.csv")):
        words = ["results", "export", str(directory), "--format", form, "--table", table, "-o", str(tmp_path / name)]
        assert main(words) == 0
    columnar, text = pd.read_parquet(tmp_path / "t.parquet"), pd.read_csv(tmp_path / "t.csv")
    assert list(columnar.columns) == list(text.columns)
    assert len(columnar) == len(text) > 0
    for column in columnar.select_dtypes("number"):
        assert columnar[column].tolist() == text[column].tolist()


def test_tables_of_agents_and_seconds_add_up_to_that_of_the_stages(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    data = load_report_data(directory)
    for name in ("count", "bytes", "errors"):
        by_agent, by_stage = ([row[name] for row in table] for table in (agent_rows(data), rows(data)))
        assert pd.Series(by_agent).sum() == pd.Series(by_stage).sum() >= 1
    assert len(interval_rows(data)) == len(data.record.series.at_s)


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ResourceError) as caught:
        as_parquet([{"a": 1}], ("a",), ())
    assert "sai3tui[parquet]" in caught.value.failure().hint
