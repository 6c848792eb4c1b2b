"""Directories that sai3-bench wrote: listed, shown, compared, reported; what is not in them is not made up."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
import zstandard

from sai3tui.cli import main
from sai3tui.compare_command import compare_results
from sai3tui.errors import Sai3Error
from sai3tui.results.reader import list_runs, load_run
from sai3tui.results.views import StageStatus

TABLE = """\
# Stage 2 Results: execute (execute)
# Agents: 2
# Duration: 30.00s

operation\tsize_bucket\tbucket_idx\tmean_us\tp50_us\tp90_us\tp95_us\tp99_us\tmax_us\tavg_bytes\tops_per_sec\t\
throughput_mibps\tcount
GET\t1B-8KiB\t1\t900.00\t800.00\t1500.00\t1700.00\t2000.00\t9000.00\t1024\t100.00\t0.10\t3000
GET\tALL\t98\t900.00\t800.00\t1500.00\t1700.00\t2000.00\t9000.00\t1024\t100.00\t0.10\t3000
PUT\tALL\t99\t1900.00\t1800.00\t2500.00\t2700.00\t3000.00\t9500.00\t1024\t50.00\t0.05\t1500

# Per-Agent Details
agent_id\tget_ops\tget_bytes\tput_ops\tput_bytes\tmeta_ops\tduration_s\terrors
agent-1\t1500\t1536000\t750\t768000\t0\t30.00\t2
agent-2\t1500\t1536000\t750\t768000\t0\t30.00\t1
"""
AGENT_FIGURES = {"get": (1500, 1_536_000, None, None), "put": (750, 768_000, None, None)}
PERF_COLUMNS = [
    "agent_id",
    "timestamp_epoch_ms",
    "elapsed_s",
    "stage",
    "get_ops",
    "get_bytes",
    "get_iops",
    "get_mbps",
    "get_mean_us",
    "get_p50_us",
    "get_p90_us",
    "get_p99_us",
    "put_ops",
    "put_bytes",
    "put_iops",
    "put_mbps",
    "put_mean_us",
    "put_p50_us",
    "put_p90_us",
    "put_p99_us",
    "meta_ops",
    "meta_iops",
    "meta_mean_us",
    "meta_p50_us",
    "meta_p90_us",
    "meta_p99_us",
    "cpu_user_pct",
    "cpu_system_pct",
    "cpu_iowait_pct",
    "errors",
]


def directory(root: Path, name: str = "sai3-20250102-0304-old", get: int = 100) -> Path:
    path = root / name
    path.mkdir()
    document = {
        "version": "0.8.62",
        "test_name": "old",
        "config_path": "/home/x/old.yaml",
        "start_time": "2025-01-02T03:04:05.123456+01:00",
        "end_time": "2025-01-02T03:04:35+01:00",
        "duration_secs": 30.5,
        "command_line": ["sai3bench-ctl"],
        "hostname": "ctl",
        "distributed": True,
        "agents": ["agent-1 (10.0.0.1:7167)", "agent-2 (10.0.0.2:7167)"],
    }
    (path / "metadata.json").write_text(json.dumps(document))
    (path / "config.yaml").write_text("target: s3://b/\n")
    (path / "02_execute_results.tsv").write_text(TABLE)
    (path / "STATUS.txt").write_text("TEST STATUS: SUCCESS\n")
    rows = []
    for second in range(1, 31):
        known = {
            "agent_id": "controller",
            "timestamp_epoch_ms": 1_735_783_445_000 + second * 1000,
            "elapsed_s": f"{second:.3f}",
            "stage": "execute",
            "get_ops": get + second % 3,
            "get_bytes": (get + second % 3) * 1024,
            "put_ops": 50,
            "put_bytes": 51200,
        }
        rows.append("\t".join(str(known.get(column, 0)) for column in PERF_COLUMNS))
    (path / "perf_log.tsv").write_text("\t".join(PERF_COLUMNS) + "\n" + "\n".join(rows) + "\n")
    return path


def test_they_are_listed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = directory(tmp_path)
    (entry,) = list_runs(tmp_path)
    assert (entry.problem, entry.config_name, entry.status, entry.agents) == ("", "old", "success", 2)
    assert (entry.operations, entry.errors, entry.seconds) == (4500, 3, 30.5)
    assert main(["results", "show", str(path)]) == 0
    assert "execute" in capsys.readouterr().out
    record = load_run(path)
    (stage,) = record.stages
    assert (stage.name, stage.type, stage.status) == ("execute", "execute", StageStatus.DONE)
    assert (stage.total_ops, stage.total_bytes, stage.elapsed_s) == (4500, 4500 * 1024, 30.0)
    assert (stage.rates.get_p99_us, stage.rates.put_p50_us) == (2000.0, 1800.0)
    # Percentiles over GET and PUT together are not in its files.
    assert (stage.p50_us, stage.p99_us) == (0.0, 0.0)
    assert len(record.series.at_s) == 30
    assert sum(record.series.ops) == sum(150 + second % 3 for second in range(1, 31))
    assert any("written by sai3-bench" in notice for notice in record.meta.notices)


def test_they_are_compared_by_rates_alone(tmp_path: Path) -> None:
    first, second = directory(tmp_path), directory(tmp_path, "sai3-20250103-0304-old", get=80)
    out = io.StringIO()
    assert compare_results([first], [[second]], True, out) == 0
    (found,) = json.loads(out.getvalue())["comparisons"]
    verdicts = {row["op"]: row["verdict"] for row in found["stages"]}
    assert verdicts == {"get": "worse", "put": "no difference"}
    assert {metric["metric"] for row in found["stages"] for metric in row["metrics"]} == {"ops_per_s", "bytes_per_s"}
    assert any("sai3-bench does not say" in caveat for caveat in found["caveats"])


def test_they_have_a_report(tmp_path: Path) -> None:
    path = directory(tmp_path)
    assert main(["results", "report", str(path), "-o", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text()
    assert "written by sai3-bench" in text
    assert "<svg" in text


def test_they_are_exported_as_far_as_they_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = directory(tmp_path)
    for table, expected in (
        ("stages", [("", "get", 3000, 3_072_000, 2000.0, None), ("", "put", 1500, 1_536_000, 3000.0, None)]),
        ("agents", [(f"agent-{n}", op, *of) for n in (1, 2) for op, of in AGENT_FIGURES.items()]),
    ):
        assert main(["results", "export", str(path), "--format", "json", "--table", table]) == 0
        document = json.loads(capsys.readouterr().out)
        columns = ("op", "count", "bytes", "p99_us", "errors")
        assert [(r.get("agent", ""), *(r[c] for c in columns)) for r in document["rows"]] == expected
        assert any("written by sai3-bench" in each["text"] for each in document["caveats"])
        for form in ("csv", "markdown", "parquet", "xlsx"):
            words = ("--format", form, "--table", table, "-o", str(tmp_path / f"{table}.{form}"))
            assert main(["results", "export", str(path), *words]) == 0
        capsys.readouterr()
    for read in (pd.read_csv(tmp_path / "stages.csv"), pd.read_parquet(tmp_path / "stages.parquet")):
        assert read["count"].tolist() == [3000, 1500]
        assert read["p999_us"].isna().all()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("02_execute_results.tsv", TABLE.replace("\t3000\nPUT", "\nPUT")),
        ("02_execute_results.tsv", TABLE.replace("\t3000", "\tmany")),
        ("perf_log.tsv", "a\tb\n1\t2\n"),
        ("metadata.json", '{"test_name": "x", "duration_secs": 1, "start_time": "soon"}'),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, name: str, text: str) -> None:
    path = directory(tmp_path)
    (path / name).write_text(text)
    with pytest.raises(Sai3Error, match="as sai3-bench wrote it"):
        load_run(path)
    (entry,) = list_runs(tmp_path)
    assert entry.problem


ENDPOINTS = """\
endpoint_idx\tendpoint_uri\ttotal_requests\tbytes_read\tbytes_written\terror_count\tactive_requests\trequest_pct\t\
read_pct\twrite_pct
0\ts3://10.0.0.1:9000/b/\t2500\t2048000\t1024000\t0\t0\t55.6\t66.7\t66.7
1\ts3://10.0.0.2:9000/b/\t2000\t1024000\t512000\t3\t0\t44.4\t33.3\t33.3
"""
LEDGER = """\
timestamp\ttest_name\tagent_id\tstage\tobjects_created\tobjects_existed\ttotal_objects\ttotal_bytes\tavg_bytes\t\
wall_seconds\tops_per_sec
2025-01-02T03:04:05+01:00\told\tagent-1\tprepare\t750\t0\t750\t768000\t1024.0\t10.000\t75.0
2025-01-02T03:04:05+01:00\told\tAGGREGATE\tprepare\t750\t0\t750\t768000\t1024.0\t10.000\t75.0
"""
PREPARED = """\
operation\tsize_bucket\tbucket_idx\tmean_us\tp50_us\tp90_us\tp95_us\tp99_us\tmax_us\tavg_bytes\tops_per_sec\t\
throughput_mibps\tcount
PUT\t1B-8KiB\t1\t1900\t1800\t2500\t2700\t3000\t9500\t1024\t50.00\t0.05\t1500
PUT\tALL\t99\t1900\t1800\t2500\t2700\t3000\t9500\t1024\t50.00\t0.05\t1500
"""


def test_every_file_that_it_may_write_is_taken_or_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run of several hosts: all of them, the log compressed, numbered from 01 as older versions do."""
    path = directory(tmp_path)
    (path / "02_execute_results.tsv").rename(path / "01_execute_results.tsv")
    log = (path / "perf_log.tsv").read_bytes()
    (path / "perf_log.tsv").unlink()
    half = len(log) // 2
    (path / "perf_log.tsv.zst").write_bytes(zstandard.compress(log[:half]) + zstandard.compress(log[half:]))
    for agent in ("agent-1", "agent-2"):
        (path / "agents" / agent).mkdir(parents=True)
        (path / "agents" / agent / "perf_log.tsv").write_bytes(log)
    (path / "console_log.txt").write_text("[1735783445] stage execute\n")
    (path / "populate_ledger.tsv").write_text(LEDGER)
    record = load_run(path)
    assert [(stage.name, stage.total_ops) for stage in record.stages] == [("execute", 4500)]
    assert len(record.series.at_s) == 30
    assert record.doubts == ()
    assert main(["results", "show", str(path)]) == 0


