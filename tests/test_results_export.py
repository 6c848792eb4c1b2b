"""Export: the three forms hold the same rows, and these are the run's."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sai3tui.cli import main
from sai3tui.results.export import COLUMNS, as_csv, as_markdown, rows
from sai3tui.results.report_data import load_report_data
from sai3tui.results.views import Outcome
from tests.test_results_files import written


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
    assert {row["config"] for row in csv.DictReader(io.StringIO(as_csv(data)))} == {evil}
    lines = as_markdown(data).splitlines()
    assert len(lines) == 2 + len(rows(data))
    assert all(line.replace("\\|", "").count("|") == len(COLUMNS) + 1 for line in lines)


def test_another_format_or_directory_is_refused(tmp_path: Path) -> None:
    assert main(["results", "export", str(tmp_path)]) != 0
    with pytest.raises(SystemExit) as left:
        main(["results", "export", str(tmp_path), "--format", "pdf"])
    assert left.value.code == 2
