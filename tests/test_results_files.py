"""Results directories: names, formats, and that a run read back is the run that was written."""

from __future__ import annotations

import json
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorContext, ErrorKind, Failure, ResourceError, Sai3Error
from sai3tui.events import (
    AgentConnected,
    AgentState,
    AttemptStats,
    BarrierArrived,
    BarrierReleased,
    Event,
    FailureSeen,
    Finding,
    Level,
    Note,
    Objects,
    Report,
    RunFinished,
    RunStarted,
    StageFinished,
    StageStarted,
    StateChanged,
)
from sai3tui.results.caveats import open_end_text
from sai3tui.results.directory import check_root, make_directory
from sai3tui.results.events_log import event_line, parse_event
from sai3tui.results.files import safe_name
from sai3tui.results.metadata import AgentMeta, RunMeta, parse_metadata
from sai3tui.results.metrics_log import MetricsLog, read_reports
from sai3tui.results.perf_log import COLUMNS
from sai3tui.results.reader import list_runs, load_run, read_items
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.tally import Tally
from sai3tui.results.views import Outcome, StageStatus
from sai3tui.results.writer import RunWriter
from tests.test_metrics_histogram import everything
from tests.test_results_figures import STAGES, START, report, stats, summary

SPEC_COLUMNS = (
    "agent_id timestamp_epoch_ms elapsed_s stage get_ops get_bytes get_iops get_mbps get_mean_us get_p50_us get_p90_us "
    "get_p99_us put_ops put_bytes put_iops put_mbps put_mean_us put_p50_us put_p90_us put_p99_us meta_ops meta_iops "
    "meta_mean_us meta_p50_us meta_p90_us meta_p99_us cpu_user_pct cpu_system_pct cpu_iowait_pct errors is_warmup"
)
FAILURE = Failure(
    ErrorKind.NOT_FOUND, "no bucket", ("HTTP 404",), ErrorContext(uri="s3://b/x", object_index=3, agent="a"), "make it"
)
META = RunMeta(
    run_id="r1",
    config_name="tiny.yaml",
    config_path="/x/tiny.yaml",
    layout_hash="abc",
    started_ns=START,
    version="1.2.3",
    hostname="here",
    agents=(AgentMeta("a", "127.0.0.1:1", "1.2.3", "host", 2, 4),),
    stages=STAGES,
    command_line=("sai3tui", "--batch"),
)


def items() -> list[Event | Report]:
    return [
        RunStarted(START, "", "r1", "tiny.yaml", "abc", ("a",)),
        BarrierReleased(START, "", 0, START, ("a",)),
        StageStarted(START, "a", 1, "prepare", START),
        report("a", 0.0, 1.0, stats(Op.PUT, 10, 1000), stats(Op.LIST, 2, 50)),
        report("a", 1.0, 0.5, stats(Op.PUT, 6, 3000, errors=1)),
        FailureSeen(START + SECOND_NS, "a", 1, 1, FAILURE),
        BarrierArrived(START + 2 * SECOND_NS, "a", 1, None),
        StageFinished(START + 2 * SECOND_NS, "", 1, "prepare"),
        BarrierReleased(START + 2 * SECOND_NS, "", 1, START + 3 * SECOND_NS, ("a",)),
        report("a", 3.0, 1.0, stats(Op.GET, 7, 200), stage=2),
    ]


def written(root: Path, outcome: Outcome | None) -> tuple[Path, Tally, RunWriter]:
    tally = Tally(STAGES)
    writer = RunWriter.create(root, META, tally, b"target: x\n", {"objects": 1})
    every = items()
    if outcome is not None:
        every.append(RunFinished(START + 5 * SECOND_NS, "", outcome.status, outcome.exit_code, outcome.failure))
    for item in every:
        writer.write(item, tally.apply(item))
    if outcome is not None:
        writer.finish(outcome, START + 5 * SECOND_NS)
    else:
        writer.flush()
    return writer.directory, tally, writer


def test_directories_are_named_in_utc_and_never_shared(tmp_path: Path) -> None:
    made = [make_directory(tmp_path, "dir/my config.yaml", START) for _ in range(3)]
    assert [path.name for path in made] == [
        "sai3-20231114-221320-my_config",
        "sai3-20231114-221320-my_config-2",
        "sai3-20231114-221320-my_config-3",
    ]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ResourceError, match=re.escape(str(file))):
        check_root(file / "below")
    check_root(tmp_path / "not" / "yet")


