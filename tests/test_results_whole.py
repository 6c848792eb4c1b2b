"""Every file of a real run, read by pandas and HdrHistogram's own reader: their sums agree with each other, with what
was printed, and with what the storage itself was asked for. tests/test_ui_figures.py is the same for the screen."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from sai3tui.events import event_json
from sai3tui.metrics.histogram import FINE
from sai3tui.results.events_log import read_events
from sai3tui.results.export import TABLES
from sai3tui.results.hdr import HIGHEST_NS
from sai3tui.results.reader import load_run
from sai3tui.results.report_data import load_report_data
from tests.access_log import AccessLog
from tests.e2e import RUN_TIMEOUT_S, environment
from tests.servers import ServerUnderTest
from tests.test_results_damage import shown
from tests.waiting import wait_until

CONFIG = """\
target: s3+http://ADDRESS/BUCKET/
concurrency: 4
prepare:
  cleanup: true
  ensure_objects: [{base_uri: "d/", count: 60, size_spec: 4KiB}]
workload:
  - {op: get, path: "d/*", weight: 60}
  - {op: put, path: "new/", object_size: 1KiB, weight: 30}
  - {op: stat, path: "d/*", weight: 10}
duration: 2s
"""
KILLED = """\
target: file://DATA/
concurrency: 2
prepare:
  ensure_objects: [{base_uri: "d/", count: 50, size_spec: 4KiB}]
workload:
  - {op: get, path: "d/*", weight: 100}
io_rate: {iops: 200}
duration: 120s
"""
GROUPS = ("get", "put", "meta")
METHODS = ("PUT", "GET", "DELETE")


def tables(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two tables of an NN_stage_results.tsv."""
    first, second = path.read_text().split("# Per-Agent Details\n")
    whole = pd.read_csv(io.StringIO(first), sep="\t", comment="#")
    return whole[whole["size_bucket"] == "ALL"].set_index("operation"), pd.read_csv(io.StringIO(second), sep="\t")


def hdr_histograms(path: Path) -> dict[str, HdrHistogram]:
    """Per tag, all intervals together."""
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_NS, 3))
    found: dict[str, HdrHistogram] = {}
    while (interval := reader.get_next_interval_histogram()) is not None:
        found.setdefault(interval.get_tag(), HdrHistogram(1, HIGHEST_NS, 3)).add(interval)
    reader.close()
    return found