def test_runs_on_one_host_have_stages_and_endpoints(tmp_path: Path) -> None:
    path = directory(tmp_path)
    (path / "02_execute_results.tsv").unlink()
    (path / "prepare_results.tsv").write_text(PREPARED)
    (path / "workload_results.tsv").write_text("\n".join(TABLE.splitlines()[4:9]) + "\n")
    for name in ("prepare", "workload"):
        (path / f"{name}_endpoint_stats.tsv").write_text(ENDPOINTS)
    record = load_run(path)
    assert [(stage.name, stage.type, stage.total_ops) for stage in record.stages] == [
        ("prepare", "prepare", 1500),
        ("workload", "execute", 4500),
    ]
    assert [(view.uri, view.total_ops, view.errors) for view in record.endpoints[2]] == [
        ("s3://10.0.0.1:9000/b/", 2500, 0),
        ("s3://10.0.0.2:9000/b/", 2000, 3),
    ]
    assert record.endpoints[2][0].get_bytes == pytest.approx(2048000 / 30)
    assert record.doubts == ()
    (path / "workload_endpoint_stats.tsv").write_text(ENDPOINTS.replace("2500", "many"))
    with pytest.raises(Sai3Error) as caught:
        load_run(path)
    assert any("workload_endpoint_stats.tsv" in cause for cause in caught.value.failure().causes)