def test_names_cannot_leave_the_directory() -> None:
    assert safe_name("../../etc/passwd") == "_.._etc_passwd"
    assert safe_name("..") == "_"
    assert "/" not in safe_name("a/b")


def test_the_perf_log_has_the_columns_that_its_readers_know(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    assert " ".join(COLUMNS) == SPEC_COLUMNS
    lines = [line.split("\t") for line in (directory / "perf_log.tsv").read_text().splitlines()]
    assert {len(line) for line in lines} == {31}
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert [row["stage"] for row in rows] == ["prepare", "prepare", "execute"]
    assert [row["put_ops"] for row in rows] == ["10", "6", "0"]
    assert [row["meta_ops"] for row in rows] == ["2", "0", "0"]
    assert [row["errors"] for row in rows] == ["0", "1", "0"]
    assert [row["elapsed_s"] for row in rows] == ["1.000", "1.500", "1.000"]
    assert rows[1]["put_iops"] == "12.0"  # six in half a second
    # Latencies are the interval's own, not cumulative.
    assert float(rows[0]["put_p99_us"]) == pytest.approx(1000, rel=0.02)
    assert float(rows[1]["put_p50_us"]) == pytest.approx(3000, rel=0.02)
    agent = (directory / "agents" / "a" / "perf_log.tsv").read_text().splitlines()
    assert len(agent) == 4
    assert agent[1].startswith("a\t")


def test_the_perf_log_keeps_to_the_interval_asked_for(tmp_path: Path) -> None:
    tally = Tally(STAGES)
    writer = RunWriter.create(tmp_path, replace(META, perf_interval_s=2.0), tally, b"", None)
    for item in items():
        writer.write(item, tally.apply(item))
    writer.finish(Outcome("success", 0), START + 5 * SECOND_NS)
    for path in (writer.directory / "perf_log.tsv", writer.directory / "agents" / "a" / "perf_log.tsv"):
        rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
        # One and a half seconds of prepare are one row; a stage never shares one with another.
        assert [(row[2], row[3], row[12], row[14]) for row in rows] == [
            ("1.500", "prepare", "16", "10.7"),
            ("1.000", "execute", "0", "0.0"),
        ]


def test_the_stage_table_has_buckets_aggregates_and_agents(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    lines = (directory / "01_prepare_results.tsv").read_text().splitlines()
    assert lines[0] == "# Stage 01 Results: prepare (prepare)"
    assert lines[1:4] == ["# Agents: 1", "# Duration: 1.50s", ""]
    rows = [line.split("\t") for line in lines[5:9]]
    assert [row[:3] for row in rows[:2]] == [["PUT", "1B-8KiB", "1"], ["LIST", "1B-8KiB", "1"]]
    assert [(row[0], row[1], row[2], row[12]) for row in rows[2:]] == [
        ("META", "ALL", "97", "2"),
        ("PUT", "ALL", "99", "16"),
    ]
    assert lines[10:12] == [
        "# Per-Agent Details",
        "agent_id\tget_ops\tget_bytes\tput_ops\tput_bytes\tmeta_ops\tduration_s\terrors",
    ]
    assert lines[12] == "a\t0\t0\t16\t1600\t2\t1.50\t1"
    assert (directory / "02_execute_results.tsv").exists()
    endpoints = (directory / "01_prepare_endpoint_stats.tsv").read_text().splitlines()
    assert endpoints[1].split("\t")[:3] == ["0", "s3://e/", "18"]
    ledger = (directory / "populate_ledger.tsv").read_text().splitlines()
    assert [line.split("\t")[2] for line in ledger] == ["agent_id", "a", "AGGREGATE"]


def test_a_run_read_back_is_the_run_that_was_written(tmp_path: Path) -> None:
    outcome = Outcome("failed", 1, FAILURE, resume="sai3tui --batch tiny.yaml")
    directory, tally, _ = written(tmp_path, outcome)
    record = load_run(directory)

    assert record.stages == tally.views(START + 5 * SECOND_NS)
    assert record.series == tally.series
    assert record.failures == tally.failures
    assert record.log == tally.log
    assert record.meta == META
    assert record.outcome is not None
    assert record.outcome.failure == FAILURE
    assert record.endpoints[1][0].uri == "s3://e/"
    status = record.status_text
    assert "TEST STATUS: FAILURE" in status
    assert "Total operations: 25" in status
    for text in ("no bucket", "HTTP 404", "hint: make it", "sai3tui --batch tiny.yaml"):
        assert text in status
    for name in status[status.index("=== Files ===") :].splitlines()[1:]:
        assert (directory / name).is_file()


def test_a_run_whose_controller_died_can_be_read(tmp_path: Path) -> None:
    directory, _, writer = written(tmp_path, None)
    record = load_run(directory)
    assert record.outcome is None
    assert [stage.total_ops for stage in record.stages] == [18, 7]
    # The log breaks off in the second one.
    assert [stage.status for stage in record.stages] == [StageStatus.DONE, StageStatus.RUNNING]
    (entry,) = list_runs(tmp_path)
    assert entry.status == "unfinished"
    # As long as somebody writes there, the run goes on.
    assert record.live
    assert "still goes on" in open_end_text(record)
    writer.close()
    record = load_run(directory)
    assert not record.live
    assert "at most the last second" in open_end_text(record)
    assert record.doubts == ()


def test_a_run_that_was_killed_before_its_first_second_is_read(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path / "live", META, Tally(STAGES), b"target: x\n", None)
    shutil.copytree(writer.directory, tmp_path / "sai3-killed")
    writer.close()
    assert (tmp_path / "sai3-killed" / "metrics.zst").stat().st_size == 0
    record = load_run(tmp_path / "sai3-killed")
    assert (record.outcome, record.doubts, record.series.at_s) == (None, (), ())


def test_a_broken_directory_is_listed_with_its_problem(tmp_path: Path) -> None:
    written(tmp_path, Outcome("success", 0))
    (tmp_path / "sai3-broken").mkdir()
    (tmp_path / "sai3-rubbish").mkdir()
    (tmp_path / "sai3-rubbish" / "metadata.json").write_text("[]")
    (tmp_path / "something else").mkdir()
    (ours,) = (path for path in tmp_path.glob("sai3-*/metadata.json") if path.parent.name != "sai3-rubbish")
    (tmp_path / "sai3-words").mkdir()
    document = json.loads(ours.read_text())
    document["stages"][0]["ops"] = "many"
    (tmp_path / "sai3-words" / "metadata.json").write_text(json.dumps(document))
    entries = {entry.name: entry for entry in list_runs(tmp_path)}
    assert len(entries) == 4
    assert "many" in entries["sai3-words"].problem
    assert entries["sai3-broken"].problem
    assert entries["sai3-rubbish"].problem
    good = next(entry for entry in entries.values() if not entry.problem)
    assert (good.operations, good.errors, good.status, good.exit_code) == (25, 1, "success", 0)
    stage = load_run(good.path).stages[1]
    assert good.headline.stage == stage.name == "execute"
    assert good.headline.ops_per_s == pytest.approx(stage.rates.ops, rel=0.01)
    assert good.headline.p99_us == pytest.approx(stage.p99_us)
    with pytest.raises(Sai3Error, match="sai3-broken"):
        load_run(tmp_path / "sai3-broken")
    assert list_runs(tmp_path / "nowhere") == []


def test_metrics_are_good_up_to_where_the_file_breaks_off(tmp_path: Path) -> None:
    problems: list[ResourceError] = []
    log = MetricsLog(tmp_path / "metrics.zst", problems.append)
    reports = [report("agent", n, 1.0, stats(count=n + 1)) for n in range(20)]
    for item in reports[:10]:
        log.write(item)
    log.end_frame()
    for item in reports[10:]:
        log.write(item)
    log.close()
    path = tmp_path / "metrics.zst"
    whole = list(read_reports(path))
    assert [r.ops[0].ops for r in whole] == list(range(1, 21))
    assert everything(whole[3].ops[0].service) == everything(reports[3].ops[0].service)
    data = path.read_bytes()
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        try:
            found = [r.ops[0].ops for r in read_reports(path)]
        except ValueError:
            continue
        assert found == list(range(1, len(found) + 1))
    path.write_bytes(b"not zstd at all")
    with pytest.raises(ValueError, match="no metrics file"):
        list(read_reports(path))


@pytest.mark.parametrize(
    "event",
    [
        RunStarted(START, "", "r", "c", "h", ("a", "b"), False),
        AgentConnected(START, "a", "127.0.0.1:1", "1", "host", 4, -5, 6),
        StateChanged(START, "a", AgentState.LOST, 2, "why", FAILURE),
        Finding(START, "a", "write", "s3://x", Level.ERROR, "m", "e", "adv", 1.5, FAILURE),
        BarrierReleased(START, "", 1, START, ("a",), ("b",), "reason"),
        FailureSeen(START, "a", 1, 7, FAILURE),
        Note(START, "", Level.WARNING, "text", "code"),
        RunFinished(START, "", "failed", 1, None),
    ],
)
def test_events_survive_their_file(event: Event) -> None:
    assert parse_event(event_line(event)) == event


def test_an_arrival_keeps_its_summary_without_histograms() -> None:
    event = BarrierArrived(START, "a", 1, summary(stats(), 2.0))
    read = parse_event(event_line(event))
    assert isinstance(read, BarrierArrived)
    assert read.summary is not None
    assert read.summary.objects == Objects(10, 10, 2, 0, 1000, 1, 3)
    assert read.summary.ops == ()


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'"x"', b'{"type": "Level"}', b'{"type": "Note", "time_ns": "x"}'])
def test_what_is_no_event_is_skipped(line: bytes) -> None:
    assert parse_event(line) is None


