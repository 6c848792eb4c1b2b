"""Thresholds, judged while a run goes on and at its end. Pure: figures and times in, verdicts out.

Without a window a threshold is about the stage so far, and counts by what the whole stage comes to. With a window it
is about the last seconds at every moment, and is not met if it was missed for longer than its grace even once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sai3tui.config.metric_names import Metric, Quantity, parse_metric
from sai3tui.config.thresholds import Bound, Threshold, ThresholdScope, Unit
from sai3tui.config.units import format_bytes, format_duration
from sai3tui.events import EndpointStats, OpStats, Report, ThresholdCrossed
from sai3tui.results.seconds import SECOND_NS, FleetSecond
from sai3tui.results.sliding import Sliding
from sai3tui.results.stage_tally import StageTally
from sai3tui.results.views import StageInfo

SETTLE_S = 3.0
"""Nothing is judged before so much of a stage was measured, unless it is over: the first second says little."""
WHOLE_WINDOW = 0.95
"""Share of a window that must be measured for it to count: intervals are not quite a second."""
SUBJECTS_NAMED = 5
MANY_TIMES = 9.0
"""From so many bounds over a bound on, it is how many times the bound that is said."""
FLEET = ""
MEASURING = frozenset({"prepare", "execute", "cleanup", "verify", "hybrid"})

Stats = OpStats | EndpointStats


class ThresholdStatus(StrEnum):
    UNMEASURED = "not measured"
    MET = "met"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class ThresholdView:
    """One threshold in one stage. `value`, `minimum` and `maximum` are in `unit` (a share counts 1 as 100 %).

    `status` is that of this moment, since `since_ns`; `failed` says whether it counts as not met. `subject` is the
    agent or endpoint that is worst off, `missing` those that miss it now, `subjects` how many there are; all empty for
    the fleet. `margin` is the share of the bound that is left, negative where it is missed, None without a value.
    """

    text: str
    metric: str
    scope: str
    stage_index: int
    stage: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    window_s: float | None = None
    abort: bool = False
    status: ThresholdStatus = ThresholdStatus.UNMEASURED
    failed: bool = False
    value: float | None = None
    worst: float | None = None
    margin: float | None = None
    subject: str = ""
    subjects: int = 0
    missing: tuple[str, ...] = ()
    since_ns: int = 0
    missed_s: float = 0.0

    @property
    def sentence(self) -> str:
        """`get.p99 <= 50.0 ms in execute: 61.2 ms, 22.4% over the bound, agent a3`."""
        text = f"{self.text} in {self.stage}: " if self.stage else f"{self.text}: "
        if self.value is None:
            return text + self.status.value
        text += show_value(self.value, self.unit)
        if self.margin is not None:
            text += f", {self._distance(self.value, self.margin)}"
        text += f", {self.subject}" if self.subject else ""
        if self.failed and self.status is ThresholdStatus.MET:
            text += f"; was missed for {self.missed_s:.0f} s"
        return text

    def _distance(self, value: float, margin: float) -> str:
        if margin >= 0:
            return f"{margin:.1%} of the bound left"
        if self.maximum is None or value <= self.maximum:
            return f"{-margin:.1%} under the bound"
        return f"{-margin:.1%} over the bound" if margin > -MANY_TIMES else f"{1 - margin:,.0f} times the bound"


@dataclass(slots=True)
class _Entry:
    """A threshold in a stage, as it stands."""

    threshold: Threshold
    metric: Metric
    view: ThresholdView
    windows: dict[str, Sliding] = field(default_factory=dict)
    pending: dict[str, list[Stats]] = field(default_factory=dict)
    pending_s: dict[str, float] = field(default_factory=dict)
    judged_ns: int = 0
    missed_since_ns: int = 0
    settled: bool = False


BaselineFigure = Mapping[tuple[str, str, str], float]
"""What another run came to: by metric (without `vs_baseline.`), name and type of the stage."""


class Judge:
    """Judges all thresholds of a run. `stages` are the run's; `baseline` holds what `vs_baseline` is compared with."""

    def __init__(
        self, thresholds: Iterable[Threshold], stages: Sequence[StageInfo], baseline: BaselineFigure | None = None
    ) -> None:
        self._stages = {stage.index: stage for stage in stages}
        self._baseline = baseline or {}
        self._entries = [
            _entry(threshold, stage)
            for threshold in thresholds
            for stage in stages
            if threshold.stage == stage.name or (not threshold.stage and stage.type in MEASURING)
        ]
        self._by_stage: dict[int, list[_Entry]] = {}
        for entry in self._entries:
            self._by_stage.setdefault(entry.view.stage_index, []).append(entry)
        self._crossings: list[ThresholdCrossed] = []
        self._ended = False

    @property
    def views(self) -> tuple[ThresholdView, ...]:
        """In the order of the file, then of the stages. One without a stage of its own is left out where it was not
        measured, once the stage is over and another one has measured it."""
        measured = {id(e.threshold) for e in self._entries if e.view.status is not ThresholdStatus.UNMEASURED}
        return tuple(
            entry.view
            for entry in self._entries
            if entry.view.status is not ThresholdStatus.UNMEASURED
            or not (entry.settled or self._ended)
            or entry.threshold.stage
            or id(entry.threshold) not in measured
        )

    def take_crossings(self) -> list[ThresholdCrossed]:
        """Changes of status since the last call."""
        found, self._crossings = self._crossings, []
        return found

    def breach(self, now_ns: int) -> ThresholdView | None:
        """A threshold that ends the run: one with `abort` that has been missed for longer than its grace."""
        for entry in self._entries:
            since = entry.missed_since_ns
            if entry.threshold.abort and since and now_ns - since >= entry.threshold.grace * SECOND_NS:
                return entry.view
        return None

    def report(self, report: Report) -> None:
        """One interval of one agent, for windows over agents and endpoints."""
        if report.warmup:
            return
        for entry in self._by_stage.get(report.stage_index, ()):
            if entry.threshold.window is None or entry.threshold.scope is ThresholdScope.FLEET:
                continue
            seconds = (report.end_ns - report.start_ns) / SECOND_NS
            if entry.threshold.scope is ThresholdScope.AGENT:
                entry.pending.setdefault(report.agent, []).extend(report.ops)
                entry.pending_s[report.agent] = entry.pending_s.get(report.agent, 0.0) + seconds
            else:
                for stats in report.endpoints:
                    entry.pending.setdefault(stats.uri, []).append(stats)

    def second(self, second: FleetSecond) -> None:
        """One second of the fleet is complete."""
        if second.warmup:
            return
        for entry in self._by_stage.get(second.stage_index, ()):
            if entry.threshold.window is None:
                continue
            if entry.threshold.scope is ThresholdScope.FLEET:
                _slide(entry, FLEET, second.ops.rows(), second.seconds)
                continue
            for subject, rows in entry.pending.items():
                _slide(entry, subject, rows, entry.pending_s.get(subject, second.seconds))
            for subject in entry.windows.keys() - entry.pending.keys():
                _slide(entry, subject, (), second.seconds)
            entry.pending, entry.pending_s = {}, {}

    def look(self, stage: StageTally, coverage: float, now_ns: int) -> None:
        """Judge what `stage` has measured so far."""
        for entry in self._by_stage.get(stage.info.index, ()):
            if not entry.settled:
                self._judge(entry, self._values(entry, stage, coverage, over=False), now_ns)

    def settle(self, stage: StageTally, coverage: float, now_ns: int) -> None:
        """The stage is over: what it came to is what counts. A second time changes nothing."""
        for entry in self._by_stage.get(stage.info.index, ()):
            if not entry.settled:
                self._judge(entry, self._values(entry, stage, coverage, over=True), now_ns)
                entry.settled = True
                if now_ns - entry.missed_since_ns < entry.threshold.grace * SECOND_NS:
                    entry.missed_since_ns = 0

    def finish(self, *, whole: bool) -> bool:
        """The run is over; whether all thresholds count as met. What was never measured does not, if the run was gone
        through to its end (`whole`)."""
        self._ended = True
        measured = {id(e.threshold) for e in self._entries if e.view.status is not ThresholdStatus.UNMEASURED}
        for entry in self._entries:
            if whole and id(entry.threshold) not in measured:
                entry.view = replace(entry.view, failed=True)
        return not any(entry.view.failed for entry in self._entries)

    def _values(self, entry: _Entry, stage: StageTally, coverage: float, *, over: bool) -> dict[str, float]:
        """The figure of each subject that has one."""
        metric, threshold = entry.metric, entry.threshold
        if metric.quantity is Quantity.COVERAGE:
            return {FLEET: coverage}
        # A figure of nothing is zero where it was asked for this stage, else it is none.
        named = bool(threshold.stage) and stage.info.type in MEASURING
        found: dict[str, float | None]
        if threshold.window is not None:
            needed = 0.2 if over else threshold.window * WHOLE_WINDOW
            found = {
                subject: window.figure(metric, named=named)
                for subject, window in entry.windows.items()
                if window.seconds >= min(needed, threshold.window * WHOLE_WINDOW)
            }
        elif not over and stage.seconds < SETTLE_S:
            return {}
        elif threshold.scope is ThresholdScope.FLEET:
            found = {FLEET: figure(metric, stage.ops.rows(), stage.seconds, named=named)}
        elif threshold.scope is ThresholdScope.AGENT:
            found = {
                agent: figure(metric, part.ops.rows(), stage.agent_seconds(agent), named=named)
                for agent, part in stage.agents.items()
            }
        else:
            found = {
                uri: figure(metric, per_op.values(), stage.seconds, named=named)
                for uri, per_op in stage.endpoints.by_uri().items()
            }
        values = {subject: value for subject, value in found.items() if value is not None}
        return self._against_baseline(entry, values) if metric.against_baseline else values

    def _against_baseline(self, entry: _Entry, values: dict[str, float]) -> dict[str, float]:
        stage = self._stages[entry.view.stage_index]
        then = self._baseline.get((plain_name(entry.threshold), stage.name, stage.type))
        return {subject: (value - then) / then for subject, value in values.items()} if then else {}

    def _judge(self, entry: _Entry, values: Mapping[str, float], now_ns: int) -> None:
        if not values:
            return
        low, high = entry.threshold.minimum, entry.threshold.maximum
        margins = {subject: margin(value, low, high) for subject, value in values.items()}
        missing = sorted(subject for subject, value in values.items() if not _within(value, low, high))
        worst = min(values, key=lambda subject: (subject not in missing, margins[subject] or 0.0, subject))
        status = ThresholdStatus.MISSED if missing else ThresholdStatus.MET
        before = entry.view
        missed_s = before.missed_s
        if before.status is ThresholdStatus.MISSED and entry.judged_ns:
            missed_s += max(0, now_ns - entry.judged_ns) / SECOND_NS
        entry.judged_ns = now_ns
        if not missing:
            entry.missed_since_ns = 0
        elif not entry.missed_since_ns:
            entry.missed_since_ns = now_ns
        over_grace = bool(missing) and (now_ns - entry.missed_since_ns) / SECOND_NS >= entry.threshold.grace
        sticks = entry.threshold.window is not None or entry.metric.quantity is Quantity.COVERAGE
        entry.view = replace(
            before,
            status=status,
            failed=(before.failed or over_grace) if sticks else bool(missing),
            value=values[worst],
            worst=values[worst] if before.worst is None else _worse(before.worst, values[worst], low, high),
            margin=margins[worst],
            subject=worst,
            subjects=0 if worst == FLEET else len(values),
            missing=tuple(missing[:SUBJECTS_NAMED]) if worst != FLEET else (),
            since_ns=before.since_ns if status is before.status else now_ns,
            missed_s=missed_s,
        )
        if status is not before.status and (missing or before.status is ThresholdStatus.MISSED):
            view = entry.view
            self._crossings.append(
                ThresholdCrossed(now_ns, "", view.stage_index, view.text, not missing, values[worst], view.sentence)
            )


