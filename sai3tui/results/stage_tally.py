"""What one stage has measured so far, over all agents and for each of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sai3tui.errors import Failure
from sai3tui.events import AttemptStats, Lateness, Objects, Report, StageSummary, Vitals, merge_attempts
from sai3tui.results.figures import EndpointTable, Figures, OpTable, merged, rates_of
from sai3tui.results.seconds import SECOND_NS, FleetSecond, SecondAligner
from sai3tui.results.steady import SteadyMeter
from sai3tui.results.views import StageInfo, StageStatus, StageView


@dataclass(slots=True)
class AgentStage:
    """One agent's part of a stage. Times in nanoseconds on the controller's clock; 0: not yet. `told` are its objects
    as it tells of them, `handed` those of its planned ones that others have got, of which `twice` were written by both.

    `limited` is why its last interval was limited by the agent itself, `limited_intervals` how many in a row were.
    """

    ops: OpTable = field(default_factory=OpTable)
    told: Objects = Objects()
    handed: int = 0
    vitals: Vitals = Vitals()
    started_ns: int = 0
    reported_ns: int = 0
    arrived_ns: int = 0
    warmed_ns: int = 0
    attempts: list[AttemptStats] = field(default_factory=list)
    limited: str = ""
    limited_intervals: int = 0
    summary: StageSummary | None = None
    lost: bool = False
    twice: int = 0

    @property
    def objects(self) -> Objects:
        """Those that are still its own. What others have got is done there, also if it was done here before."""
        told = self.told
        if not self.handed:
            return told
        planned = max(0, told.planned - self.handed)
        existed = min(told.existed, planned)
        return replace(told, planned=planned, existed=existed, done=min(told.done, planned - existed))

    @property
    def settled(self) -> bool:
        """Its operations are those of its summary, whatever is still heard of their intervals."""
        return self.summary is not None and bool(self.summary.ops)


class StageTally:
    """The growing figures of one stage. Reports are merged as they come; a summary settles its agent's figures."""

    def __init__(self, info: StageInfo) -> None:
        self.info = info
        self.status = StageStatus.PENDING
        self.start_ns = 0
        self.end_ns = 0
        self.participants: tuple[str, ...] = ()
        self.agents: dict[str, AgentStage] = {}
        self.ops = OpTable()
        self.endpoints = EndpointTable()
        self.failure: Failure | None = None
        self.steady = SteadyMeter()
        self._aligner: SecondAligner | None = None

    def restore_agent(self, agent: str, part: AgentStage) -> None:
        """Go on from what was kept of an agent's reports; what events say of it is not in that."""
        known = self.agents.get(agent)
        if known is not None:
            part.started_ns, part.handed = known.started_ns, known.handed
        self.agents[agent] = part
        self.ops.add(part.ops.rows())

    def open_seconds(self) -> tuple[list[FleetSecond], dict[str, int], int]:
        """Seconds that are not complete, up to when each agent has reported, and the first second not yet given."""
        return self._aligner.state() if self._aligner is not None else ([], {}, 0)

    def restore_open(self, seconds: list[FleetSecond], reported_to: dict[str, int], following: int) -> None:
        """The inverse of `open_seconds`, after `begin`."""
        if self._aligner is not None:
            self._aligner.restore(seconds, reported_to, following)

    def begin(self, start_ns: int, participants: tuple[str, ...]) -> None:
        self.start_ns = start_ns
        self.participants = participants
        self.status = StageStatus.RUNNING
        self._aligner = SecondAligner(self.info.index, start_ns, participants)

    def started(self, agent: str, time_ns: int) -> None:
        self._agent(agent).started_ns = time_ns

    def report(self, report: Report) -> list[FleetSecond]:
        """Merge one interval; returns the seconds that are complete now."""
        if self._aligner is None:
            self.begin(report.start_ns, (report.agent,))
        part = self._agent(report.agent)
        if part.summary is None:
            part.told = report.objects
        part.vitals = report.vitals
        part.reported_ns = max(part.reported_ns, report.end_ns)
        part.limited = report.client_limited_reason
        part.limited_intervals = part.limited_intervals + 1 if part.limited else 0
        if report.warmup:
            part.warmed_ns = max(part.warmed_ns, report.end_ns)
        else:
            if not part.settled:
                part.ops.add(report.ops)
                self.ops.add(report.ops)
            if part.summary is None:
                part.attempts = merge_attempts([part.attempts, report.failed_attempts])
            self.endpoints.add(report.endpoints)
        return self._aligner.add(report) if self._aligner is not None else []

    def arrived(self, agent: str, time_ns: int, summary: StageSummary | None) -> tuple[list[FleetSecond], int]:
        """The agent is through. Returns the seconds complete now, and how many operations its reports lacked."""
        part = self._agent(agent)
        part.arrived_ns = time_ns
        lacking = 0
        if summary is not None:
            # Who was given more to do after it had arrived tells of that in another summary.
            again = part.settled
            part.summary = summary
            part.told = summary.objects
            part.attempts = list(summary.failed_attempts)
            lacking = self._settle(part, summary)
            if again:
                lacking = 0
        closed = self._aligner.leave(agent) if self._aligner is not None else []
        if self.status is StageStatus.RUNNING:
            self.status = StageStatus.AT_BARRIER
        return closed, lacking

    def lost(self, agent: str) -> None:
        """The agent says nothing any more. Of a stage before, that counts if nothing is known of what it did there: it
        had told that to a controller which is gone."""
        part = self.agents.get(agent)
        unheard = part is None or not (part.reported_ns or part.summary is not None)
        if agent in self.participants and (self.live or unheard):
            self._agent(agent).lost = True

    def handed_over(self, agent: str, objects: int, *, given: bool) -> None:
        """A lost agent has left so many objects; if they are `given` to others, they count as planned there."""
        if given:
            self._agent(agent).handed += objects

    def put_twice(self, agent: str, count: int) -> None:
        """A lost agent has written so many objects that others have got."""
        self._agent(agent).twice = count

    def leave(self, agent: str) -> list[FleetSecond]:
        """Nobody waits for the agent's reports any more; returns the seconds that are complete by that."""
        return self._aligner.leave(agent) if self._aligner is not None else []

    def finish(self, time_ns: int, failure: Failure | None) -> list[FleetSecond]:
        """All are through, or the stage failed."""
        self.status = StageStatus.FAILED if failure is not None else StageStatus.DONE
        self.failure = failure
        self.end_ns = time_ns
        return self._aligner.finish() if self._aligner is not None else []

    def tick(self, now_ns: int) -> list[FleetSecond]:
        return self._aligner.tick(now_ns) if self._aligner is not None and self.live else []

    @property
    def live(self) -> bool:
        return self.status in (StageStatus.RUNNING, StageStatus.AT_BARRIER)

    @property
    def figures(self) -> Figures:
        return merged(self.ops.rows())

    @property
    def failed_attempts(self) -> list[AttemptStats]:
        """Of all agents, by cause, operation and endpoint, the most frequent first."""
        return merge_attempts([part.attempts for part in self.agents.values()])

    @property
    def client_limited(self) -> str:
        """Which agents were limited by themselves and why: the first of them, the others counted. Empty if none was."""
        reasons = []
        for agent, part in sorted(self.agents.items()):
            reason = part.summary.client_limited_reason if part.summary is not None else part.limited
            if reason:
                reasons.append(f"{agent}: {reason}")
        if not reasons:
            return ""
        more = len(reasons) - 1
        return reasons[0] + (f" (and {more} more agent{'s' * (more > 1)})" if more else "")

    @property
    def lateness(self) -> Lateness | None:
        """How all agents together kept the schedule; None where there was none."""
        found = [part.summary.lateness for part in self.agents.values() if part.summary is not None]
        kept = [late for late in found if late is not None]
        return sum(kept, Lateness()) if kept else None

    @property
    def warmup_s(self) -> float:
        """How long the warm-up was, of the agent whose was the longest."""
        return max((self._warmup_s(part) for part in self.agents.values()), default=0.0)

    @property
    def unreported(self) -> tuple[str, ...]:
        """Agents that were lost before they gave a summary. One that fails or aborts reports to its end."""
        return tuple(agent for agent, part in sorted(self.agents.items()) if part.lost and part.summary is None)

    @property
    def objects(self) -> Objects:
        whole = sum((part.objects for part in self.agents.values()), Objects())
        twice = sum(part.twice for part in self.agents.values())
        return replace(whole, repeated_puts=whole.repeated_puts + twice)

    @property
    def seconds(self) -> float:
        """How long was measured: of the agent that took longest, by its summary or else its last report."""
        return max((self._seconds(part) for part in self.agents.values()), default=0.0)

    def agent_seconds(self, agent: str) -> float:
        part = self.agents.get(agent)
        return self._seconds(part) if part is not None else 0.0

    def view(self, now_ns: int) -> StageView:
        figures = self.figures
        objects = self.objects
        seconds = self.seconds
        arrivals = sorted((part.arrived_ns, agent) for agent, part in self.agents.items() if part.arrived_ns)
        first = arrivals[0][0] if arrivals else 0
        came = {agent for _, agent in arrivals}
        missing = tuple(agent for agent in self.participants if agent not in came) if arrivals and self.live else ()
        elapsed = max(0.0, (now_ns - self.start_ns) / SECOND_NS) if self.status is StageStatus.RUNNING else seconds
        starts = [part.started_ns for part in self.agents.values() if part.started_ns]
        return StageView(
            index=self.info.index,
            name=self.info.name,
            type=self.info.type,
            barrier=self.info.barrier,
            status=self.status,
            elapsed_s=elapsed,
            duration_s=self.info.duration_s,
            done=objects.done + objects.existed,
            planned=objects.planned,
            arrived=tuple((agent, (time_ns - first) / SECOND_NS) for time_ns, agent in arrivals),
            waiting_for=missing,
            waiting_s=max(0.0, (now_ns - first) / SECOND_NS) if missing else 0.0,
            rates=rates_of(self.ops.rows(), seconds),
            total_ops=figures.ops,
            total_bytes=figures.bytes,
            errors=figures.errors,
            existed=objects.existed,
            repeated_puts=objects.repeated_puts,
            start_skew_ms=(max(starts) - min(starts)) / 1e6 if starts else 0.0,
            failure=self.failure,
            p50_us=figures.percentile_us(0.5),
            p99_us=figures.percentile_us(0.99),
            client_limited=self.client_limited,
            failed_attempts=tuple(self.failed_attempts),
            warmup_s=self.warmup_s,
            lateness=self.lateness,
            unreported=self.unreported,
            steady=self.steady.view,
            half_width=self.info.half_width,
            paced=self.info.paced,
        )

    def _seconds(self, part: AgentStage) -> float:
        if part.summary is not None:
            return part.summary.seconds
        began_ns = max(self.start_ns, part.warmed_ns)
        return max(0.0, (part.reported_ns - began_ns) / SECOND_NS) if part.reported_ns else 0.0

    def _warmup_s(self, part: AgentStage) -> float:
        return max(0.0, (part.warmed_ns - self.start_ns) / SECOND_NS) if part.warmed_ns else 0.0

    def _agent(self, agent: str) -> AgentStage:
        return self.agents.setdefault(agent, AgentStage())

    def _settle(self, part: AgentStage, summary: StageSummary) -> int:
        """Where reports and summary differ, the summary is right: it lost nothing on the way."""
        if not summary.ops:
            return 0
        whole = OpTable()
        whole.add(summary.ops)
        if whole.counts() == part.ops.counts():
            return 0
        lacking = abs(whole.ops - part.ops.ops) + abs(whole.errors - part.ops.errors)
        part.ops = whole
        self.ops = OpTable()
        for known in self.agents.values():
            self.ops.add(known.ops.rows())
        return lacking
