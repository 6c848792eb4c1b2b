"""What the fronts see of a run: immutable, complete, and the only thing the screens and `--batch` print from.

The session makes a new snapshot whenever something changed and bumps `version`; a reader that saw that version before
has nothing to redraw. No number is computed outside the session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sai3tui.errors import Failure
from sai3tui.events import AgentState, Finding, Level, Vitals


class Phase(StrEnum):
    """Where the session is. `READY`: preflight is done and the session waits for `proceed()`."""

    CONNECTING = "connecting"
    PREFLIGHT = "preflight"
    READY = "ready"
    RUNNING = "running"
    ABORTING = "aborting"
    FINISHED = "finished"


class StageStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    AT_BARRIER = "at barrier"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Rates:
    """Figures of one interval, or the average over a stage. Bytes and operations per second; latencies in µs
    (service, from merged histograms)."""

    get_ops: float = 0.0
    get_bytes: float = 0.0
    put_ops: float = 0.0
    put_bytes: float = 0.0
    meta_ops: float = 0.0
    get_p50_us: float = 0.0
    get_p99_us: float = 0.0
    put_p50_us: float = 0.0
    put_p99_us: float = 0.0
    meta_p50_us: float = 0.0
    meta_p99_us: float = 0.0
    errors: float = 0.0

    @property
    def ops(self) -> float:
        return self.get_ops + self.put_ops + self.meta_ops

    @property
    def p99_us(self) -> float:
        """The worst of the three groups' p99."""
        return max(self.get_p99_us, self.put_p99_us, self.meta_p99_us)


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


@dataclass(frozen=True, slots=True)
class StageView:
    """`index` counts from 1. `arrived` maps agent id to seconds after the first arrival."""

    index: int
    name: str
    type: str
    barrier: str
    status: StageStatus = StageStatus.PENDING
    elapsed_s: float = 0.0
    duration_s: float = 0.0
    """How long the config says it takes; 0 for stages that end when their work is done."""
    done: int = 0
    planned: int = 0
    arrived: tuple[tuple[str, float], ...] = ()
    waiting_for: tuple[str, ...] = ()
    waiting_s: float = 0.0
    rates: Rates = Rates()
    """Averages over the stage so far, percentiles over all of it."""
    total_ops: int = 0
    total_bytes: int = 0
    errors: int = 0
    existed: int = 0
    repeated_puts: int = 0
    start_skew_ms: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class EndpointView:
    uri: str
    get_bytes: float = 0.0
    put_bytes: float = 0.0
    ops: float = 0.0
    p99_us: float = 0.0
    total_ops: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """Fleet figures over time, one entry a second, oldest first. `at_s` is seconds since the run started."""

    at_s: tuple[float, ...] = ()
    get_bytes: tuple[float, ...] = ()
    put_bytes: tuple[float, ...] = ()
    ops: tuple[float, ...] = ()
    p50_us: tuple[float, ...] = ()
    p99_us: tuple[float, ...] = ()
    stage_index: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the events pane."""

    time_ns: int
    level: Level
    agent: str
    text: str


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures of one cause: how many, who, when, one sample."""

    sample: Failure
    count: int
    agents: tuple[str, ...]
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `status`: success, failed, aborted, preflight_failed, incomplete. Exit codes: DESIGN table in
    docs/architecture.md."""

    status: str
    exit_code: int
    failure: Failure | None = None
    results: str = ""
    resume: str = ""
    """The command that goes on where this run stopped; empty if there is nothing to resume."""


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
    notices: tuple[str, ...] = ()
    """Loud facts: insecure agents, preflight skipped."""
    outcome: Outcome | None = None