def figure(metric: Metric, rows: Iterable[Stats], seconds: float, *, named: bool = True) -> float | None:
    """A figure of what `rows` measured in `seconds`: seconds, bytes or operations a second, a share, or a count. None
    if there is none; rates and counts of nothing are 0 only if `named`."""
    window = Sliding(None)
    window.add(metric, rows, seconds)
    return window.figure(metric, named=named)


def margin(value: float, low: Bound | None, high: Bound | None) -> float | None:
    """The share of the nearer bound that is left, negative where it is missed; None for bounds of zero."""
    found = []
    if low is not None and low.value:
        found.append((value - low.value) / abs(low.value))
    if high is not None and high.value:
        found.append((high.value - value) / abs(high.value))
    return min(found) if found else None


def plain_name(threshold: Threshold) -> str:
    """The metric's name without `vs_baseline.`."""
    return threshold.metric.strip().removeprefix("vs_baseline.")


def show_value(value: float, unit: str) -> str:
    """A value for people."""
    if unit == Unit.SECONDS:
        return format_duration(value)
    if unit == Unit.BYTES_PER_SECOND:
        return f"{format_bytes(value)}/s"
    if unit == Unit.SHARE:
        return f"{value * 100:.4g}%"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _entry(threshold: Threshold, stage: StageInfo) -> _Entry:
    metric = parse_metric(threshold.metric)
    unit = _unit(metric)
    low, high = threshold.minimum, threshold.maximum
    parts = [f">= {show_value(low.value, unit)}"] if low is not None else []
    parts += [f"<= {show_value(high.value, unit)}"] if high is not None else []
    text = f"{threshold.metric} {' and '.join(parts)}"
    text += f" over {threshold.window:g}s" if threshold.window is not None else ""
    text += f" for each {threshold.scope.value}" if threshold.scope is not ThresholdScope.FLEET else ""
    view = ThresholdView(
        text,
        threshold.metric,
        threshold.scope.value,
        stage.index,
        stage.name,
        unit.value,
        low.value if low is not None else None,
        high.value if high is not None else None,
        threshold.window,
        threshold.abort,
    )
    return _Entry(threshold, metric, view)


def _unit(metric: Metric) -> Unit:
    if metric.against_baseline or metric.quantity in (Quantity.ERROR_RATE, Quantity.COVERAGE):
        return Unit.SHARE
    if metric.quantity is Quantity.THROUGHPUT:
        return Unit.BYTES_PER_SECOND
    return Unit.SECONDS if metric.quantity is Quantity.LATENCY else Unit.NONE


def _slide(entry: _Entry, subject: str, rows: Iterable[Stats], seconds: float) -> None:
    window = entry.windows.get(subject)
    if window is None:
        window = entry.windows[subject] = Sliding(entry.threshold.window)
    window.add(entry.metric, rows, seconds)


def _within(value: float, low: Bound | None, high: Bound | None) -> bool:
    return (low is None or value >= low.value) and (high is None or value <= high.value)


def _worse(one: float, other: float, low: Bound | None, high: Bound | None) -> float:
    """The one that is further from what is allowed."""
    if low is not None and high is not None:
        room = {value: min(value - low.value, high.value - value) for value in (one, other)}
        return min(room, key=lambda value: room[value])
    return min(one, other) if low is not None else max(one, other)
