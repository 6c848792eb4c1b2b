"""The reducer: whatever way reports come in, sums are exact and figures are those of all samples together."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.ops import OPS, Op
from sai3tui.errors import ErrorContext, ErrorKind, Failure
from sai3tui.event_codec import summary_from_proto, summary_to_proto
from sai3tui.events import (
    AgentState,
    BarrierArrived,
    BarrierReleased,
    EndpointStats,
    Event,
    FailureSeen,
    Lateness,
    Objects,
    OpStats,
    Report,
    RunFinished,
    RunStarted,
    StageFinished,
    StageSummary,
    StateChanged,
    Vitals,
    merge_endpoints,
)
from sai3tui.metrics.histogram import COARSE, Histogram
from sai3tui.results.failures import MOST_GROUPS, FailureGroups
from sai3tui.results.figures import EndpointTable, by_group, endpoint_cells, rates_of, stage_json
from sai3tui.results.seconds import SECOND_NS, FleetSecond, SecondAligner
from sai3tui.results.status import stage_notes, stage_table
from sai3tui.results.tally import Tally
from sai3tui.results.views import StageInfo, StageStatus
from tests.test_metrics_histogram import everything, recorded

START = 1_700_000_000 * SECOND_NS
STAGES = (StageInfo(1, "prepare", "prepare"), StageInfo(2, "execute", "execute"))


def stats(op: Op = Op.GET, count: int = 10, latency_us: int = 1000, size: int = 100, errors: int = 0) -> OpStats:
    service = Histogram()
    service.record([latency_us * 1000] * count)
    return OpStats(op, 1, count, count * size, errors, count + errors, service, Histogram(), Histogram())


def report(agent: str, begin_s: float, seconds: float = 1.0, *ops: OpStats, stage: int = 1) -> Report:
    begin = START + int(begin_s * SECOND_NS)
    endpoint = EndpointStats(0, "s3://e/", Op.GET, sum(s.ops for s in ops))
    return Report(agent, stage, begin, begin + int(seconds * SECOND_NS), ops, (endpoint,), Objects(), Vitals())


@st.composite
def runs(draw: st.DrawFn) -> list[Report]:
    """Reports of up to four agents with ragged, gapless intervals, in an order in which they could arrive."""
    made = []
    for agent in range(draw(st.integers(1, 4))):
        at = 0.0
        for _ in range(draw(st.integers(1, 6))):
            seconds = draw(st.floats(0.01, 1.6))
            ops = [
                stats(draw(st.sampled_from(OPS)), draw(st.integers(0, 50)), draw(st.integers(1, 10**6)), 10)
                for _ in range(draw(st.integers(0, 3)))
            ]
            made.append((at + seconds + draw(st.floats(0, 2)), report(f"a{agent}", at, seconds, *ops)))
            at += seconds
    return [item for _, item in sorted(made, key=lambda pair: pair[0])]


@settings(max_examples=60, deadline=None)
@given(runs())
def test_no_operation_is_lost_or_counted_twice_by_seconds(reports: list[Report]) -> None:
    tally = Tally(STAGES)
    tally.apply(BarrierReleased(START, "", 0, START, tuple({r.agent for r in reports})))
    closed: list[FleetSecond] = []
    for item in reports:
        closed += tally.apply(item)
        closed += tally.tick(item.end_ns)
    closed += tally.apply(StageFinished(START + 100 * SECOND_NS, "", 1, "prepare"))

    whole = sum(s.ops for r in reports for s in r.ops)
    assert sum(second.ops.ops for second in closed) == whole
    assert tally.stages[1].figures.ops == whole
    assert sum(part.ops.ops for part in tally.stages[1].agents.values()) == whole
    assert sum(e.ops for ops in tally.stages[1].endpoints.by_uri().values() for e in ops.values()) == whole
    numbers = [second.number for second in closed]
    assert numbers == sorted(set(numbers))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 40)), min_size=1, max_size=20))
def test_percentiles_are_those_of_all_samples_together(parts: list[tuple[int, int]]) -> None:
    tally = Tally(STAGES)
    tally.apply(BarrierReleased(START, "", 0, START, ("a",)))
    for second, (latency, count) in enumerate(parts):
        tally.apply(report("a", second, 1.0, stats(Op.GET, count, latency)))
    whole = Histogram()
    for latency, count in parts:
        whole.record([latency * 1000] * count)
    view = tally.stages[1].view(START)
    assert view.rates.get_p99_us == whole.percentile_us(0.99)
    assert view.p50_us == whole.percentile_us(0.5)


ENDPOINTS = st.lists(
    st.builds(
        lambda number, op, samples: EndpointStats(
            number, f"s3://e{number % 2}/", op, len(samples), 8 * len(samples), 1, 2, recorded(samples, COARSE)
        ),
        st.integers(0, 3),
        st.sampled_from((Op.GET, Op.PUT)),
        st.lists(st.integers(0, 10**9), max_size=5),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ENDPOINTS, max_size=6), st.integers(1, 8), st.lists(st.integers(0, 5), max_size=3))
def test_endpoints_that_are_added_up_late_are_as_those_added_up_at_once(
    reports: list[list[EndpointStats]], most_waiting: int, read_after: list[int]
) -> None:
    table = EndpointTable(most_waiting)
    for number, endpoints in enumerate(reports):
        table.add(endpoints)
        if number in read_after:
            table.by_uri()
    found = [stats for per_op in table.by_uri().values() for stats in per_op.values()]
    assert list(map(spelled, found)) == list(map(spelled, merge_endpoints(reports)))


def spelled(stats: EndpointStats) -> tuple[object, ...]:
    counts = stats.ops, stats.bytes, stats.errors, stats.attempts
    return stats.endpoint, stats.uri, stats.op, counts, everything(stats.service)


@settings(max_examples=40, deadline=None)
@given(st.lists(ENDPOINTS, max_size=4))
def test_cells_of_many_agents_are_those_of_each(reports: list[list[EndpointStats]]) -> None:
    cells = endpoint_cells([(endpoints, 2.0) for endpoints in reports])
    for endpoints, mine in zip(reports, cells, strict=True):
        by_uri: dict[str, list[EndpointStats]] = {}
        for stats in sorted(endpoints, key=lambda each: each.endpoint):
            by_uri.setdefault(stats.uri, []).append(stats)
        assert [cell.uri for cell in mine] == list(by_uri)
        for cell, parts in zip(mine, by_uri.values(), strict=True):
            whole = Histogram(COARSE)
            for stats in parts:
                whole.merge(stats.service)
            assert cell.p99_us == whole.percentile_us(0.99)
            assert (cell.ops, cell.errors) == (sum(s.ops for s in parts) / 2.0, sum(s.errors for s in parts))


def test_rates_are_grouped_as_the_columns_are() -> None:
    rates = rates_of([stats(Op.GET, 10), stats(Op.PUT, 20), stats(Op.LIST, 3), stats(Op.STAT, 4, errors=2)], 2.0)
    assert (rates.get_ops, rates.put_ops, rates.meta_ops, rates.errors) == (5.0, 10.0, 3.5, 1.0)
    assert rates.get_bytes == 500.0
    assert rates_of([stats()], 0.0).get_ops == 0.0
    assert set(by_group([])) == {"get", "put", "meta"}


def test_agents_that_report_side_by_side_are_one_second() -> None:
    aligner = SecondAligner(1, START, ("a", "b"))
    assert aligner.add(report("a", 0.0, 1.0, stats(count=10))) == []
    (second,) = aligner.add(report("b", 0.05, 1.0, stats(count=30)))
    assert (second.number, second.ops.ops, second.rates.get_ops) == (0, 40, 40.0)


def test_a_silent_agent_holds_a_second_back_only_until_it_is_overdue() -> None:
    aligner = SecondAligner(1, START, ("a", "b"))
    assert aligner.add(report("a", 0.0, 1.0, stats(count=10))) == []
    assert aligner.tick(START + 2 * SECOND_NS) == []
    (second,) = aligner.tick(START + int(2.6 * SECOND_NS))
    assert second.ops.ops == 10
    # What comes too late is counted in the next second.
    assert aligner.add(report("b", 0.0, 1.0, stats(count=5))) == []
    assert [(s.number, s.ops.ops) for s in aligner.finish()] == [(1, 5)]


def test_an_agent_that_left_is_not_waited_for() -> None:
    aligner = SecondAligner(1, START, ("a", "b"))
    aligner.add(report("a", 0.0, 1.0, stats(count=10)))
    assert [s.ops.ops for s in aligner.leave("b")] == [10]


def shown(seconds: list[FleetSecond]) -> list[tuple[object, ...]]:
    return [(s.number, s.start_ns, s.end_ns, s.covered_ns, s.ops.counts()) for s in seconds]


class EveryTime(SecondAligner):
    """Looks up to when each agent has reported whenever one does."""

    def _complete(self) -> list[FleetSecond]:
        if not self._reporting:
            return self.finish()
        return self._close_through(min(map(self._reached, self._reporting)))


@settings(max_examples=100, deadline=None)
@given(runs(), st.lists(st.tuples(st.integers(0, 30), st.sampled_from(("leave", "tick", "restore")))))
def test_seconds_are_complete_when_they_are_for_one_that_looks_at_all_agents(
    reports: list[Report], happenings: list[tuple[int, str]]
) -> None:
    agents = sorted({item.agent for item in reports})
    both = SecondAligner(1, START, agents), EveryTime(1, START, agents)
    for number, item in enumerate(reports):
        closed = [aligner.add(item) for aligner in both]
        for _, kind in (each for each in happenings if each[0] == number):
            for aligner, found in zip(both, closed, strict=True):
                if kind == "leave":
                    found += aligner.leave(item.agent)
                elif kind == "tick":
                    found += aligner.tick(item.end_ns)
                else:
                    aligner.restore(*aligner.state())
        assert shown(closed[0]) == shown(closed[1])
        (mine, *my_rest), (theirs, *their_rest) = both[0].state(), both[1].state()
        assert (shown(mine), my_rest) == (shown(theirs), their_rest)


def test_a_sliver_at_the_end_is_counted_but_has_no_rate() -> None:
    tally = Tally(STAGES)
    tally.apply(RunStarted(START))
    tally.apply(BarrierReleased(START, "", 0, START, ("a",)))
    tally.apply(report("a", 0.0, 1.0, stats(count=10)))
    tally.apply(report("a", 1.0, 0.01, stats(count=5)))
    tally.apply(StageFinished(START + 2 * SECOND_NS, "", 1, "prepare"))
    assert tally.series.ops == (10.0,)
    assert tally.stages[1].figures.ops == 15


def summary(agent_ops: OpStats, seconds: float) -> StageSummary:
    return StageSummary(1, "prepare", "prepare", seconds, (agent_ops,), (), Objects(10, 10, 2, 0, 1000, 1, 3))


def test_a_stage_from_its_release_to_its_end() -> None:
    tally = Tally(STAGES)
    tally.apply(RunStarted(START))
    tally.apply(BarrierReleased(START, "", 0, START, ("a", "b")))
    assert tally.stages[1].status is StageStatus.RUNNING
    tally.apply(report("a", 0.0, 1.0, stats(count=10)))
    tally.apply(report("b", 0.0, 1.0, stats(count=10)))
    tally.apply(BarrierArrived(START + 2 * SECOND_NS, "a", 1, summary(stats(count=10), 2.0)))
    view = tally.stages[1].view(START + 5 * SECOND_NS)
    assert (view.status, view.waiting_for, view.waiting_s) == (StageStatus.AT_BARRIER, ("b",), 3.0)
    tally.apply(BarrierArrived(START + 6 * SECOND_NS, "b", 1, summary(stats(count=10), 5.0)))
    tally.apply(StageFinished(START + 6 * SECOND_NS, "", 1, "prepare"))
    view = tally.stages[1].view(START + 60 * SECOND_NS)
    assert view.status is StageStatus.DONE
    assert view.elapsed_s == 5.0  # of the slowest agent, not of the clock on the wall
    assert view.arrived == (("a", 0.0), ("b", 4.0))
    assert (view.done, view.planned, view.existed, view.repeated_puts) == (24, 20, 4, 6)
    assert view.rates.get_ops == 4.0


def test_how_late_a_rate_was_is_that_of_all_agents_and_in_the_results() -> None:
    tally = Tally(STAGES)
    tally.apply(RunStarted(START))
    tally.apply(BarrierReleased(START, "", 0, START, ("a", "b")))
    for agent, late in (
        ("a", Lateness(10, 20_000_000, 9_000_000, 0)),
        ("b", Lateness(30, 60_000_000, 4_000_000, 10**9)),
    ):
        sent = summary_from_proto(summary_to_proto(replace(summary(stats(count=10), 2.0), lateness=late)))
        assert sent.lateness == late
        tally.apply(BarrierArrived(START + 2 * SECOND_NS, agent, 1, sent))
    view = tally.stages[1].view(START + 3 * SECOND_NS)
    assert view.lateness == Lateness(40, 80_000_000, 9_000_000, 10**9)
    assert stage_json(view)["lateness"] == {
        "begun": 40,
        "late_ns": 80_000_000,
        "latest_ns": 9_000_000,
        "behind_ns": 10**9,
    }
    (said,) = [line for line in stage_notes([view]) if "late" in line]
    assert "was not delivered: operations began 2.00 ms late on average, 9.0 ms at most" in said


def test_a_run_that_stops_in_a_stage_marks_what_was_not_reached() -> None:
    tally = Tally(STAGES)
    failure = Failure(ErrorKind.NETWORK, "down", context=ErrorContext(agent="a"))
    tally.apply(BarrierReleased(START, "", 0, START, ("a",)))
    tally.apply(report("a", 0.0, 1.0, stats(count=10)))
    tally.apply(RunFinished(START + SECOND_NS, "", "failed", 1, failure))
    assert [view.status for view in tally.views(START)] == [StageStatus.FAILED, StageStatus.SKIPPED]
    assert tally.stages[1].figures.ops == 10
    assert [group.sample for group in tally.failures] == [failure]


def test_failures_of_one_cause_are_one_group_whatever_the_object() -> None:
    tally = Tally(STAGES)
    for number in range(5):
        uri = f"s3://b/{number}"
        sample = Failure(ErrorKind.STORAGE, f"PUT {uri} failed", context=ErrorContext(uri=uri, http_status=500))
        tally.apply(FailureSeen(START + number, f"a{number % 2}", 1, 10, sample))
    (group,) = tally.failures
    assert (group.count, group.agents, group.first_ns, group.last_ns) == (50, ("a0", "a1"), START, START + 4)


def test_causes_are_bounded() -> None:
    groups = FailureGroups()
    for number in range(3 * MOST_GROUPS):
        groups.add(Failure(ErrorKind.STORAGE, f"cause {number}"), 1, "a", number)
    found = groups.groups()
    assert len(found) == MOST_GROUPS + 1
    assert sum(group.count for group in found) == 3 * MOST_GROUPS


def test_the_same_items_give_the_same_figures() -> None:
    items: list[Event | Report] = [
        RunStarted(START),
        BarrierReleased(START, "", 0, START, ("a",)),
        report("a", 0.0, 1.0, stats(count=10)),
        StageFinished(START + SECOND_NS, "", 1, "prepare"),
    ]
    views = []
    for _ in range(2):
        tally = Tally(STAGES)
        for item in items:
            tally.apply(item)
        views.append((tally.views(START), tally.series, tally.log))
    assert views[0] == views[1]


def test_what_fails_again_and_again_is_told_now_and_then_with_its_count() -> None:
    tally = Tally(STAGES)
    for tenth in range(60):
        sample = Failure(ErrorKind.STORAGE, "HTTP 500", context=ErrorContext(op="get", uri=f"s3://b/{tenth}"))
        tally.apply(FailureSeen(START + tenth * SECOND_NS // 10, "a", 1, 2, sample))
    assert [line.text for line in tally.log] == [
        "2 x GET s3://b/0: HTTP 500",
        "100 x GET s3://b/50: HTTP 500",
    ]


def test_what_an_agent_did_before_it_was_lost_is_no_zero() -> None:
    tally = Tally(STAGES)
    tally.apply(BarrierReleased(START, "", 0, START, ("a", "b")))
    tally.apply(report("b", 0.0, 1.0, stats(Op.PUT, 7)))
    tally.apply(BarrierArrived(START + SECOND_NS, "b", 1, summary(stats(Op.PUT, 7), 1.0)))
    tally.apply(StateChanged(START + SECOND_NS, "a", AgentState.LOST, 0, "gone"))
    failure = Failure(ErrorKind.AGENT_LOST, "agent a is gone")
    tally.apply(StageFinished(START + 2 * SECOND_NS, "", 1, "prepare", failure))
    tally.apply(RunFinished(START + 2 * SECOND_NS, "", "failed", 1, failure))
    prepare = tally.views(START + 3 * SECOND_NS)[0]
    assert prepare.unreported == ("a",)
    assert ">= 7" in stage_table([prepare])[1]
    assert any("what a did after the last report" in line for line in stage_notes([prepare]))


def test_what_is_not_known_of_stages_before_an_agent_was_lost_is_no_zero() -> None:
    """Its controller is gone too: nobody has heard what `c` did, and of `a` in the second stage."""
    tally = Tally(STAGES)
    tally.apply(BarrierReleased(START, "", 0, START, ("a", "b", "c")))
    for agent in "ab":
        tally.apply(BarrierArrived(START + SECOND_NS, agent, 1, summary(stats(Op.PUT, 7), 1.0)))
    tally.apply(StageFinished(START + SECOND_NS, "", 1, "prepare"))
    tally.apply(BarrierReleased(START + SECOND_NS, "", 1, START + SECOND_NS, ("a", "b")))
    for agent in "ac":
        tally.apply(StateChanged(START + 2 * SECOND_NS, agent, AgentState.LOST, 0, "gone"))
    tally.apply(BarrierArrived(START + 2 * SECOND_NS, "b", 2, summary(stats(Op.GET, 5), 1.0)))
    tally.apply(StageFinished(START + 2 * SECOND_NS, "", 2, "execute"))
    tally.apply(RunFinished(START + 2 * SECOND_NS, "", "incomplete", 6))
    prepare, execute = tally.views(START + 3 * SECOND_NS)
    assert prepare.unreported == ("c",)
    assert ">= 14" in stage_table([prepare])[1]
    assert execute.unreported == ("a",)


def test_a_stage_that_was_aborted_did_not_fail() -> None:
    tally = Tally(STAGES)
    tally.apply(BarrierReleased(START, "", 0, START, ("a",)))
    tally.apply(report("a", 0.0, 1.0, stats(Op.PUT, 7)))
    tally.apply(RunFinished(START + SECOND_NS, "", "aborted", 130))
    prepare, execute = tally.views(START + SECOND_NS)
    assert (prepare.status, execute.status) == (StageStatus.ABORTED, StageStatus.SKIPPED)
    assert prepare.unreported == ()
