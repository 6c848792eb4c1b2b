"""Op-logs: any order and size, the files of others, and broken ones that never become figures."""

from __future__ import annotations

import io
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.agent.controller_clock import ClockReading
from sai3tui.agent.pool import WorkerPool
from sai3tui.agent.setup import AgentLimits, oplog_stem
from sai3tui.cli import main
from sai3tui.errors import Sai3Error
from sai3tui.metrics.oplog_lines import COLUMNS, FRAME_BYTES, HEADER, OplogLines
from sai3tui.oplog_command import oplog_stats, sort_oplog
from sai3tui.results.oplog import OplogProblem, OplogWriter, OpRow, parse_time, read_oplog
from sai3tui.results.oplog_sort import sort_oplogs
from sai3tui.results.oplog_stats import oplog_figures
from tests.lease_sources import MemorySource
from tests.pools import null_setup, put_job
from tests.test_batch_run import sai3tui
from tests.test_batch_run import write as write_config

NOW = 1_764_000_000_000_000_000


def row(number: int, op: str = "GET", error: str = "") -> OpRow:
    start = NOW + number * 1_000_003
    return OpRow(op, start, start + 5_000_000, start + 2_000_000, "7", "a1", 1, 1000, "s3://b", f"b/{number}", error)


def write(path: Path, rows: list[OpRow]) -> Path:
    with OplogWriter(path) as writer:
        for each in rows:
            writer.write(each)
    return path


def text(r: OpRow) -> str:
    times = r.start_ns, r.first_byte_ns, r.end_ns
    return OplogLines().row(0, r.thread, r.op, r.client_id, 1, r.bytes, r.endpoint, r.file, r.error, *times)


def no_problem(problem: OplogProblem) -> None:
    pytest.fail(str(problem))


def read(path: Path) -> tuple[list[OpRow], list[OplogProblem]]:
    problems: list[OplogProblem] = []
    return list(read_oplog(path, problems.append)), problems


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_times_keep_their_nanoseconds(time_ns: int) -> None:
    assert parse_time(OplogLines().time(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T01:00:01.000000001+01:00", 1_000_000_001),
    ],
)
def test_times_of_other_programs(text: str, time_ns: int) -> None:
    assert parse_time(text) == time_ns