def test_metadata_that_is_none_raises_value_error() -> None:
    for data in (b"", b"null", b"[]", b"{}", b'{"format": 1}', b'{"format": 99}'):
        with pytest.raises(ValueError):  # noqa: PT011 - any of them
            parse_metadata(data)


def test_metadata_is_there_from_the_start_with_times_in_utc(tmp_path: Path) -> None:
    directory, _, writer = written(tmp_path, None)
    document = json.loads((directory / "metadata.json").read_text())
    assert document["status"] == "running"
    assert document["start_time"] == "2023-11-14T22:13:20.000Z"
    assert document["agents"] == ["a (127.0.0.1:1)"]
    writer.finish(Outcome("success", 0), START + SECOND_NS)
    document = json.loads((directory / "metadata.json").read_text())
    assert (document["status"], document["exit_code"], document["duration_secs"]) == ("success", 0, 1.0)


def test_a_full_disk_is_one_problem_that_names_the_file(tmp_path: Path) -> None:
    tally = Tally(STAGES)
    writer = RunWriter.create(tmp_path, META, tally, b"", None)
    (writer.directory / "agents" / "a").mkdir(parents=True)
    (writer.directory / "agents" / "a" / "perf_log.tsv").symlink_to("/dev/full")
    for item in items():
        writer.write(item, tally.apply(item))
        writer.flush()
    writer.finish(Outcome("success", 0), START + SECOND_NS)
    (problem,) = writer.problems
    assert "agents/a/perf_log.tsv" in problem.message
    assert "No space left" in problem.message
    assert len((writer.directory / "perf_log.tsv").read_text().splitlines()) == 4


