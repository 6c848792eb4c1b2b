"""Thresholds: what they say while a run goes on, at its end, and in the files."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.load import load_config
from sai3tui.config.metric_names import LatencyKind, Metric, Quantity, parse_metric
from sai3tui.config.ops import Op
from sai3tui.config.problems import Level
from sai3tui.config.thresholds import Bound, Threshold, ThresholdScope, Unit
from sai3tui.config.units import UnitError
from sai3tui.controller.journal import judged
from sai3tui.errors import ErrorKind, Failure
from sai3tui.events import BarrierReleased, Report, StageFinished
from sai3tui.metrics.histogram import Histogram
from sai3tui.results.ci import CiRun, junit_xml, markdown_summary
from sai3tui.results.metadata import metadata_json, parse_metadata
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.sliding import Sliding
from sai3tui.results.tally import Tally
from sai3tui.results.threshold_text import threshold_from_json, threshold_json, threshold_table, verdict
from sai3tui.results.thresholds import Judge, ThresholdStatus, ThresholdView, figure, margin
from sai3tui.results.views import Outcome, StageInfo, StageStatus, StageView
from tests.test_results_figures import START, report, stats
from tests.test_results_files import META

STAGES = (StageInfo(1, "prepare", "prepare"), StageInfo(2, "execute", "execute"))


def limit(metric: str, *, low: float | None = None, high: float | None = None, **more: object) -> Threshold:
    bounds = [Bound(value) if value is not None else None for value in (low, high)]
    return Threshold(metric, *bounds, **more)  # type: ignore[arg-type]


class Play:
    """A stage of which every second is given; the judge looks after each."""

    def __init__(self, *thresholds: Threshold, stage: int = 2, agents: tuple[str, ...] = ("a",), **more: object):
        self.tally = Tally(STAGES)
        self.judge = Judge(thresholds, STAGES, **more)  # type: ignore[arg-type]
        self.stage = stage
        self.coverage = 1.0
        self.tally.apply(BarrierReleased(START, "", stage - 1, START, agents))

    def give(self, *reports: Report) -> None:
        for item in reports:
            closed = self.tally.apply(item)
            self.judge.report(item)
            for second in closed:
                self.judge.second(second)
                self.judge.look(self.tally.stages[second.stage_index], self.coverage, second.end_ns)

    def second(self, number: int, *ops: object, agent: str = "a") -> None:
        self.give(report(agent, number, 1.0, *ops, stage=self.stage))  # type: ignore[arg-type]

    def end(self, at_s: float) -> ThresholdView:
        now = START + int(at_s * SECOND_NS)
        self.tally.apply(StageFinished(now, "", self.stage, "execute"))
        self.judge.settle(self.tally.stages[self.stage], self.coverage, now)
        return self.view

    @property
    def view(self) -> ThresholdView:
        return next(view for view in self.judge.views if view.stage_index == self.stage)


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("throughput", Metric(Quantity.THROUGHPUT)),
        ("put.throughput", Metric(Quantity.THROUGHPUT, "put")),
        ("get.p99", Metric(Quantity.LATENCY, "get", quantile=0.99)),
        ("p99.9", Metric(Quantity.LATENCY, quantile=0.999)),
        ("meta.ttfb.max", Metric(Quantity.LATENCY, "meta", LatencyKind.TTFB, 1.0)),
        ("get.scheduled.mean", Metric(Quantity.LATENCY, "get", LatencyKind.SCHEDULED)),
        ("errors.rate", Metric(Quantity.ERROR_RATE)),
        ("delete.errors", Metric(Quantity.ERRORS, "delete")),
        ("coverage", Metric(Quantity.COVERAGE)),
        ("vs_baseline.get.ops", Metric(Quantity.OPS, "get", against_baseline=True)),
    ],
)
def test_metrics_have_names(text: str, metric: Metric) -> None:
    found = parse_metric(text)
    assert (found.quantity, found.operation, found.kind, found.against_baseline) == (
        metric.quantity,
        metric.operation,
        metric.kind,
        metric.against_baseline,
    )
    assert (found.quantile is None) == (metric.quantile is None)
    assert math.isclose(found.quantile or 0.0, metric.quantile or 0.0)


@pytest.mark.parametrize(
    "text",
    ["", "p", "p100", "get", "list.throughput", "get.coverage", "vs_baseline.coverage", "get.get.p99", "get.p99x"],
)
def test_what_is_no_metric(text: str) -> None:
    with pytest.raises(UnitError):
        parse_metric(text)


BASE = """\
target: s3://10.0.0.1/b/
prepare: {ensure_objects: [{base_uri: d/, count: 10, size_spec: 1KiB}]}
workload: [{op: get, path: "d/*", weight: 1}]
thresholds: [%s]
"""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{metric: get.p99, max: 50}", "unit"),
        ("{metric: throughput, min: 5ms}", "unit"),
        ("{metric: ops, min: 10%}", "unit"),
        ("{metric: errors.rate, max: 2}", "unit"),
        ("{metric: vs_baseline.get.p99, max: 5ms}", "unit"),
        ("{metric: latency, max: 5ms}", "metric"),
        ("{metric: ops, min: 10, max: 5}", "range"),
        ("{metric: coverage, min: 100%, window: 5s}", "range"),
        ("{metric: ops, min: 1, window: 100ms}", "range"),
        ("{metric: coverage, min: 100%, scope: agent}", "scope"),
        ("{metric: get.ttfb.p99, max: 1s, scope: endpoint}", "scope"),
        ("{metric: vs_baseline.ops, min: -5%, scope: agent}", "scope"),
        ("{metric: ops, min: 1, stage: nowhere}", "stage"),
    ],
)
def test_a_threshold_that_cannot_be_judged_is_an_error_of_the_file(text: str, code: str) -> None:
    problems = load_config(BASE % text, "x.yaml").problems
    assert [p.code for p in problems if p.level is Level.ERROR] == [code]


def test_a_metric_that_nothing_measures_is_a_warning() -> None:
    found = load_config(BASE % "{metric: stat.p99, max: 1s}, {metric: put.p99, max: 1s}", "x.yaml")
    assert found.config is not None
    assert ["stat.p99" in p.message for p in found.problems if p.code == "threshold"] == [True]


def test_the_whole_stage_counts_by_what_it_comes_to() -> None:
    play = Play(limit("ops", low=80.0, stage="execute"))
    for number, count in enumerate((10, 50, 60)):
        play.second(number, stats(Op.GET, count))
    assert (play.view.status, play.view.value, play.view.failed) == (ThresholdStatus.MISSED, 40.0, True)
    assert play.view.margin == -0.5
    assert play.view.since_ns == START + 3 * SECOND_NS
    for number in range(3, 6):
        play.second(number, stats(Op.GET, 200))
    view = play.end(6)
    assert (view.status, view.failed, view.value, view.worst) == (ThresholdStatus.MET, False, 120.0, 40.0)
    assert view.missed_s == 1.0
    assert [(c.met, c.time_ns - START) for c in play.judge.take_crossings()] == [
        (False, 3 * SECOND_NS),
        (True, 4 * SECOND_NS),
    ]
    assert play.judge.take_crossings() == []
    assert play.judge.finish(whole=True)


def test_nothing_is_said_of_the_first_seconds_but_a_short_stage_is_judged() -> None:
    play = Play(limit("ops", low=80.0, stage="execute"))
    play.second(0, stats(Op.GET, 1))
    assert play.view.status is ThresholdStatus.UNMEASURED
    assert play.end(1).status is ThresholdStatus.MISSED


def test_a_window_that_was_missed_for_longer_than_its_grace_stays_missed() -> None:
    play = Play(limit("ops", low=80.0, stage="execute", window=2.0, grace=2.0))
    for number, count in enumerate((100, 100, 20, 100, 100)):
        play.second(number, stats(Op.GET, count))
    assert (play.view.status, play.view.failed) == (ThresholdStatus.MET, False)
    for number in range(5, 10):
        play.second(number, stats(Op.GET, 20))
    assert play.view.failed
    for number in range(10, 14):
        play.second(number, stats(Op.GET, 100))
    view = play.end(14)
    assert (view.status, view.failed, view.worst) == (ThresholdStatus.MET, True, 20.0)
    assert verdict(view) == "MISSED"
    assert not play.judge.finish(whole=True)


def test_abort_waits_for_the_grace() -> None:
    play = Play(limit("ops", low=80.0, stage="execute", window=1.0, grace=3.0, abort=True))
    for number in range(4):
        play.second(number, stats(Op.GET, 20))
    first_missed = START + SECOND_NS
    assert play.judge.breach(first_missed + 3 * SECOND_NS - 1) is None
    found = play.judge.breach(first_missed + 3 * SECOND_NS)
    assert found is not None
    assert "ops >= 80 over 1s in execute: 20" in found.sentence


def test_a_miss_that_its_grace_forgives_ends_with_its_stage() -> None:
    play = Play(limit("ops", low=80.0, stage="execute", window=1.0, grace=30.0, abort=True))
    play.second(0, stats(Op.GET, 20))
    play.end(1)
    assert play.judge.breach(START + 1000 * SECOND_NS) is None


def test_each_agent_is_judged_and_the_worst_is_named() -> None:
    play = Play(
        limit("get.p99", high=0.01, stage="execute", scope=ThresholdScope.AGENT),
        agents=("a", "b", "c"),
    )
    for number in range(3):
        for agent, latency in (("a", 1000), ("b", 30_000), ("c", 20_000)):
            play.second(number, stats(Op.GET, 10, latency), agent=agent)
    view = play.end(3)
    assert (view.subject, view.missing, view.subjects) == ("b", ("b", "c"), 3)
    assert view.value == pytest.approx(0.03, rel=0.02)
    assert "b and 1 more of 3" in threshold_table([view])[1]


def test_windows_of_agents_and_endpoints_slide_too() -> None:
    play = Play(
        limit("ops", low=5.0, stage="execute", scope=ThresholdScope.AGENT, window=2.0),
        agents=("a", "b"),
    )
    for number in range(4):
        play.second(number, stats(Op.GET, 100), agent="a")
        play.second(number, *([stats(Op.GET, 100)] if number < 1 else []), agent="b")
    assert (play.view.subject, play.view.value, play.view.failed) == ("b", 0.0, True)
    endpoint = Play(limit("ops", low=5.0, stage="execute", scope=ThresholdScope.ENDPOINT, window=2.0))
    for number in range(4):
        endpoint.second(number, stats(Op.GET, 100 if number < 1 else 2))
    assert (endpoint.view.subject, endpoint.view.value, endpoint.view.failed) == ("s3://e/", 2.0, True)


def test_warm_up_is_not_judged() -> None:
    play = Play(limit("ops", low=80.0, stage="execute", window=1.0))
    play.give(replace(report("a", 0, 1.0, stats(Op.GET, 1), stage=2), warmup=True))
    assert play.view.status is ThresholdStatus.UNMEASURED
    play.second(1, stats(Op.GET, 100))
    assert not play.end(2).failed


def test_coverage_is_judged_at_every_moment() -> None:
    play = Play(limit("coverage", low=1.0, stage="execute"))
    play.second(0, stats())
    assert play.view.status is ThresholdStatus.MET
    play.coverage = 0.5
    play.second(1, stats())
    play.coverage = 1.0
    play.second(2, stats())
    assert (play.view.status, play.view.failed, play.view.worst) == (ThresholdStatus.MET, True, 0.5)


def test_what_was_never_measured_is_not_met_unless_the_run_broke_off() -> None:
    for whole in (True, False):
        play = Play(limit("stat.p99", high=1.0, stage="execute"))
        play.second(0, stats(Op.GET))
        play.end(1)
        assert play.judge.finish(whole=whole) is not whole
        assert verdict(play.view) == ("NOT MEASURED" if whole else "not measured")


def test_a_rate_of_nothing_is_zero_for_the_stage_that_is_named() -> None:
    named = Play(limit("put.throughput", low=1.0, stage="execute"))
    named.second(0, stats(Op.GET))
    assert (named.end(1).value, named.view.failed) == (0.0, True)
    anywhere = Play(limit("put.throughput", low=1.0))
    anywhere.second(0, stats(Op.GET))
    assert anywhere.end(1).status is ThresholdStatus.UNMEASURED


def test_a_stage_that_did_not_measure_it_is_left_out_once_another_has() -> None:
    play = Play(limit("get.p99", high=1.0))
    play.second(0, stats(Op.GET))
    play.end(1)
    play.judge.finish(whole=True)
    assert [view.stage for view in play.judge.views] == ["execute"]


def test_a_baseline_is_what_differences_are_taken_from() -> None:
    baseline = {("get.ops", "execute", "execute"): 200.0}
    play = Play(limit("vs_baseline.get.ops", low=-0.05, stage="execute"), baseline=baseline)
    for number in range(3):
        play.second(number, stats(Op.GET, 180))
    view = play.end(3)
    assert view.value == pytest.approx(-0.1)
    assert (view.failed, view.unit) == (True, "%")


ROWS = st.lists(
    st.lists(
        st.builds(
            stats, st.sampled_from((Op.GET, Op.PUT, Op.STAT)), st.integers(0, 40), st.integers(1, 10**6), st.just(10)
        ),
        max_size=3,
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(ROWS, st.integers(1, 6), st.sampled_from(("get.p99", "p50", "max", "mean", "throughput", "ops", "errors.rate")))
def test_a_window_shows_what_its_last_seconds_alone_would_show(
    seconds: list[list[object]], width: int, name: str
) -> None:
    metric = parse_metric(name)
    window = Sliding(float(width))
    for number, rows in enumerate(seconds, 1):
        window.add(metric, rows, 1.0)  # type: ignore[arg-type]
        last = [row for each in seconds[max(0, number - width) : number] for row in each]
        alone = figure(metric, last, float(min(number, width)))  # type: ignore[arg-type]
        found = window.figure(metric, named=True)
        assert (found is None) == (alone is None)
        assert found is None or alone is None or math.isclose(found, alone, rel_tol=1e-9)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_a_verdict_agrees_with_its_margin(seconds: list[list[object]]) -> None:
    play = Play(limit("get.p99", high=0.3, stage="execute"), limit("ops", low=20.0, stage="execute"))
    for number, rows in enumerate(seconds):
        play.second(number, *rows)
    play.end(len(seconds))
    for view in play.judge.views:
        if view.margin is not None:
            assert view.failed == (view.margin < 0)
            assert view.value is not None
            bound = view.maximum if view.maximum is not None else view.minimum
            assert bound is not None
            assert view.failed == (view.value > bound if view.maximum is not None else view.value < bound)
        assert threshold_from_json(json.loads(json.dumps(threshold_json(view)))) == view


def test_margins_are_shares_of_the_bound() -> None:
    assert margin(40, None, Bound(50)) == pytest.approx(0.2)
    assert margin(60, None, Bound(50)) == pytest.approx(-0.2)
    assert margin(90, Bound(100), Bound(200)) == pytest.approx(-0.1)
    assert margin(-0.1, Bound(-0.05, Unit.SHARE), None) == pytest.approx(-1.0)
    assert margin(1, None, Bound(0)) is None


def test_a_sum_of_latencies_is_a_mean() -> None:
    histogram = Histogram()
    histogram.record([1_000_000, 3_000_000])
    row = replace(stats(Op.GET, 0), service=histogram, ops=2)
    assert figure(parse_metric("get.mean"), [row], 1.0) == pytest.approx(0.002)


def test_the_exit_code_is_four_only_where_nothing_worse_happened() -> None:
    assert judged(Outcome("success", 0), met=False) == Outcome("threshold_missed", 4)
    assert judged(Outcome("incomplete", 6), met=False).exit_code == 4
    assert judged(Outcome("incomplete", 6), met=True).exit_code == 6
    assert judged(Outcome("failed", 1), met=False).exit_code == 1
    assert judged(Outcome("aborted", 130), met=False).exit_code == 130


def view(**more: object) -> ThresholdView:
    known = ThresholdView("get.p99 <= 50 ms", "get.p99", "fleet", 2, "execute", "s", None, 0.05)
    return replace(known, **more)  # type: ignore[arg-type]


MISSED = view(status=ThresholdStatus.MISSED, failed=True, value=0.0612, margin=-0.224, worst=0.08)


def test_metadata_gives_them_back(tmp_path: Path) -> None:
    document = metadata_json(META, (), Outcome("threshold_missed", 4), START, (MISSED, view()))
    read = parse_metadata(document)
    assert read.thresholds == (MISSED, view())
    assert read.outcome == Outcome("threshold_missed", 4)


def test_junit_has_a_case_for_the_run_each_stage_and_each_threshold() -> None:
    failure = Failure(ErrorKind.STORAGE, "it\x00 broke <&", ("HTTP 500",))
    stages = (
        StageView(1, "prepare", "prepare", "all_or_nothing", StageStatus.DONE, 3.0),
        StageView(2, "execute", "execute", "all_or_nothing", StageStatus.FAILED, failure=failure),
        StageView(3, "cleanup", "cleanup", "all_or_nothing", StageStatus.SKIPPED),
    )
    met = view(status=ThresholdStatus.MET, value=0.01, margin=0.8)
    run = CiRun("r1", "tiny.yaml", START, 12.5, stages, (MISSED, met, view()), Outcome("failed", 1, failure))
    suite = ElementTree.fromstring(junit_xml(run)).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "7",
        "failures": "2",
        "errors": "1",
        "skipped": "2",
    }
    found = [case for case in suite if case.find("failure") is not None]
    assert "61.2 ms" in (found[1].find("failure").text or "")  # type: ignore[union-attr]
    text = markdown_summary(run)
    assert "| get.p99 &lt;= 50 ms | execute | MISSED | 61.2 ms | -22.4% |" in text
    assert "because: HTTP 500" in text


@pytest.mark.parametrize(
    ("low", "high", "value", "words"),
    [
        (None, 0.05, 0.04, "40.0 ms, 20.0% of the bound left"),
        (None, 0.05, 0.06, "60.0 ms, 20.0% over the bound"),
        (None, 0.05, 5.0, "5.00 s, 100 times the bound"),
        (0.05, None, 0.04, "40.0 ms, 20.0% under the bound"),
        (0.05, 0.1, 0.04, "40.0 ms, 20.0% under the bound"),
    ],
)
def test_a_sentence_says_how_far_a_value_is_from_its_bound(
    low: float | None, high: float | None, value: float, words: str
) -> None:
    left = margin(value, None if low is None else Bound(low), None if high is None else Bound(high))
    view = ThresholdView("t", "get.p99", "fleet", 1, "load", Unit.SECONDS, low, high, value=value, margin=left)
    assert view.sentence == f"t in load: {words}"
