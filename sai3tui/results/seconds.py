"""Seconds of the fleet: agents' intervals, put side by side by when they were measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sai3tui.events import Report, Vitals
from sai3tui.results.figures import OpTable, rates_of
from sai3tui.results.views import Rates

SECOND_NS = 1_000_000_000
LATE_NS = 1_500_000_000
TOLERANCE_NS = 300_000_000
SHORTEST_RATE_S = 0.2


@dataclass(slots=True)
class FleetSecond:
    """What all agents measured in one second of a stage. Counts are exact: each report is in one second, whole."""

    stage_index: int
    number: int
    start_ns: int
    end_ns: int = 0
    ops: OpTable = field(default_factory=OpTable)
    covered_ns: dict[str, int] = field(default_factory=dict)
    vitals: dict[str, Vitals] = field(default_factory=dict)
    warmup: bool = False

    def add(self, report: Report) -> None:
        self.ops.add(report.ops)
        self.end_ns = max(self.end_ns, report.end_ns)
        self.covered_ns[report.agent] = self.covered_ns.get(report.agent, 0) + report.end_ns - report.start_ns
        self.vitals[report.agent] = report.vitals
        self.warmup = self.warmup or report.warmup

    def extend(self, later: FleetSecond) -> None:
        """Take in what follows it, to make one longer interval."""
        self.ops.add(later.ops.rows())
        self.end_ns = max(self.end_ns, later.end_ns)
        for agent, covered_ns in later.covered_ns.items():
            self.covered_ns[agent] = self.covered_ns.get(agent, 0) + covered_ns
        self.vitals.update(later.vitals)
        self.warmup = self.warmup or later.warmup

    @property
    def seconds(self) -> float:
        """How long was measured: that of the agent that measured longest."""
        return max(self.covered_ns.values(), default=0) / SECOND_NS

    @property
    def rates(self) -> Rates:
        return rates_of(self.ops.rows(), self.seconds)

    @property
    def has_rate(self) -> bool:
        """Whether it is long enough for a rate to mean anything: the last interval of a stage can be a few ms."""
        return self.seconds >= SHORTEST_RATE_S

    @property
    def mean_vitals(self) -> Vitals:
        return mean_vitals(self.vitals.values())


def mean_vitals(vitals: Iterable[Vitals]) -> Vitals:
    """Mean percentages over hosts; memory and workers are summed."""
    known = list(vitals)
    if not known:
        return Vitals()
    count = len(known)
    return Vitals(
        sum(v.cpu_user_pct for v in known) / count,
        sum(v.cpu_system_pct for v in known) / count,
        sum(v.cpu_iowait_pct for v in known) / count,
        max(v.worker_cpu_pct for v in known),
        sum(v.rss_bytes for v in known),
        sum(v.workers for v in known),
    )


class SecondAligner:
    """Puts the reports of one stage into seconds since its start, and says when a second is complete.

    A second is complete when every agent that still reports has reported (nearly) up to its end, when the stage is
    over, or `LATE_NS` after its end. What comes later still goes into the next second that is open: sums stay exact.
    """

    def __init__(self, stage_index: int, start_ns: int, agents: Iterable[str]) -> None:
        self.stage_index = stage_index
        self.start_ns = start_ns
        self._reporting = set(agents)
        self._reported_to: dict[str, int] = {}
        self._open: dict[int, FleetSecond] = {}
        self._next = 0
        self._behind = set(self._reporting)
        """Of these, who has not reported up to the end of the next second."""

    def add(self, report: Report) -> list[FleetSecond]:
        """Take one report; returns the seconds that are complete now, oldest first."""
        number = round((report.start_ns - self.start_ns) / SECOND_NS)
        number = max(number, self._next)
        second = self._open.get(number)
        if second is None:
            second = FleetSecond(self.stage_index, number, self.start_ns + number * SECOND_NS)
            self._open[number] = second
        second.add(report)
        self._reported_to[report.agent] = max(report.end_ns, self._reported_to.get(report.agent, 0))
        if self._reached(report.agent) >= self._next:
            self._behind.discard(report.agent)
        return self._complete()

    def state(self) -> tuple[list[FleetSecond], dict[str, int], int]:
        """Seconds that are not complete, up to when each agent has reported, and the first second not yet given."""
        return [self._open[key] for key in sorted(self._open)], dict(self._reported_to), self._next

    def restore(self, seconds: list[FleetSecond], reported_to: dict[str, int], following: int) -> None:
        """The inverse of `state`."""
        self._open = {second.number: second for second in seconds}
        self._reported_to = reported_to
        self._next = following
        self._look_who_is_behind()

    def leave(self, agent: str) -> list[FleetSecond]:
        """`agent` will report nothing more in this stage."""
        self._reporting.discard(agent)
        self._behind.discard(agent)
        return self._complete()

    def tick(self, now_ns: int) -> list[FleetSecond]:
        """Complete what is overdue at `now_ns`."""
        overdue = (now_ns - LATE_NS - self.start_ns) // SECOND_NS - 1
        return self._close_through(overdue)

    def finish(self) -> list[FleetSecond]:
        """The stage is over: everything is complete."""
        return self._close_through(max(self._open, default=-1))

    def _complete(self) -> list[FleetSecond]:
        if not self._reporting:
            return self.finish()
        if self._behind:
            return []
        return self._close_through(min(map(self._reached, self._reporting)))

    def _reached(self, agent: str) -> int:
        """The last second that an agent has reported to the end of."""
        return (self._reported_to.get(agent, 0) - self.start_ns + TOLERANCE_NS) // SECOND_NS - 1

    def _close_through(self, number: int) -> list[FleetSecond]:
        if number < self._next:
            return []
        closed = [self._open.pop(key) for key in sorted(self._open) if key <= number]
        self._next = number + 1
        self._look_who_is_behind()
        return closed

    def _look_who_is_behind(self) -> None:
        self._behind = {agent for agent in self._reporting if self._reached(agent) < self._next}
