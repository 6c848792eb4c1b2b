"""Long runs: what metrics.zst keeps of them, and that nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind
from sai3tui.event_codec import agent_event_from_proto, report_from_proto, report_to_proto
from sai3tui.events import AttemptStats, BarrierReleased, EndpointStats, OpStats, Report
from sai3tui.metrics.histogram import COARSE
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.figures import EndpointTable, OpTable
from sai3tui.results.metrics_log import MetricsLog, read_reports
from sai3tui.results.rollup import RollUp, resolution_s
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.tally import Tally
from tests.test_metrics_histogram import everything, recorded
from tests.test_results_figures import STAGES, START, report, stats

OPS_OF_A_REPORT = st.tuples(st.sampled_from([Op.GET, Op.PUT]), st.integers(0, 2))


def no_error(error: Exception) -> None:
    raise error


def figures(reports: list[Report]) -> tuple[object, ...]:
    tally = Tally(STAGES)
    tally.apply(BarrierReleased(START, "", 0, START, tuple({r.agent for r in reports})))
    for item in reports:
        tally.apply(item)
    stage = tally.stages[1]
    whole = stage.figures
    endpoint = [(s.ops, s.service.count) for ops in stage.endpoints.by_uri().values() for s in ops.values()]
    return (
        whole.ops,
        whole.bytes,
        whole.errors,
        whole.attempts,
        whole.service.count,
        whole.service.max_us,
        whole.percentile_us(0.5),
        whole.percentile_us(0.99),
        endpoint,
        stage.seconds,
        stage.warmup_s,
    )


def test_resolution_follows_the_age_of_the_run() -> None:
    assert [resolution_s(age) for age in (0, 599, 600, 7199, 7200, 10**6)] == [1, 1, 10, 10, 60, 60]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(1, 10**6)), min_size=1, max_size=60))
def test_totals_and_percentiles_survive_the_roll_up(rows: list[tuple[str, int, int]]) -> None:
    """Also with a warm-up that ends in the middle of a block."""
    given_reports = [
        replace(report(agent, 598.0 + n * 7, 1.0, stats(Op.GET, count, latency, errors=1)), warmup=n < 5)
        for n, (agent, count, latency) in enumerate(rows)
    ]
    first = report("a", 0, 1.0, stats(Op.PUT, 3))
    rollup = RollUp()
    records = [part for item in (first, *given_reports) for part in rollup.add(item)] + rollup.flush()
    stored = [report_from_proto(pb.Report.FromString(message), agent) for agent, message in records]
    assert figures(stored) == figures([first, *given_reports])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(OPS_OF_A_REPORT, st.integers(1, 10**6)), max_size=4), min_size=1, max_size=25))
def test_histograms_of_a_block_are_those_of_its_reports(rows: list[list[tuple[tuple[Op, int], int]]]) -> None:
    """Of every operation, size, endpoint and kind, bin by bin, whichever of them a report has."""
    said = []
    for n, row in enumerate(rows):
        ops = [
            OpStats(op, bucket, 1, 0, 0, 1, *(recorded([us * 1000 * k]) for k in (1, 2, 3))) for (op, bucket), us in row
        ]
        endpoints = [
            EndpointStats(k, f"s3://e{us % 3}/", Op.GET, 1, 0, 0, 1, recorded([us], COARSE))
            for k, (_, us) in enumerate(row)
        ]
        said.append(replace(report("a", 7300.0 + n, 1.0), ops=tuple(ops), endpoints=tuple(endpoints)))
    rollup = RollUp(START)
    records = [part for item in said for part in rollup.add(item)] + rollup.flush()
    stored = [report_from_proto(pb.Report.FromString(message), agent) for agent, message in records]

    def whole(reports: list[Report]) -> tuple[object, ...]:
        ops, endpoints = OpTable(), EndpointTable()
        for item in reports:
            ops.add(item.ops)
            endpoints.add(item.endpoints)
        return (
            [(s.op, s.bucket, s.ops, *map(everything, (s.service, s.scheduled, s.ttfb))) for s in ops.rows()],
            {
                uri: {op: (s.ops, everything(s.service)) for op, s in of.items()}
                for uri, of in endpoints.by_uri().items()
            },
        )

    assert whole(stored) == whole(said)
    assert sum(item.start_ns == item.end_ns for item in stored) == 1


def test_an_old_run_is_stored_with_few_histograms(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.zst", no_error)
    for second in range(590, 800):
        log.write(report("a", second, 1.0, stats(Op.GET, 5, 1000 + second)))
    log.close()
    # The age counts from the first report.
    early = MetricsLog(tmp_path / "early.zst", no_error)
    early.write(report("a", 0, 1.0, stats(Op.GET, 5)))
    for second in range(590, 800):
        early.write(report("a", second, 1.0, stats(Op.GET, 5, 1000 + second)))
    early.close()

    whole, rolled = (list(read_reports(tmp_path / name)) for name in ("metrics.zst", "early.zst"))
    assert all(r.ops[0].service.count == 5 for r in whole)
    spans = [r for r in rolled if r.end_ns == r.start_ns]
    assert len(spans) == pytest.approx(21, abs=1)
    assert sum(s.service.count for r in rolled for s in r.ops) == 211 * 5
    assert sum(s.ops for r in rolled for s in r.ops) == 211 * 5


def test_the_message_that_came_is_what_is_stored_on_our_clock(tmp_path: Path) -> None:
    attempt = AttemptStats(ErrorKind.NETWORK, "reset", 0, "s3://e/", Op.GET, 2, 2, START, START + 5, "id", "gone")
    said = replace(report("a", 0, 1.0, stats(Op.GET, 5)), failed_attempts=(attempt,))
    message = pb.AgentMessage(agent_time_ns=START, report=report_to_proto(said))
    offset = 7 * SECOND_NS
    heard = agent_event_from_proto(message, "a", offset)
    assert isinstance(heard, Report)
    assert heard.wire is not None

    log = MetricsLog(tmp_path / "metrics.zst", no_error)
    log.write(heard)
    log.close()
    (read,) = read_reports(tmp_path / "metrics.zst")
    assert (read.start_ns, read.end_ns) == (START + offset, START + SECOND_NS + offset)
    assert read.failed_attempts == heard.failed_attempts
    assert read.ops[0].service.percentile_us(0.5) == heard.ops[0].service.percentile_us(0.5)
    assert message.report.start_ns == START