def test_failed_attempts_and_the_generators_own_limit_are_on_record(tmp_path: Path) -> None:
    reset = AttemptStats(ErrorKind.NETWORK, "reset", 0, "s3://e/", Op.GET, 3, 3, START, START + 5, "", "cut\toff")
    slow = AttemptStats(ErrorKind.THROTTLED, "http_5xx", 0, "s3://e/", Op.GET, 4, 1, START, START, "req-1", "slow down")
    whole = replace(
        summary(stats(Op.GET, 7, 200), 1.0),
        stage_index=2,
        failed_attempts=(slow, reset + reset),
        client_limited=True,
        client_limited_reason="a worker process used 99 % of its core",
    )
    tally = Tally(STAGES)
    writer = RunWriter.create(tmp_path, META, tally, b"", None)
    limited = replace(
        report("a", 3.0, 1.0, stats(Op.GET, 7, 200), stage=2),
        failed_attempts=(reset,),
        client_limited_reason="a network link was 95 % full",
    )
    for item in (*items()[:-1], limited):
        writer.write(item, tally.apply(item))
    (_, live) = tally.views(START)
    assert live.client_limited == "a: a network link was 95 % full"
    assert live.retries == 3
    for item in (
        BarrierArrived(START + 4 * SECOND_NS, "a", 2, whole),
        StageFinished(START + 5 * SECOND_NS, "", 2, "execute"),
        RunFinished(START + 5 * SECOND_NS, "", "success", 0, None),
    ):
        writer.write(item, tally.apply(item))
    writer.finish(Outcome("success", 0), START + 5 * SECOND_NS)
    table = [line.split("\t") for line in (writer.directory / "02_execute_attempts.tsv").read_text().splitlines()]
    rows = [dict(zip(table[0], line, strict=True)) for line in table[1:]]
    assert [
        (row["kind"], row["subclass"], row["operation"], row["failed_attempts"], row["made_again"]) for row in rows
    ] == [
        ("network", "reset", "GET", "6", "6"),
        ("throttled", "http_5xx", "GET", "4", "1"),
    ]
    assert rows[0]["message"] == "cut off"
    assert rows[1]["request_id"] == "req-1"
    assert rows[0]["first"].endswith("Z")
    assert not (writer.directory / "01_prepare_attempts.tsv").exists()
    text = (writer.directory / "02_execute_results.tsv").read_text()
    assert "# Limited by the load generator: a: a worker process used 99 % of its core\n" in text
    status = (writer.directory / "STATUS.txt").read_text()
    # One operation in a second: no verdict of long words on that.
    assert "stage 2 execute: too short to say what limited it; agents were at limits of their own\n" in status
    assert "10 attempts failed, 7 were made again: 6 x get network/reset at s3://e/, 4 x get throttled" in status
    # What is read back says the same.
    (_, read) = load_run(writer.directory).stages
    assert read.client_limited == "a: a worker process used 99 % of its core"
    assert [(each.count, each.request_id) for each in read.failed_attempts] == [(6, ""), (4, "req-1")]