async def test_all_files_of_a_run_agree_with_each_other_and_with_the_storage(
    tmp_path: Path, s3_server: ServerUnderTest
) -> None:
    bucket = s3_server.bucket("wholerun")
    for directory in ("d", "new"):
        (s3_server.data_dir / bucket / directory).mkdir(parents=True, exist_ok=True)
    async with AccessLog(s3_server.host_port) as log:
        config = tmp_path / "whole.yaml"
        config.write_text(CONFIG.replace("ADDRESS", log.address).replace("BUCKET", bucket))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sai3tui", "--batch", str(config), "--json", "--results", str(tmp_path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environment(s3_server)},
        )
        out, err = await asyncio.wait_for(process.communicate(), RUN_TIMEOUT_S)
    assert process.returncode == 0, err.decode()
    assert log.errors == []
    lines = [json.loads(line) for line in out.splitlines()]
    run = Path(lines[-1]["results"])
    stages = {stage["type"]: stage for stage in json.loads((run / "metadata.json").read_text())["stages"]}

    # The storage's own log.
    put, got, deleted = ([each for each in log.done(m, f"{bucket}/") if ".sai3tui" not in each.path] for m in METHODS)
    prepared = [each for each in put if each.path.startswith(f"{bucket}/d/")]
    written = [each for each in put if each.path.startswith(f"{bucket}/new/")]
    read = [each for each in got if each.path.startswith(f"{bucket}/d/")]
    assert stages["prepare"]["ops"] == len(prepared) == 60
    assert stages["prepare"]["bytes"] == sum(each.size for each in prepared)

    perf = pd.read_csv(run / "perf_log.tsv", sep="\t")
    whole, per_agent = tables(next(run.glob("*_execute_results.tsv")))
    assert whole.loc["GET", "count"] == len(read)
    assert whole.loc["PUT", "count"] == len(written)
    execute = perf[perf["stage"] == "execute"]
    assert execute["get_bytes"].sum() == sum(each.size for each in read)
    assert execute["put_bytes"].sum() == sum(each.size for each in written)
    assert stages["cleanup"]["ops"] == len(deleted) == len(prepared) + len(written)

    # Files among themselves, and with what was printed.
    agents = pd.concat([pd.read_csv(path, sep="\t") for path in run.glob("agents/*/perf_log.tsv")])
    printed = pd.DataFrame([line for line in lines if line["type"] == "interval"])
    ext = pd.read_csv(run / "perf_ext.tsv", sep="\t")
    assert len(ext) == len(perf)
    assert len(perf.columns) == 31
    for stage in stages.values():
        if not stage["ops"]:
            continue
        mine, theirs = perf[perf["stage"] == stage["name"]], agents[agents["stage"] == stage["name"]]
        assert sum(mine[f"{group}_ops"].sum() for group in GROUPS) == stage["ops"]
        assert sum(theirs[f"{group}_ops"].sum() for group in GROUPS) == stage["ops"]
        assert printed[printed["stage_index"] == stage["index"]]["ops"].sum() == stage["ops"]
        assert mine["errors"].sum() == stage["errors"] == 0
        whole, per_agent = tables(run / f"{stage['index']:02d}_{stage['name']}_results.tsv")
        assert whole["count"].sum() == stage["ops"]
        assert sum(per_agent[f"{group}_ops"].sum() for group in GROUPS) == stage["ops"]
        endpoints = pd.read_csv(run / f"{stage['index']:02d}_{stage['name']}_endpoint_stats.tsv", sep="\t")
        assert endpoints["total_requests"].sum() == stage["ops"]
        assert endpoints["bytes_read"].sum() + endpoints["bytes_written"].sum() == stage["bytes"]
        result = next(each for each in lines[-1]["stages"] if each["index"] == stage["index"])
        assert (result["ops"], result["bytes"]) == (stage["ops"], stage["bytes"])
    named = {stage["index"]: f"{stage['index']:02d}_{stage['name']}" for stage in stages.values() if stage["ops"]}
    histograms = hdr_histograms(run / "histograms.hlog")
    for index, name in named.items():
        service = {tag: found for tag, found in histograms.items() if tag.startswith(f"{name}.") and "service" in tag}
        assert sum(found.get_total_count() for found in service.values()) == next(
            stage["ops"] for stage in stages.values() if stage["index"] == index
        )
        whole, _ = tables(run / f"{name}_results.tsv")
        for tag, found in service.items():
            op = tag.split(".")[1].upper()
            if op not in ("GET", "PUT"):
                # One row of the table is all of these.
                continue
            row = whole.loc[op]
            assert found.get_total_count() == row["count"]
            for q, column in ((50, "p50_us"), (99, "p99_us")):
                # Their rank is rounded to the nearest, ours up: with few samples that can be another one. No interval
                # has more than its own maximum, which may cut the last bin short that all have together.
                assert found.get_value_at_percentile(q + 0.5) * (1 + 1 / FINE) >= row[column] * 1000
                assert found.get_value_at_percentile(q - 5) <= row[column] * 1000 * 1.002
    ledger = pd.read_csv(run / "populate_ledger.tsv", sep="\t")
    assert ledger[ledger["agent_id"] == "AGGREGATE"]["objects_created"].tolist() == [60]
    assert ledger[ledger["agent_id"] != "AGGREGATE"]["total_bytes"].sum() == 60 * 4096

    # The run log, read back.
    record = load_run(run)
    assert record.doubts == ()
    assert {stage.index: stage.total_ops for stage in record.stages} == {s["index"]: s["ops"] for s in stages.values()}
    data = load_report_data(run)
    for name, (columns, rows) in TABLES.items():
        table = pd.DataFrame(rows(data), columns=list(columns))
        if "count" in table:
            assert table["count"].sum() == sum(stage["ops"] for stage in stages.values()), name
    events = pd.read_json(run / "events.jsonl", lines=True)
    assert len(events) == len(list(read_events(run / "events.jsonl")))
    assert events["type"].tolist()[-1] == "RunFinished"
    assert event_json(next(iter(read_events(run / "events.jsonl"))))["type"] == events["type"].tolist()[0]


@pytest.mark.slow
def test_a_run_whose_controller_was_killed_is_read_with_all_that_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    config = tmp_path / "killed.yaml"
    config.write_text(KILLED.replace("DATA", str(tmp_path / "data")))
    command = [sys.executable, "-m", "sai3tui", "--batch", str(config), "--no-preflight", "--results", str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "state")}
    )

    def measured() -> list[list[str]]:
        files = list(tmp_path.glob("sai3-*/perf_log.tsv"))
        rows = [line.split("\t") for line in files[0].read_text().splitlines()[1:]] if files else []
        return [row for row in rows if len(row) == 31 and row[3] == "execute"]

    try:
        assert wait_until(lambda: len(measured()) >= 4, RUN_TIMEOUT_S)
    finally:
        killed_at = time.time()
        process.kill()
        process.wait()
    (run,) = tmp_path.glob("sai3-*")
    record = load_run(run)
    rows = measured()
    assert record.outcome is None
    assert record.doubts == ()
    # A second's rows stand there when all have reported it, at the next flush: on a busy host that may take longer.
    assert killed_at - int(rows[-1][1]) / 1000 < 30
    (execute,) = (stage for stage in record.stages if stage.type == "execute")
    assert execute.total_ops >= sum(int(row[4]) for row in rows) > 0
    assert (run / "events.jsonl").read_bytes().endswith(b"\n")
    every_damage_is_said_or_changes_nothing(run, tmp_path / "damaged", capsys)


def every_damage_is_said_or_changes_nothing(run: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is cut off or changed before the last seconds; of these, a kill takes some as well."""
    whole, none = shown(run, capsys)
    assert none == []
    files = [path.relative_to(run) for path in sorted(run.rglob("*")) if path.is_file() and path.stat().st_size]
    for seed in range(60):
        rng = random.Random(seed)
        shutil.copytree(run, copy)
        file = copy / rng.choice([*files, *map(Path, ("metrics.zst", "events.jsonl", "metadata.json"))])
        data = bytearray(file.read_bytes())
        place = rng.randrange(max(1, len(data) * 4 // 5))
        if seed % 2:
            del data[place:]
        else:
            data[place] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        now, damage = shown(copy, capsys)
        assert damage or now == whole, (seed, file)
        shutil.rmtree(copy)
