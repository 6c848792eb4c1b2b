"""What the fronts see of a run: immutable, complete, and the only thing the screens and `--batch` print from.

The session makes a new snapshot whenever something changed and bumps `version`; a reader that saw that version before
has nothing to redraw. No number is computed outside the session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sai3tui.controller.barriers import Known
from sai3tui.controller.lead import Lead
from sai3tui.errors import Failure
from sai3tui.events import AgentState, Finding, Vitals
from sai3tui.results.baseline import BaselineView
from sai3tui.results.coverage import CoverageSpan
from sai3tui.results.thresholds import ThresholdStatus, ThresholdView
from sai3tui.results.views import (
    EndpointCell,
    EndpointView,
    FailureGroup,
    LogLine,
    Outcome,
    Rates,
    Series,
    StageStatus,
    StageView,
)

__all__ = [
    "AgentView",
    "BarrierAgent",
    "BarrierView",
    "BaselineView",
    "EndpointCell",
    "EndpointView",
    "FailureGroup",
    "Known",
    "Lead",
    "LogLine",
    "Outcome",
    "Phase",
    "Rates",
    "RunSnapshot",
    "Series",
    "StageStatus",
    "StageView",
    "Standing",
    "ThresholdStatus",
    "ThresholdView",
]


class Phase(StrEnum):
    """Where the session is. `READY`: preflight is done and the session waits for `proceed()`; `WRITING`: only the last
    files are missing."""

    CONNECTING = "connecting"
    PREFLIGHT = "preflight"
    READY = "ready"
    RUNNING = "running"
    ABORTING = "aborting"
    WRITING = "writing"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class AgentView:
    id: str
    address: str
    state: AgentState = AgentState.CONNECTING
    stage_index: int = 0
    concurrency: int = 0
    rates: Rates = Rates()
    done: int = 0
    planned: int = 0
    errors: int = 0
    heartbeat_age_s: float = 0.0
    clock_offset_ms: float = 0.0
    clock_uncertainty_ms: float = 0.0
    version: str = ""
    hostname: str = ""
    cores: int = 0
    vitals: Vitals = Vitals()
    history: tuple[float, ...] = ()
    """Bytes per second (GET and PUT) of the last 60 intervals, oldest first."""
    failure: Failure | None = None
    insecure: bool = False
    """Whether everybody on its network can give it orders."""
    cells: tuple[EndpointCell, ...] = ()
    """What the last interval brought from each endpoint."""
    limit_used: float = 0.0
    """Share of the nearest limit of the load generator that is used; from 1 on it, not the storage, limits."""
    limit_name: str = ""


class Standing(StrEnum):
    """How an agent stands to the current barrier. `SILENT`: so many heartbeats are missing that it is asked."""

    ARRIVED = "arrived"
    WORKING = "working"
    SILENT = "silent"
    EXCLUDED = "excluded"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class BarrierAgent:
    """One agent before the current barrier. `late_s` is how long after the first one it arrived, in seconds. Objects
    `done` of `planned` at `rate` a second are through in `eta_s` seconds (None: nobody can tell). Of its endpoints,
    `slowest` had the highest p99 of late, in microseconds. `missed` heartbeats in a row, of `threshold`."""

    id: str
    standing: Standing
    late_s: float = 0.0
    done: int = 0
    planned: int = 0
    rate: float = 0.0
    eta_s: float | None = None
    slowest: str = ""
    slowest_p99_us: float = 0.0
    heartbeat_age_s: float = 0.0
    missed: int = 0
    threshold: int = 0


@dataclass(frozen=True, slots=True)
class BarrierView:
    """The barrier that is being worked or waited towards; `index` 0 is the one before the first stage.

    `holder` is whom it waits for the longest, empty if for nobody. `waited_s` is since the first arrival, None before
    it; `left_s` until `at_end` happens, None if it does not. `pausing`: it stays shut until somebody lets it open;
    `held`: nothing else keeps it shut.
    """

    index: int
    name: str
    policy: str
    agents: tuple[BarrierAgent, ...] = ()
    awaited: tuple[str, ...] = ()
    holder: str = ""
    waited_s: float | None = None
    left_s: float | None = None
    at_end: str = ""
    pausing: bool = False
    held: bool = False
    known: Known = Known.WHOLE
    """Whether we know what the leader decides: the four above."""

    def agent(self, agent_id: str) -> BarrierAgent | None:
        return next((agent for agent in self.agents if agent.id == agent_id), None)


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    version: int = 0
    phase: Phase = Phase.CONNECTING
    run_id: str = ""
    config_name: str = ""
    results_dir: str = ""
    started_ns: int = 0
    elapsed_s: float = 0.0
    stage_index: int = 0
    """The stage that runs or waits at its barrier; 0 before the first."""
    stages: tuple[StageView, ...] = ()
    agents: tuple[AgentView, ...] = ()
    endpoints: tuple[EndpointView, ...] = ()
    fleet: Rates = Rates()
    """The last complete second over all agents."""
    series: Series = field(default_factory=Series)
    log: tuple[LogLine, ...] = ()
    """The last 500 lines, oldest first."""
    log_total: int = 0
    findings: tuple[Finding, ...] = ()
    failures: tuple[FailureGroup, ...] = ()
    coverage: float = 1.0
    """Share of agents that are still part of the run."""
    coverage_track: tuple[CoverageSpan, ...] = ()
    """Which agents took part, and since when."""
    notices: tuple[str, ...] = ()
    """Loud facts: insecure agents, preflight skipped."""
    thresholds: tuple[ThresholdView, ...] = ()
    """What the run must meet, one entry for each stage it is judged in, in the order of the file."""
    baseline: BaselineView | None = None
    """The run that this one is compared with, if there is one."""
    outcome: Outcome | None = None
    barrier: BarrierView | None = None
    """What the current barrier waits for; None between barriers, and in runs that are over."""
    detachable: bool = False
    """Whether this controller can leave and the run goes on."""
    lead: Lead | None = None
    """Which other controller leads the run, as far as it is known: nothing can be done to the run here. None: we do."""

    @property
    def viewing(self) -> bool:
        return self.lead is not None
