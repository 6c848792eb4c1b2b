"""Directories that sai3-bench wrote: listed, shown, compared, reported; what is not in them is not made up."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

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
    assert compare_results(first, [second], True, out) == 0
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
