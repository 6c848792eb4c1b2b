"""The one reducer of a run: events and reports in, figures out.

The live snapshot, the result files and a finished run that is opened later are all made from a `Tally`, so their
numbers cannot differ. No I/O and no clock: the same items in the same order give the same figures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from sai3tui.events import (
    AgentState,
    BarrierArrived,
    BarrierReleased,
    Event,
    FailureSeen,
    Finding,
    Level,
    PutTwice,
    Report,
    RunFinished,
    RunStarted,
    StageBegan,
    StageFinished,
    StageStarted,
    StateChanged,
    WorkHandedOver,
)
from sai3tui.metrics.attribution import Attribution
from sai3tui.results.attribution_facts import FactCollector
from sai3tui.results.coverage import CoverageSpan, CoverageTrack
from sai3tui.results.describe import Narrator
from sai3tui.results.failures import FailureGroups
from sai3tui.results.figures import Interval, interval_of, merged
from sai3tui.results.seconds import SECOND_NS, FleetSecond
from sai3tui.results.stage_tally import StageTally
from sai3tui.results.views import FailureGroup, LogLine, Rates, Series, StageInfo, StageStatus, StageView

LOG_LINES = 500
LIMITED_INTERVALS = 3
"""An agent that limited itself in so many intervals in a row is told of once a stage."""
SERIES_SECONDS = 3600
ATTRIBUTION_S = 5.0
NO_CONNECTIONS: Mapping[str, int] = MappingProxyType({})
Item = Event | Report


class Tally:
    """Figures of a run. `connections` is how many each agent has; `series_seconds` bounds the fleet's time series
    (None: all of it)."""

    def __init__(
        self,
        stages: Iterable[StageInfo],
        *,
        connections: Mapping[str, int] = NO_CONNECTIONS,
        log_lines: int | None = LOG_LINES,
        series_seconds: int | None = SERIES_SECONDS,
    ) -> None:
        self.stages = {info.index: StageTally(info) for info in stages}
        self.started_ns = 0
        self.ended_ns = 0
        self.stage_index = 0
        self.fleet = Rates()
        self.log_total = 0
        self._log: deque[LogLine] = deque(maxlen=log_lines)
        self._points: deque[tuple[float, float, float, float, float, float, int, float]] = deque(maxlen=series_seconds)
        self._failures = FailureGroups()
        self._coverage = CoverageTrack()
        self._narrator = Narrator()
        self.told_limited: dict[tuple[int, str], LogLine] = {}
        self._series: Series | None = Series()
        self._latest: tuple[Report, Interval] | None = None
        self._connections = connections
        self.facts = FactCollector()
        self._attributions: dict[int, tuple[tuple[StageStatus, int], Attribution]] = {}

    def apply(self, item: Item) -> list[FleetSecond]:
        """Take in one event or report; returns the fleet's seconds that are complete now."""
        closed: list[FleetSecond] = []
        if isinstance(item, Report):
            stage = self.stages.get(item.stage_index)
            if stage is not None:
                closed = stage.report(item)
                self.facts.report(item, stage.start_ns)
                self._limited(stage, item)
        else:
            closed = self._event(item)
            line = self._narrator.line(item)
            if line is not None:
                self._say(line)
        return self._note(closed)

    def interval(self, report: Report) -> Interval:
        """What a report comes to. It is asked for more than once, of the one that came last."""
        if self._latest is None or self._latest[0] is not report:
            self._latest = report, interval_of(report.ops)
        return self._latest[1]

    def tick(self, now_ns: int) -> list[FleetSecond]:
        """Time passes: complete the seconds whose missing reports are overdue."""
        stage = self.stages.get(self.stage_index)
        return self._note(stage.tick(now_ns)) if stage is not None else []

    def leave(self, agent: str) -> list[FleetSecond]:
        """An agent is gone: nobody waits for its reports."""
        stage = self.stages.get(self.stage_index)
        return self._note(stage.leave(agent)) if stage is not None else []

    def restore_second(self, second: FleetSecond) -> None:
        """A second that was complete when its stage was kept."""
        self._note([second])

    @property
    def series(self) -> Series:
        if self._series is None:
            columns: Sequence[tuple[float, ...]] = list(zip(*self._points, strict=True))
            at, get, put, ops, p50, p99, index, scheduled = columns
            self._series = Series(at, get, put, ops, p50, p99, tuple(int(i) for i in index), scheduled)
        return self._series

    @property
    def log(self) -> tuple[LogLine, ...]:
        return tuple(self._log)

    @property
    def coverage(self) -> tuple[CoverageSpan, ...]:
        """Which agents took part, and since when."""
        return self._coverage.spans

    def whole_since(self, since_ns: int) -> frozenset[str]:
        """Agents that have taken part all the time since then (Unix epoch)."""
        return self._coverage.whole_since(since_ns)

    @property
    def failures(self) -> tuple[FailureGroup, ...]:
        return self._failures.groups()

    def views(self, now_ns: int) -> tuple[StageView, ...]:
        return tuple(
            replace(stage.view(now_ns), attribution=self._attribution(stage))
            for _, stage in sorted(self.stages.items())
        )

    def _attribution(self, stage: StageTally) -> Attribution:
        """Judged anew every few seconds, and at the end."""
        key = (stage.status, int(stage.seconds / ATTRIBUTION_S))
        known = self._attributions.get(stage.info.index)
        if known is None or known[0] != key:
            known = self._attributions[stage.info.index] = key, self.facts.attribution(stage, self._connections)
        return known[1]

    def _limited(self, stage: StageTally, report: Report) -> None:
        """Tell, once a stage, that an agent is its own limit."""
        key = (stage.info.index, report.agent)
        if stage.agents[report.agent].limited_intervals >= LIMITED_INTERVALS and key not in self.told_limited:
            text = f"the load generator limits the figures, not the storage: {report.client_limited_reason}"
            self.tell_limited(stage.info.index, LogLine(report.end_ns, Level.WARNING, report.agent, text))

    def tell_limited(self, stage_index: int, line: LogLine) -> None:
        """Say of an agent, in this stage only once, that it is its own limit."""
        self.told_limited[stage_index, line.agent] = line
        self._say(line)

    def _say(self, line: LogLine) -> None:
        self._log.append(line)
        self.log_total += 1

    def _event(self, event: Event) -> list[FleetSecond]:
        self._coverage.apply(event)
        match event:
            case RunStarted():
                self.started_ns = event.time_ns
            case BarrierReleased():
                stage = self.stages.get(event.stage_index + 1)
                if stage is not None:
                    stage.begin(event.start_ns, event.arrived)
                    self.stage_index = stage.info.index
            case StageStarted():
                if event.stage_index in self.stages:
                    # A stage is announced before its moment, so that the agent is ready for it.
                    self.stages[event.stage_index].started(event.agent, max(event.time_ns, event.planned_start_ns))
            case StageBegan():
                if event.stage_index in self.stages:
                    self.stages[event.stage_index].started(event.agent, event.began_ns)
            case BarrierArrived():
                if event.stage_index in self.stages:
                    closed, lacking = self.stages[event.stage_index].arrived(event.agent, event.time_ns, event.summary)
                    if lacking:
                        text = f"its reports lack {lacking} operations that its summary has: totals are the summary's"
                        self._say(LogLine(event.time_ns, Level.WARNING, event.agent, text))
                    return closed
            case StageFinished():
                if event.stage_index in self.stages:
                    return self.stages[event.stage_index].finish(event.time_ns, event.failure)
            case Finding():
                self.facts.finding(event)
            case WorkHandedOver():
                if event.stage_index in self.stages:
                    self.stages[event.stage_index].handed_over(event.agent, event.objects, given=bool(event.to))
            case PutTwice():
                if event.stage_index in self.stages:
                    self.stages[event.stage_index].put_twice(event.agent, event.count)
            case FailureSeen():
                self._failures.add(event.sample, event.count, event.agent, event.time_ns)
            case StateChanged():
                if event.state is AgentState.LOST:
                    for stage in self.stages.values():
                        stage.lost(event.agent)
                if event.failure is not None and event.failure not in self._failures:
                    self._failures.add(event.failure, 1, event.agent, event.time_ns)
            case RunFinished():
                return self._end(event)
            case _:
                pass
        return []

    def _end(self, event: RunFinished) -> list[FleetSecond]:
        self.ended_ns = event.time_ns
        if event.failure is not None and event.failure not in self._failures:
            self._failures.add(event.failure, 1, event.failure.context.agent, event.time_ns)
        closed: list[FleetSecond] = []
        for stage in self.stages.values():
            if stage.live:
                closed += stage.finish(event.time_ns, event.failure)
                stage.status = StageStatus.FAILED if event.failure is not None else StageStatus.ABORTED
            elif stage.status is StageStatus.PENDING:
                stage.status = StageStatus.SKIPPED
        self.fleet = Rates()
        return closed

    def _note(self, closed: list[FleetSecond]) -> list[FleetSecond]:
        for second in closed:
            if not second.has_rate:
                continue
            if not second.warmup:
                self.stages[second.stage_index].steady.add(second)
            rates = second.rates
            whole = merged(second.ops.rows())
            p50, p99 = whole.percentile_us(0.5), whole.percentile_us(0.99)
            scheduled = whole.scheduled.percentile_us(0.99)
            if whole.ops and not whole.service.count and self._points:
                # A second whose histogram is rolled up into a later one.
                p50, p99, scheduled = (*self._points[-1][4:6], self._points[-1][7])
            self.fleet = rates
            self._points.append(
                (
                    (second.end_ns - self.started_ns) / SECOND_NS,
                    rates.get_bytes,
                    rates.put_bytes,
                    rates.ops,
                    p50,
                    p99,
                    second.stage_index,
                    scheduled,
                )
            )
            self._series = None
        return closed