def test_a_run_that_died_is_told_by_what_it_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its metadata.json comes last, and its log is written every ten seconds."""
    path = directory(tmp_path)
    for name in ("metadata.json", "STATUS.txt", "02_execute_results.tsv"):
        (path / name).unlink()
    (path / "console_log.txt").write_text("[1735783445] stage execute\n")
    log = (path / "perf_log.tsv").read_bytes()
    (path / "perf_log.tsv").write_bytes(log[:-20])
    (entry,) = list_runs(tmp_path)
    assert (entry.problem, entry.status, entry.config_name, entry.seconds) == ("", "unfinished", "old", 29.0)
    record = load_run(path)
    assert record.outcome is None
    assert len(record.series.at_s) == 29
    assert main(["results", "export", str(path), "--format", "csv", "--table", "intervals"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 30
    assert "the run log breaks off" in said.err
    assert "at most the last ten seconds before its end are missing" in said.err


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("agent-2\t1500\t1536000\t750\t768000\t0\t30.00\t1\n", "", "1 agents of 2"),
        ("agent-1\t1500", "agent-1\t1400", "2900 GET by agent, 3000 over all"),
        ("\t3000\nGET", "\t2000\nGET", "2000 GET by size, 3000 over all"),
        (next(line for line in TABLE.splitlines(keepends=True) if line.startswith("PUT")), "", "1500 PUT by agent, 0"),
    ],
)
def test_a_table_that_was_cut_or_edited_is_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, word: str
) -> None:
    path = directory(tmp_path)
    assert old in TABLE
    (path / "02_execute_results.tsv").write_text(TABLE.replace(old, new))
    assert main(["results", "show", str(path)]) == 1
    assert word in capsys.readouterr().out
    (entry,) = list_runs(tmp_path)
    assert word in entry.doubt
