"""Reports add up to the summary, whatever jobs a stage has and whenever they are read."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sai3tui.agent.clock import now_ns
from sai3tui.agent.figures import Totals
from sai3tui.agent.reporter import StageReporter
from sai3tui.agent.vitals import VitalsMeter
from sai3tui.config.ops import Op
from sai3tui.events import EndpointStats, Objects, OpStats, Report, merge_endpoints, merge_ops
from sai3tui.metrics.histogram import COARSE, Histogram


class Workers:
    """What a pool's `read` gives: totals since its current job began."""

    def __init__(self) -> None:
        self.job = 0
        self.latencies: list[int] = []

    def read(self) -> Totals:
        if not self.latencies:
            return Totals(self.job, 0)
        fine, coarse = Histogram(), Histogram(COARSE)
        fine.record(self.latencies)
        coarse.record(self.latencies)
        count = len(self.latencies)
        ops = OpStats(Op.PUT, 1, count, 10 * count, 0, count, fine)
        return Totals(self.job, 0, (ops,), (EndpointStats(0, "s3://a/", Op.PUT, count, 10 * count, 0, count, coarse),))


STEPS = st.lists(
    st.one_of(st.just("report"), st.just("next job"), st.lists(st.integers(1_000, 10**9), min_size=1, max_size=5)),
    max_size=30,
)


@given(STEPS)
def test_the_reports_of_a_stage_add_up_to_its_summary(steps: list[str | list[int]]) -> None:
    workers = Workers()
    workers.latencies = [5_000]  # of an earlier stage: not to be counted
    reports: list[Report] = []
    reporter = StageReporter("a", 1, 1, workers.read, Objects, reports.append, VitalsMeter())
    everything: list[int] = []
    fresh = True
    for step in steps:
        if step == "report":
            reporter.report()
        elif step == "next job" or (fresh and step != "report"):
            reporter.fold()
            workers.job += 1
            workers.latencies = []
            fresh = False
        if isinstance(step, list):
            workers.latencies += step
            everything += step
    reporter.report()
    summary = reporter.summary("load", "execute", 2_000_000_001)
    ops = merge_ops([report.ops for report in reports])
    assert sum(stats.ops for stats in summary.ops) == sum(stats.ops for stats in ops) == len(everything)
    assert sum(stats.ops for stats in summary.endpoints) == len(everything)
    assert summary.attempts == len(everything)
    if everything:
        (one,), (merged,) = summary.ops, ops
        assert (one.service.counts == merged.service.counts).all()
        assert one.service.max_us == merged.service.max_us == -(-max(everything) // 1000)
        (endpoint,) = merge_endpoints([report.endpoints for report in reports])
        assert endpoint.bytes == 10 * len(everything)
    assert reports[0].start_ns == 1
    assert all(before.end_ns == after.start_ns for before, after in pairwise(reports))
    assert summary.seconds == 2.0
    assert reporter.summary("load", "execute", 2_000_000_001, 1_000_000_001).seconds == 1.0


def test_what_is_reported_before_a_stage_is_ready_is_part_of_no_figure() -> None:
    workers = Workers()
    reports: list[Report] = []
    reporter = StageReporter("a", 1, 1, workers.read, Objects, reports.append, VitalsMeter(), gets_ready=True)
    reporter.report()
    begun_ns = now_ns()
    reporter.begin(begun_ns)
    workers.latencies = [1_000]
    reporter.report()
    assert [report.warmup for report in reports] == [True, False]
    assert reports[1].start_ns == begun_ns
    summary = reporter.summary("load", "execute", begun_ns + 500_000_000)
    assert (summary.start_ns, summary.seconds) == (begun_ns, 0.5)
