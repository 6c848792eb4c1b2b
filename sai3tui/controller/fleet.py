"""The live fleet as a value: everything that happened, reduced to the snapshot that fronts show.

Pure: items, heartbeats and the clock in, a `RunSnapshot` out. Figures come from the run's `Tally`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from sai3tui.controller.barrier_view import barrier_view
from sai3tui.controller.barriers import Waiting
from sai3tui.controller.clock import ClockEstimate
from sai3tui.controller.lead import Lead
from sai3tui.controller.snapshot import AgentView, BarrierView, Phase, RunSnapshot
from sai3tui.errors import Failure
from sai3tui.events import (
    AgentConnected,
    AgentState,
    BarrierReleased,
    EndpointStats,
    Finding,
    Report,
    RunFinished,
    StageFinished,
    StateChanged,
    Vitals,
)
from sai3tui.metrics.saturation import Sample, nearest_limit
from sai3tui.results.baseline import Baseline, BaselineView
from sai3tui.results.figures import endpoint_cells, interval_rates
from sai3tui.results.reader import endpoint_views
from sai3tui.results.seconds import FleetSecond
from sai3tui.results.stage_tally import StageTally
from sai3tui.results.tally import LOG_LINES, SERIES_SECONDS, Item, Tally
from sai3tui.results.thresholds import Judge
from sai3tui.results.views import EndpointCell, EndpointView, Outcome, Rates, StageInfo, StageView

HISTORY = 60
SILENT_RATE_NS = 3_000_000_000
SHORT_NS = 200_000_000
CUT_TOGETHER = 16


@dataclass(slots=True)
class LiveAgent:
    """What is known of one agent now. Times in nanoseconds on our clock; 0: never."""

    id: str
    address: str
    concurrency: int = 0
    state: AgentState = AgentState.CONNECTING
    stage_index: int = 0
    heard_ns: int = 0
    reported_ns: int = 0
    clock: ClockEstimate = ClockEstimate()
    version: str = ""
    hostname: str = ""
    cores: int = 0
    rates: Rates = Rates()
    history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    failure: Failure | None = None
    insecure: bool = False
    cells: tuple[EndpointCell, ...] = ()
    """Of the last report but `uncut`, which is one that they are still to be made of, with its seconds."""
    uncut: tuple[tuple[EndpointStats, ...], float] | None = None
    limit: tuple[float, str] = (0.0, "")


class Fleet:
    """Agents, phase and findings of one run, beside its tally."""

    def __init__(self, config_name: str) -> None:
        self.config_name = config_name
        self.phase = Phase.CONNECTING
        self.run_id = ""
        self.results_dir = ""
        self.notices: tuple[str, ...] = ()
        self.outcome: Outcome | None = None
        self.tally = Tally(())
        self.judge = Judge((), ())
        self._baseline: tuple[Baseline, BaselineView] | None = None
        self.agents: dict[str, LiveAgent] = {}
        self._findings: dict[tuple[str, str, str], Finding] = {}
        """By agent, check and subject: the newest word on it stands where the first one stood."""
        self.detachable = False
        self.lead: Lead | None = None
        """Who leads the run, where we only watch it."""
        self.waiting: Waiting | None = None
        """What the current barrier waits for."""
        self._version = 0
        self._endpoints: tuple[int, tuple[EndpointView, ...]] = (-1, ())

    def plan(
        self,
        run_id: str,
        stages: tuple[StageInfo, ...],
        agents: tuple[LiveAgent, ...],
        judge: Judge | None = None,
        *,
        series_seconds: int | None = SERIES_SECONDS,
        log_lines: int | None = LOG_LINES,
    ) -> None:
        """What the configuration says, once it is read."""
        self.run_id = run_id
        self.judge = judge or Judge((), ())
        self.tally = Tally(
            stages,
            connections={agent.id: agent.concurrency for agent in agents},
            series_seconds=series_seconds,
            log_lines=log_lines,
        )
        self.agents = {agent.id: agent for agent in agents}

    def compare_with(self, baseline: Baseline, layout_hash: str) -> None:
        """Show `baseline` beside what happens. Call after `plan`."""
        infos = tuple(stage.info for stage in self.tally.stages.values())
        connections = sum(agent.concurrency for agent in self.agents.values())
        self._baseline = baseline, baseline.view(infos, layout_hash, len(self.agents), connections)

    @property
    def baseline_name(self) -> str:
        """The directory of the run that this one is compared with; empty without one."""
        return self._baseline[1].name if self._baseline is not None else ""

    def apply(self, item: Item) -> list[FleetSecond]:
        """Take in one event or report; returns the seconds it completed."""
        agent = self.agents.get(item.agent)
        if agent is not None:
            self._agent(agent, item)
        if isinstance(item, Finding):
            self._findings[item.agent, item.check, item.subject] = item
        closed = self.tally.apply(item)
        if isinstance(item, Report):
            self.judge.report(item)
        self._judge(closed)
        if isinstance(item, StageFinished) and item.stage_index in self.tally.stages:
            stage = self.tally.stages[item.stage_index]
            self.judge.settle(stage, self.coverage_of(stage), item.time_ns)
        if isinstance(item, BarrierReleased | RunFinished):
            for known in self.agents.values():
                known.rates = Rates()
        return closed

    def heard(self, agent_id: str, now_ns: int, clock: ClockEstimate | None = None) -> None:
        """A sign of life of an agent."""
        agent = self.agents.get(agent_id)
        if agent is not None:
            agent.heard_ns = max(agent.heard_ns, now_ns)
            if clock is not None:
                agent.clock = clock

    def lost(self, agent_id: str, failure: Failure) -> list[FleetSecond]:
        agent = self.agents.get(agent_id)
        if agent is not None:
            agent.state = AgentState.LOST
            agent.failure = failure
            agent.rates = Rates()
        return self._judge(self.tally.leave(agent_id))

    @property
    def coverage(self) -> float:
        """The share of agents that have taken part in the run all through: neither lost, failed nor left behind."""
        return self._covered(self.tally.started_ns)

    def coverage_of(self, stage: StageTally) -> float:
        """Likewise, from the beginning of this stage on."""
        return self._covered(stage.start_ns)

    def _covered(self, since_ns: int) -> float:
        known = self.agents.keys()
        return len(self.tally.whole_since(since_ns) & known) / len(known) if known and since_ns else 1.0

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._findings.values())

    def forget_findings(self) -> None:
        self._findings.clear()

    def tick(self, now_ns: int) -> list[FleetSecond]:
        for agent in self.agents.values():
            if agent.reported_ns and now_ns - agent.reported_ns > SILENT_RATE_NS:
                agent.rates = Rates()
        return self._judge(self.tally.tick(now_ns))

    def snapshot(self, now_ns: int) -> RunSnapshot:
        """Everything at `now_ns`, with a new version."""
        self._version += 1
        tally = self.tally
        stages = tally.views(now_ns)
        end_ns = tally.ended_ns or now_ns
        self._cut_cells()
        agents = tuple(self._view(agent, now_ns) for agent in self.agents.values())
        return RunSnapshot(
            version=self._version,
            phase=self.phase,
            run_id=self.run_id,
            config_name=self.config_name,
            results_dir=self.results_dir,
            started_ns=tally.started_ns,
            elapsed_s=max(0.0, (end_ns - tally.started_ns) / 1e9) if tally.started_ns else 0.0,
            stage_index=tally.stage_index,
            stages=stages,
            agents=agents,
            endpoints=self._endpoint_views(),
            fleet=tally.fleet,
            series=tally.series,
            log=tally.log,
            log_total=tally.log_total,
            findings=self.findings,
            failures=tally.failures,
            coverage=self.coverage,
            coverage_track=tally.coverage,
            notices=self._notices(),
            thresholds=self.judge.views,
            baseline=self.baseline_view(stages),
            outcome=self.outcome,
            barrier=self._barrier_view(agents, now_ns),
            detachable=self.detachable,
            lead=self.lead,
        )

    def _notices(self) -> tuple[str, ...]:
        if self.lead is None or self.outcome is not None:
            return self.notices
        return (f"{self.lead.sentence}: this is a view of it, and read-only", *self.notices)

    def _judge(self, closed: list[FleetSecond]) -> list[FleetSecond]:
        """Judge the thresholds after the seconds that are complete now, which are given back."""
        for second in closed:
            self.judge.second(second)
            stage = self.tally.stages[second.stage_index]
            self.judge.look(stage, self.coverage_of(stage), second.end_ns)
        return closed

    def _agent(self, agent: LiveAgent, item: Item) -> None:
        if isinstance(item, Report):
            if item.end_ns - item.start_ns >= SHORT_NS:
                seconds = (item.end_ns - item.start_ns) / 1e9
                agent.rates = interval_rates(self.tally.interval(item), seconds)
                agent.uncut = item.endpoints, seconds
                agent.limit = nearest_limit(_sample(item.vitals, agent.rates, seconds)) if item.ops else (0.0, "")
                agent.history.append(agent.rates.get_bytes + agent.rates.put_bytes)
            agent.reported_ns = max(agent.reported_ns, item.end_ns)
        elif isinstance(item, StateChanged):
            # Who is lost is so for this run, though it may live and say what it does.
            agent.state = AgentState.LOST if agent.state is AgentState.LOST else item.state
            agent.stage_index = item.stage_index
            if item.state is not AgentState.RUNNING:
                agent.rates = Rates()
            if item.failure is not None:
                agent.failure = item.failure
        elif isinstance(item, AgentConnected):
            if agent.state is AgentState.CONNECTING:
                agent.state = AgentState.IDLE
            agent.version = item.package_version
            agent.hostname = item.hostname
            agent.cores = item.cores
            agent.clock = ClockEstimate(item.clock_offset_ns, item.clock_uncertainty_ns)

    def _cut_cells(self) -> None:
        """Of the agents that have reported, of some together: one by one they cost more."""
        left = [(agent, agent.uncut) for agent in self.agents.values() if agent.uncut is not None]
        for begin in range(0, len(left), CUT_TOGETHER):
            some = left[begin : begin + CUT_TOGETHER]
            for (agent, _), cells in zip(some, endpoint_cells([uncut for _, uncut in some]), strict=True):
                agent.cells, agent.uncut = cells, None

    def baseline_view(self, stages: tuple[StageView, ...]) -> BaselineView | None:
        """The baseline beside what was measured so far; None without one."""
        if self._baseline is None:
            return None
        baseline, view = self._baseline
        return replace(view, differences=baseline.differences(stages))

    def _view(self, agent: LiveAgent, now_ns: int) -> AgentView:
        stage = self.tally.stages.get(self.tally.stage_index)
        part = stage.agents.get(agent.id) if stage is not None else None
        return AgentView(
            id=agent.id,
            address=agent.address,
            state=agent.state,
            stage_index=agent.stage_index,
            concurrency=agent.concurrency,
            rates=agent.rates,
            done=part.objects.done + part.objects.existed if part else 0,
            planned=part.objects.planned if part else 0,
            errors=sum([s.agents[agent.id].ops.errors for s in self.tally.stages.values() if agent.id in s.agents]),
            heartbeat_age_s=max(0.0, (now_ns - agent.heard_ns) / 1e9) if agent.heard_ns else 0.0,
            clock_offset_ms=agent.clock.offset_ns / 1e6,
            clock_uncertainty_ms=agent.clock.uncertainty_ns / 1e6,
            version=agent.version,
            hostname=agent.hostname,
            cores=agent.cores,
            vitals=part.vitals if part else Vitals(),
            history=tuple(agent.history),
            failure=agent.failure,
            insecure=agent.insecure,
            cells=agent.cells if agent.rates.ops else (),
            limit_used=agent.limit[0] if agent.rates.ops else 0.0,
            limit_name=agent.limit[1],
        )

    def _barrier_view(self, agents: tuple[AgentView, ...], now_ns: int) -> BarrierView | None:
        if self.waiting is None:
            return None
        cells = {agent.id: agent.cells for agent in self.agents.values()}
        return barrier_view(self.waiting, agents, self.tally.stages.get(self.waiting.index), cells, now_ns)

    def _endpoint_views(self) -> tuple[EndpointView, ...]:
        """Averages over the stage so far; made anew only when something was reported."""
        stage = self.tally.stages.get(self.tally.stage_index)
        if stage is None:
            return ()
        mark = hash((stage.info.index, stage.ops.ops, stage.ops.errors, stage.status))
        if self._endpoints[0] != mark:
            self._endpoints = (mark, endpoint_views(stage))
        return self._endpoints[1]


def _sample(vitals: Vitals, rates: Rates, seconds: float) -> Sample:
    """What the rules of saturation want to know of one interval."""
    return Sample(
        seconds=seconds,
        worker_cpu_pct=vitals.worker_cpu_pct,
        host_cpu_pct=vitals.cpu_user_pct + vitals.cpu_system_pct,
        service_p50_us=max(rates.get_p50_us, rates.put_p50_us, rates.meta_p50_us),
        lag_p99_us=vitals.worker_lag_p99_us,
        nic_pct=vitals.nic_pct,
        softirq_pct=vitals.softirq_pct,
        steal_pct=vitals.steal_pct,
    )
