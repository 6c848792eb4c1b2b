"""What readers see of a run's figures: immutable values, the same for a run that is live and for one opened later."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self

from sai3tui.errors import Failure
from sai3tui.events import AttemptStats, Lateness, Level
from sai3tui.metrics.attribution import Attribution


@dataclass(frozen=True, slots=True)
class StageInfo:
    """A stage as the configuration names it. `index` counts from 1; durations in seconds, 0 where none is given."""

    index: int
    name: str
    type: str
    barrier: str = "all_or_nothing"
    duration_s: float = 0.0
    half_width: float = 0.0
    """It ends once its mean is known to plus and minus this share; 0: it does not."""
    paced: bool = False
    """Its operations come on a schedule."""


class StageStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    AT_BARRIER = "at barrier"
    DONE = "done"
    FAILED = "failed"
    ABORTED = "aborted"
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
    scheduled_p99_us: float = 0.0
    """The worst of the three groups' p99 counted from when operations were due; like service where nothing waited."""

    @property
    def ops(self) -> float:
        return self.get_ops + self.put_ops + self.meta_ops

    @property
    def p99_us(self) -> float:
        """The worst of the three groups' p99."""
        return max(self.get_p99_us, self.put_p99_us, self.meta_p99_us)


@dataclass(frozen=True, slots=True)
class SteadyView:
    """The steady part of a stage. It begins `from_s` seconds after the warm-up (`from_s` of it were cut) and is
    `seconds` long. Means are per second; `half_width` is that of the 95 % interval of the mean as a share of it: of
    operations or of bytes, whichever is wider. `history` holds it over time: seconds measured, half-width."""

    from_s: float
    seconds: float
    ops: float
    bytes: float
    half_width: float
    history: tuple[tuple[float, float], ...] = ()


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
    """Objects of the layout that the stage has dealt with or found as it wants them (`existed` of them)."""
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
    p50_us: float = 0.0
    """Over all operations of the stage, like `p99_us`."""
    p99_us: float = 0.0
    client_limited: str = ""
    """Why the load generator, and not the storage, limits the stage (at the moment, as long as it lasts); empty if it
    does not."""
    failed_attempts: tuple[AttemptStats, ...] = ()
    """By cause, operation and endpoint, the most frequent first."""
    lateness: Lateness | None = None
    """How the schedule of a rate was kept; None without one, and until an agent is through."""
    warmup_s: float = 0.0
    """Time at the beginning that is left out of all figures."""
    unreported: tuple[str, ...] = ()
    """Agents that were lost: what they did after their last report is not in the figures, which then say what was
    done at the least."""

    steady: SteadyView | None = None
    """From when on the stage was steady, and how well its mean is known; None while it is not."""
    half_width: float = 0.0
    """The stage ends once `steady.half_width` is not more than this; 0: it does not."""

    paced: bool = False
    attribution: Attribution = Attribution()
    """Who limits the stage, and by which facts."""

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest of the work takes at the pace so far; None while that is not known. What existed
        already says nothing about the pace."""
        made = self.done - self.existed
        if self.status is not StageStatus.RUNNING or not self.planned or made <= 0 or self.elapsed_s <= 0:
            return None
        return max(0, self.planned - self.done) * self.elapsed_s / made

    @property
    def retries(self) -> int:
        """Attempts that failed and were made again."""
        return sum(stats.retried for stats in self.failed_attempts)


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
class AgentStageView:
    """One agent's part of a stage, on average over `seconds`. `share` is its part of all operations of the fleet."""

    agent: str
    seconds: float = 0.0
    rates: Rates = Rates()
    total_ops: int = 0
    total_bytes: int = 0
    errors: int = 0
    share: float = 0.0
    client_limited: str = ""
    unreported: bool = False
    """What it did after its last report is not in the figures."""


@dataclass(frozen=True, slots=True)
class EndpointCell:
    """What one agent got from one endpoint in its last interval: bytes and operations per second, p99 in µs."""

    uri: str
    bytes: float = 0.0
    ops: float = 0.0
    p99_us: float = 0.0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """Figures over time, one entry a second, oldest first: of the fleet, unless said otherwise. `at_s` is seconds since
    the run started; bytes and operations are per second, latencies in µs."""

    at_s: tuple[float, ...] = ()
    get_bytes: tuple[float, ...] = ()
    put_bytes: tuple[float, ...] = ()
    ops: tuple[float, ...] = ()
    p50_us: tuple[float, ...] = ()
    p99_us: tuple[float, ...] = ()
    stage_index: tuple[int, ...] = ()
    scheduled_p99_us: tuple[float, ...] = ()

    def until(self, seconds: float) -> Self:
        """The part up to `seconds` after the start."""
        end = bisect_right(self.at_s, seconds)
        return type(self)(*(getattr(self, each.name)[:end] for each in fields(self)))

    def first_ops_s(self, otherwise: float) -> float:
        """When the first second ended in which there were operations; `otherwise` if there is none."""
        return next((at for at, ops in zip(self.at_s, self.ops, strict=True) if ops), otherwise)


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
    """How a run ended. `status`: success, failed, aborted, preflight_failed, threshold_missed, incomplete. Exit codes:
    `sai3tui --help`."""

    status: str
    exit_code: int
    failure: Failure | None = None
    results: str = ""
    resume: str = ""
    """The command that goes on where this run stopped; empty if there is nothing to resume."""