def test_warm_up_is_flagged_and_left_out(tmp_path: Path) -> None:
    tally = Tally(STAGES)
    writer = RunWriter.create(tmp_path, META, tally, b"", None)
    warm = [
        replace(report("a", at, 1.0, stats(Op.GET, 100, 9000, errors=5), stage=2), warmup=True) for at in (0.0, 1.0)
    ]
    every: list[Event | Report] = [
        RunStarted(START, "", "r1", "tiny.yaml", "abc", ("a",)),
        BarrierReleased(START, "", 1, START, ("a",)),
        *warm,
        report("a", 2.0, 1.0, stats(Op.GET, 7, 200), stage=2),
    ]
    for item in every:
        writer.write(item, tally.apply(item))
    (_, view) = tally.views(START)
    assert (view.total_ops, view.errors, view.warmup_s) == (7, 0, 2.0)
    assert view.rates.get_ops == pytest.approx(7.0)
    assert view.rates.get_p99_us == pytest.approx(200, rel=0.02)
    writer.finish(Outcome("success", 0), START + 5 * SECOND_NS)
    rows = [line.split("\t") for line in (writer.directory / "perf_log.tsv").read_text().splitlines()[1:]]
    assert [(row[4], row[-1]) for row in rows] == [("100", "1"), ("100", "1"), ("7", "0")]
    text = (writer.directory / "02_execute_results.tsv").read_text()
    assert "# Warm-up left out: 2.00s" in text
    assert "# Duration: 1.00s" in text


def test_reports_that_crossed_on_their_way_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    """Also those of a run that is too long to be held in memory whole."""
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    (directory / "metrics.zst").unlink()
    problems: list[ResourceError] = []
    log = MetricsLog(directory / "metrics.zst", problems.append)
    rng = random.Random(1)
    reports = [report(f"a{n % 5}", n // 5, 1.0, stats(Op.GET, 3, 200)) for n in range(2000)]
    for item in sorted(reports, key=lambda each: each.end_ns + rng.randrange(2 * SECOND_NS)):
        log.write(item)
    log.close()
    (directory / "totals.zst").unlink()
    seen = list(read_items(directory))
    record = load_run(directory)
    ends = [item.end_ns for item in seen if isinstance(item, Report)]
    assert len(ends) == 2000
    assert problems == []
    assert ends == sorted(ends)
    assert record.stages[0].total_ops == 6000
    times = [item.end_ns if isinstance(item, Report) else item.time_ns for item in seen]
    assert times == sorted(times)