@pytest.mark.parametrize("text", ["", "yesterday", "1970-01-01T00:00:01", "1970-01-01T00:00:01.Z"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|format|zone"):
        parse_time(text)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    rows = [row(0), row(1, "PUT", "503 Slow\tDown\n"), row(2, "LIST")]
    found, problems = read(write(tmp_path / "a.tsv.zst", rows))
    assert problems == []
    assert found[0] == rows[0]
    assert found[1].error == "503 Slow Down "
    plain = zstandard.ZstdDecompressor().stream_reader((tmp_path / "a.tsv.zst").read_bytes()).read().decode()
    assert plain.splitlines()[0].split("\t") == list(COLUMNS)


WARP = """\
idx\tthread\top\tclient_id\tn_objects\tbytes\tendpoint\tfile\terror\tstart\tfirst_byte\tend\tduration_ns
0\t3\tGET\tkq2x\t1\t10485760\thttp://10.0.0.1:9000\tx/1.rnd\t\t2025-01-02T03:04:05.000000001Z\t\
2025-01-02T03:04:05.01Z\t2025-01-02T03:04:05.05Z\t49999999
# a comment
1\t4\tSTAT\tkq2x\t1\t0\thttp://10.0.0.1:9000\tx/2.rnd\tnot found\t2025-01-02T03:04:06Z\t\t\
2025-01-02T03:04:06.002Z\t2000000
"""


@pytest.mark.parametrize("packed", [True, False])
def test_files_of_warp_and_the_predecessor(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "warp.csv.zst"
    path.write_bytes(zstandard.compress(WARP.encode()) if packed else WARP.encode())
    found, problems = read(path)
    assert problems == []
    assert [(r.op, r.bytes, r.duration_ns, r.error) for r in found] == [
        ("GET", 10485760, 49_999_999, ""),
        ("STAT", 0, 2_000_000, "not found"),
    ]
    assert found[0].first_byte_ns - found[0].start_ns == 9_999_999


def test_warp_of_today_has_another_column_quotes_and_comments_at_the_end(tmp_path: Path) -> None:
    header, first, *_ = WARP.splitlines()
    failed = first.replace("\t\t2025", '\t"refused, as ""full"""\t2025', 1)
    path = tmp_path / "warp.csv.zst"
    path.write_bytes(zstandard.compress(f"{header}\tcat\n{first}\t1\n{failed}\t0\n# commandline: warp get\n".encode()))
    found, problems = read(path)
    assert problems == []
    assert [r.error for r in found] == ["", 'refused, as "full"']
    assert [r.duration_ns for r in found] == [49_999_999] * 2


def test_json_lines_and_commas_are_read_too(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps({"operation": "PUT", "t_start": "2025-01-02T03:04:05Z", "duration_ns": 7}) + "\n")
    table = tmp_path / "a.csv"
    table.write_text('op,start,duration_ns,file\nPUT,2025-01-02T03:04:05Z,7,"a,b"\n')
    assert [r.duration_ns for r in read(lines)[0]] == [7]
    assert [r.file for r in read(table)[0]] == ["a,b"]


def test_broken_files_are_named_and_what_was_whole_is_used(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [OpRow("GET", NOW + rng.randrange(10**12), NOW + 10**13, file=str(rng.random())) for _ in range(20_000)]
    whole = write(tmp_path / "whole.tsv.zst", rows).read_bytes()
    cut = tmp_path / "cut.tsv.zst"
    cut.write_bytes(whole[: len(whole) // 2])
    found, problems = read(cut)
    assert 0 < len(found) < len(rows)
    assert found == rows[: len(found)]
    assert any("breaks off" in problem.message for problem in problems)
    bad = tmp_path / "bad.tsv"
    bad.write_text(HEADER + text(row(0)) + "1\tx\tGET\n" + text(row(1)) + text(row(2))[:50])
    found, problems = read(bad)
    assert found == [row(0), row(1)]
    assert [problem.line for problem in problems] == [3, 5]
    foreign = tmp_path / "foreign.txt"
    foreign.write_text("name\tvalue\nx\t1\n")
    assert [problem.line for problem in read(foreign)[1]] == [1]
    assert read(foreign)[0] == []


def test_what_is_not_whole_is_not_sorted_in_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = write(tmp_path / "cut.tsv.zst", [row(n) for n in (2, 1)])
    cut.write_bytes(cut.read_bytes()[:-2])
    foreign = tmp_path / "notes.txt"
    foreign.write_text("name\tvalue\nx\t1\n")
    for path, words in ((cut, "was left as it is"), (foreign, "holds no operation")):
        before = path.read_bytes()
        assert main(["oplog", "sort", str(path)]) == 1
        assert words in capsys.readouterr().err
        assert path.read_bytes() == before
    assert main(["oplog", "sort", str(foreign), "-o", str(tmp_path / "out")]) == 1
    assert main(["oplog", "sort", str(cut), "-o", str(tmp_path / "out.tsv.zst")]) == 1
    assert read(tmp_path / "out.tsv.zst")[0] == [row(1), row(2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.tsv.zst", "notes.txt", "out.tsv.zst"]


@given(st.integers(0, 10**9), st.integers(0, 7))
def test_a_changed_byte_is_told_or_changes_nothing(tmp_path_factory, place: int, bit: int) -> None:
    path = tmp_path_factory.mktemp("oplog") / "a.tsv.zst"
    rows = [row(n) for n in range(50)]
    data = bytearray(write(path, rows).read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    found, problems = read(path)
    assert problems or found == rows


def test_large_logs_have_frames_that_are_checked_one_by_one(tmp_path: Path) -> None:
    rows = [row(n) for n in range(60_000)]
    path = write(tmp_path / "a.tsv.zst", rows)
    data = bytearray(path.read_bytes())
    frames = zstandard.ZstdDecompressor().decompressobj()
    assert len(frames.decompress(data)) >= FRAME_BYTES
    second = len(data) - len(frames.unused_data)
    assert 0 < second < len(data)
    data[-1] ^= 1  # In the checksum of the last frame.
    path.write_bytes(data)
    found, (problem,) = read(path)
    assert 0 < len(found) < len(rows)
    assert found == rows[: len(found)]
    assert "rows before it are used" in problem.message
    assert "may be wrong" not in problem.message


@given(st.lists(st.integers(0, 1000), max_size=60), st.integers(1, 9))
def test_any_disorder_is_sorted_within_little_memory(tmp_path_factory, numbers: list[int], size: int) -> None:
    directory = tmp_path_factory.mktemp("oplog")
    half = len(numbers) // 2
    first = write(directory / "1.tsv.zst", [row(number) for number in numbers[:half]])
    second = write(directory / "2.tsv.zst", [row(number) for number in numbers[half:]])
    out = directory / "out.tsv.zst"
    assert sort_oplogs([first, second], out, no_problem, run_rows=size) == len(numbers)
    found, problems = read(out)
    assert problems == []
    assert found == [row(number) for number in sorted(numbers)]
    assert sorted(path.name for path in directory.iterdir()) == ["1.tsv.zst", "2.tsv.zst", "out.tsv.zst"]


def test_many_runs_are_merged_in_several_passes(tmp_path: Path) -> None:
    numbers = list(range(300))
    random.Random(2).shuffle(numbers)
    path = write(tmp_path / "a.tsv.zst", [row(number) for number in numbers])
    assert sort_oplogs([path], path, no_problem, run_rows=2) == 300
    assert read(path)[0] == [row(number) for number in range(300)]


def test_figures_are_those_of_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv.zst", [*(row(n) for n in range(100)), row(100, "PUT"), row(101, error="x")])
    out, err = io.StringIO(), io.StringIO()
    assert oplog_stats([path], "client_id", True, out, err) == 0
    get, put = json.loads(out.getvalue())["rows"]
    assert (get["op"], get["client_id"], get["ops"], get["errors"], get["bytes"]) == ("GET", "a1", 100, 1, 100_000)
    assert get["p50_us"] == pytest.approx(5000, rel=0.02)
    assert get["ttfb_p50_us"] == pytest.approx(2000, rel=0.02)
    assert put["ops"] == 1
    out = io.StringIO()
    oplog_stats([path], "", False, out, err)
    assert out.getvalue().splitlines()[1].split()[:3] == ["GET", "100", "1"]


def test_problems_are_told_and_fail_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.tsv"
    bad.write_text(HEADER + text(row(0)) + "nonsense\n" * 30)
    out, err = io.StringIO(), io.StringIO()
    assert sort_oplog([bad], tmp_path / "out.tsv.zst", out, err) == 1
    assert "1 operations" in out.getvalue()
    assert f"{bad}:3:" in err.getvalue()
    assert "and 10 more problems" in err.getvalue()
    assert main(["oplog", "stats", str(tmp_path / "none")]) == 1
    assert "none: No such file" in capsys.readouterr().err
    assert not list(tmp_path.glob(".*"))


async def test_workers_log_every_request_in_files_of_their_own(tmp_path: Path) -> None:
    stem = tmp_path / "logs" / "run_a1"
    for seconds in (-1000, 1000):
        async with WorkerPool(replace(null_setup(), oplog=stem, agent="a1"), workers=2) as pool:
            pool.tell_clock(ClockReading(time.monotonic_ns(), time.time_ns() + seconds * 10**9))
            totals = (await pool.run_leased(put_job(1000), MemorySource(1000, 2))).totals
    names = sorted(path.name for path in stem.parent.iterdir())
    # Nothing is overwritten by a later run.
    assert names == [f"run_a1-worker-{n}{again}.tsv.zst" for n in (0, 1) for again in ("-2", "")]
    rows = [each for name in names[::2] for each in read(stem.parent / name)[0]]
    assert len(rows) == len({each.file for each in rows}) == 1000
    assert sum(each.bytes for each in rows) == sum(stats.bytes for stats in totals.ops)
    assert {(each.op, each.client_id, each.error) for each in rows} == {("PUT", "a1", "")}
    assert {each.endpoint for each in rows} == {"s3://a/b/", "s3://c/b/"}
    assert all(each.end_ns >= each.start_ns for each in rows)
    # By the clock of the controller, as it was told last.
    assert all(abs(each.start_ns - time.time_ns() - 1000 * 10**9) < 600 * 10**9 for each in rows)


async def test_an_op_log_that_cannot_be_written_ends_the_stage_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Sai3Error, match="op-log"):
        async with WorkerPool(replace(null_setup(), oplog=tmp_path / "file" / "x"), workers=1) as pool:
            await pool.run_leased(put_job(10), MemorySource(10, 2))


CONFIG = """\
target: file://DIR/data/
concurrency: 2
op_log_path: LOG
prepare: {ensure_objects: [{base_uri: d/, count: 40, size_spec: 1KiB}]}
workload: [{op: get, path: "d/*", weight: 1}]
duration: 1s
"""


async def test_the_op_log_of_a_run_agrees_with_its_figures(tmp_path: Path) -> None:
    (tmp_path / "data" / "d").mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    text = CONFIG.replace("DIR", str(tmp_path)).replace("LOG", str(tmp_path / "logs" / "run.tsv.zst"))
    ended = await sai3tui("--batch", write_config(tmp_path, text.encode()), "--results", str(tmp_path / "results"))
    assert ended.code == 0, ended.err
    assert "op-log" in ended.err
    logs = sorted((tmp_path / "logs").iterdir())
    assert logs
    whole = tmp_path / "whole.tsv.zst"
    assert sort_oplogs(logs, whole, no_problem) > 40
    document = json.loads(next((tmp_path / "results").glob("sai3-*/metadata.json")).read_text())
    done = {stage["type"]: stage["ops"] for stage in document["stages"]}
    figures = oplog_figures(read_oplog(whole, no_problem))
    assert {op: each.ops for (op, _), each in figures.items() if op in ("PUT", "GET")} == {
        "PUT": done["prepare"],
        "GET": done["execute"],
    }


def test_an_agent_writes_op_logs_only_where_it_may(tmp_path: Path) -> None:
    limits = AgentLimits(tmp_path / "data", (tmp_path / "allowed",))
    for path, allowed in (("x.tsv.zst", True), (f"{tmp_path}/allowed/x", True), ("/etc/x", False), ("../x", False)):
        if allowed:
            assert oplog_stem(path, "a/1", limits).name == "x_a_1"
        else:
            with pytest.raises(Sai3Error, match="may not touch"):
                oplog_stem(path, "a/1", limits)
