"""What the screens say about a run that really took place is what its files say, and what the storage was asked for."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sai3tui.app import Sai3App
from sai3tui.app_services import LiveServices
from sai3tui.screens.live import LiveScreen
from sai3tui.screens.results import ResultsScreen
from sai3tui.widgets.columns import GAP, fitting
from sai3tui.widgets.stage_table import COLUMNS, StageTable
from sai3tui.widgets.text import millis, number
from tests.access_log import AccessLog
from tests.e2e import environment
from tests.servers import ServerUnderTest
from tests.ui_help import screen_text, until
from tests.waiting import wait_until_async

RUN_LIMIT_S = 60.0
CONFIG = """\
target: s3+http://ADDRESS/BUCKET/
concurrency: 4
prepare:
  ensure_objects:
    - {base_uri: "set/", count: 200, size_spec: 4096}
workload:
  - {op: get, path: "set/*", weight: 70}
  - {op: put, path: "written/", object_size: 2048, weight: 30}
duration: 2s
"""


def rows_of(directory: Path, number_of_stage: int) -> dict[str, dict[str, str]]:
    """Operation -> the row of all its sizes, from a stage's table."""
    (path,) = directory.glob(f"{number_of_stage:02d}_*_results.tsv")
    table = path.read_text().split("\n\n")[1]
    rows = csv.DictReader(table.splitlines(), delimiter="\t")
    return {row["operation"]: row for row in rows if row["size_bucket"] == "ALL"}


def columns_of(table: StageTable) -> list[dict[str, str]]:
    """What each drawn row says: key of a column -> text."""
    columns = fitting(COLUMNS, table.scrollable_content_region.width)
    rows = []
    for y in range(1, 1 + table.row_count()):
        line, start, cells = table.render_line(y).text, 0, {}
        for column, width in columns:
            cells[column.key] = line[start : start + width].strip()
            start += width + len(GAP)
        rows.append(cells)
    return rows


async def test_results_on_the_screen_are_those_of_the_files(
    tmp_path: Path, s3_server: ServerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.bucket("screen")
    for name in ("set", "written"):
        (s3_server.data_dir / bucket / name).mkdir(parents=True, exist_ok=True)
    for name, value in environment(s3_server).items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "small.yaml"
    async with AccessLog(s3_server.host_port) as log:
        config.write_text(CONFIG.replace("ADDRESS", log.address).replace("BUCKET", bucket))
        await compared_with_files(tmp_path, config, bucket, log)


async def compared_with_files(tmp_path: Path, config: Path, bucket: str, log: AccessLog) -> None:
    app = Sai3App(LiveServices(tmp_path, (), verbose=False), (config, config.read_bytes()), start=True)
    async with app.run_test(size=(150, 40)) as pilot:
        assert await wait_until_async(lambda: isinstance(app.screen, LiveScreen | ResultsScreen), RUN_LIMIT_S), (
            screen_text(app)
        )
        assert await wait_until_async(lambda: isinstance(app.screen, ResultsScreen), RUN_LIMIT_S), screen_text(app)
        await until(lambda: "GET p99" in screen_text(app))
        await pilot.pause()
        snapshot = app.snapshot()
        assert snapshot is not None
        assert snapshot.outcome is not None
        directory = Path(snapshot.outcome.results)
        shown = {cells["stage"].split()[-1]: cells for cells in columns_of(app.screen.query_one(StageTable))}
        text = screen_text(app)
    app.end_session()

    stages = {stage["name"]: stage for stage in json.loads((directory / "metadata.json").read_text())["stages"]}
    assert set(stages) == set(shown)
    assert stages["execute"]["ops"] > 0
    assert stages["prepare"]["ops"] == 200
    for name, columns in shown.items():
        stage = stages[name]
        if not stage["ops"]:
            assert columns["ops"] == "–"
            continue
        assert columns["ops"] == f"{stage['ops']:,}"
        assert columns["errors"] == f"{stage['errors']:,}"
        rows = rows_of(directory, stage["index"])
        for op in ("GET", "PUT"):
            key, row = op.lower(), rows.get(op)
            if row is None:
                assert {columns[key], columns[f"{key}50"], columns[f"{key}99"]} == {"–"}
                continue
            # Files carry two decimals, screens three digits of the whole: both from one figure.
            assert columns[key] in about(float(row["throughput_mibps"]), 0.005)
            assert columns[f"{key}50"] == millis(float(row["p50_us"]))
            assert columns[f"{key}99"] == millis(float(row["p99_us"]))
    assert f"{stages['execute']['ops']:,} operations" in text
    assert [s.total_ops for s in snapshot.stages] == [stages[s.name]["ops"] for s in snapshot.stages]

    asked = {
        (method, prefix): sum(each.path.startswith(f"{bucket}/{prefix}/") for each in log.done(method, f"{bucket}/"))
        for method, prefix in (("PUT", "set"), ("GET", "set"), ("PUT", "written"))
    }
    rows = rows_of(directory, stages["execute"]["index"])
    assert asked == {
        ("PUT", "set"): stages["prepare"]["ops"],
        ("GET", "set"): int(rows["GET"]["count"]),
        ("PUT", "written"): int(rows["PUT"]["count"]),
    }
    assert stages["execute"]["ops"] == asked["GET", "set"] + asked["PUT", "written"]


def about(value: float, off: float) -> set[str]:
    """How a figure may be shown that a file holds rounded by at most `off`."""
    return {number(value - off), number(value), number(value + off)}
