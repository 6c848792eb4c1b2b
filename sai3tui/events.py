"""The run log's vocabulary: events (what happened) and interval reports (how much, how fast).

Both sides speak it: an agent makes `AgentMessage`s of these, a controller adds its own events, re-stamps everything
to its clock and appends it to the run log. The screens, `--batch`, the result writers and a finished run opened later
read nothing else. All times are nanoseconds since the Unix epoch, UTC.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, Failure
from sai3tui.metrics.histogram import COARSE, Histogram
from sai3tui.proto import sai3tui_pb2 as pb

PROTOCOL_VERSION = 1


class AgentState(IntEnum):
    """States of an agent (values of the wire enum). `LOST` and `CONNECTING` exist only in the controller's eyes."""

    IDLE = 0
    VALIDATING = 1
    RUNNING = 2
    AT_BARRIER = 3
    EXCLUDED = 5
    COMPLETED = 6
    FAILED = 7
    ABORTING = 8
    ABORTED = 9
    CONNECTING = 100
    LOST = 101

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", " ")


class Level(IntEnum):
    """How grave a finding or a note is."""

    OK = 0
    INFO = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        return self.name.lower()


# --- what an interval or a stage measured --------------------------------------------------------------------------


@dataclass(slots=True)
class OpStats:
    """Figures of one operation and size bucket: counts, body bytes, latency histograms.

    `ops` counts operations that succeeded, `errors` those that did not, `attempts` requests sent (retries included).
    """

    op: Op
    bucket: int
    ops: int = 0
    bytes: int = 0
    errors: int = 0
    attempts: int = 0
    service: Histogram = field(default_factory=Histogram)
    scheduled: Histogram = field(default_factory=Histogram)
    ttfb: Histogram = field(default_factory=Histogram)

    def merge(self, other: OpStats) -> None:
        self.ops += other.ops
        self.bytes += other.bytes
        self.errors += other.errors
        self.attempts += other.attempts
        self.service.merge(other.service)
        self.scheduled.merge(other.scheduled)
        self.ttfb.merge(other.ttfb)

    def copy(self) -> OpStats:
        histograms = self.service.copy(), self.scheduled.copy(), self.ttfb.copy()
        return OpStats(self.op, self.bucket, self.ops, self.bytes, self.errors, self.attempts, *histograms)


@dataclass(slots=True)
class EndpointStats:
    """Figures of one operation at one endpoint; the histogram is coarse."""

    endpoint: int
    uri: str
    op: Op
    ops: int = 0
    bytes: int = 0
    errors: int = 0
    attempts: int = 0
    service: Histogram = field(default_factory=lambda: Histogram(COARSE))

    def merge(self, *others: EndpointStats) -> None:
        for other in others:
            self.ops += other.ops
            self.bytes += other.bytes
            self.errors += other.errors
            self.attempts += other.attempts
        self.service.merge_all([other.service for other in others])

    def copy(self) -> EndpointStats:
        counts = self.ops, self.bytes, self.errors, self.attempts
        return EndpointStats(self.endpoint, self.uri, self.op, *counts, self.service.copy())


@dataclass(frozen=True, slots=True)
class Objects:
    """What a stage has done to the objects of the layout so far."""

    planned: int = 0
    done: int = 0
    existed: int = 0
    failed: int = 0
    bytes: int = 0
    generation: int = 0
    repeated_puts: int = 0

    def __add__(self, other: Objects) -> Objects:
        return Objects(
            self.planned + other.planned,
            self.done + other.done,
            self.existed + other.existed,
            self.failed + other.failed,
            self.bytes + other.bytes,
            max(self.generation, other.generation),
            self.repeated_puts + other.repeated_puts,
        )


@dataclass(frozen=True, slots=True)
class AttemptStats:
    """Attempts that failed, of one cause, operation and endpoint: `count`, of which `retried` were followed by another
    one. Times are those of the first and the last; `request_id` and `message` are of one of them."""

    kind: ErrorKind
    subclass: str
    endpoint: int
    uri: str
    op: Op
    count: int = 0
    retried: int = 0
    first_ns: int = 0
    last_ns: int = 0
    request_id: str = ""
    message: str = ""

    @property
    def cause(self) -> tuple[ErrorKind, str, str, Op]:
        """What those that are counted together have in common."""
        return self.kind, self.subclass, self.uri, self.op

    def __add__(self, other: AttemptStats) -> AttemptStats:
        return dataclasses.replace(
            self,
            count=self.count + other.count,
            retried=self.retried + other.retried,
            first_ns=min(self.first_ns or other.first_ns, other.first_ns or self.first_ns),
            last_ns=max(self.last_ns, other.last_ns),
            request_id=self.request_id or other.request_id,
            message=self.message or other.message,
        )


@dataclass(frozen=True, slots=True)
class Vitals:
    """Host and generator figures of one interval; percentages of the whole host, but `worker_cpu_pct` of one core.

    None: cannot be measured here. Lag is how long what was ready waited for a worker's loop; `nic_bytes_per_s` is of
    the busiest direction of the busiest interface, `nic_pct` of its link speed; softirq is that of the busiest core.
    """

    cpu_user_pct: float = 0.0
    cpu_system_pct: float = 0.0
    cpu_iowait_pct: float = 0.0
    worker_cpu_pct: float = 0.0
    rss_bytes: int = 0
    workers: int = 0
    worker_lag_p99_us: float | None = None
    worker_lag_max_us: float | None = None
    nic_bytes_per_s: float | None = None
    nic_pct: float | None = None
    tcp_retransmits: int | None = None
    softirq_pct: float | None = None
    steal_pct: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One interval of one agent. Counts are the interval's own; `objects` are totals since the stage began.

    `client_limited_reason`: why this agent, and not the storage, limited this interval; empty if it did not. `wire` is
    the message it came in, with times of the agent's clock, for whoever stores it.
    """

    agent: str
    stage_index: int
    start_ns: int
    end_ns: int
    ops: tuple[OpStats, ...]
    endpoints: tuple[EndpointStats, ...]
    objects: Objects
    vitals: Vitals
    warmup: bool = False
    failed_attempts: tuple[AttemptStats, ...] = ()
    client_limited_reason: str = ""
    wire: pb.Report | None = field(default=None, compare=False, repr=False)
    sequence: int = field(default=0, kw_only=True, compare=False)


BEHIND_SHARE = 0.01
"""From this share of the stage's time on, what was not begun in time means that the rate was not delivered."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """Of operations that were due: how many were begun, how late all together and the latest of them, and how long the
    first one that was never begun had been due at the end. Times in nanoseconds."""

    begun: int = 0
    late_ns: int = 0
    latest_ns: int = 0
    behind_ns: int = 0

    def __add__(self, other: Lateness) -> Lateness:
        return Lateness(
            self.begun + other.begun,
            self.late_ns + other.late_ns,
            max(self.latest_ns, other.latest_ns),
            max(self.behind_ns, other.behind_ns),
        )

    def delivered(self, seconds: float) -> bool:
        """Whether the rate was delivered over a stage of so many seconds."""
        return self.behind_ns <= BEHIND_SHARE * seconds * 1e9

    def text(self) -> str:
        """For a person."""
        if not self.begun:
            return "no operation of the schedule was begun"
        mean = self.late_ns / self.begun / 1e6
        found = f"operations began {mean:,.2f} ms late on average, {self.latest_ns / 1e6:,.1f} ms at most"
        if self.behind_ns > 0:
            found += f"; at the end they were {self.behind_ns / 1e9:,.2f} s behind"
        return found


@dataclass(frozen=True, slots=True)
class StageSummary:
    """A whole stage of one agent: the merge of its intervals but those of the warm-up, made by the agent."""

    stage_index: int
    stage_name: str
    stage_type: str
    seconds: float
    ops: tuple[OpStats, ...] = ()
    endpoints: tuple[EndpointStats, ...] = ()
    objects: Objects = Objects()
    errors: int = 0
    attempts: int = 0
    start_ns: int = 0
    end_ns: int = 0
    failure: Failure | None = None
    client_limited: bool = False
    client_limited_reason: str = ""
    failed_attempts: tuple[AttemptStats, ...] = ()
    lateness: Lateness | None = None
    """How the schedule was kept; None: there was none."""

    @property
    def failed(self) -> bool:
        return self.failure is not None


# --- events --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, at `time_ns` on the controller's clock, at `agent` (empty: the controller).

    `sequence` is its number in that agent's log, 0 for what the controller says itself.
    """

    time_ns: int
    agent: str = ""
    sequence: int = field(default=0, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    run_id: str = ""
    config_name: str = ""
    layout_hash: str = ""
    agents: tuple[str, ...] = ()
    preflight: bool = True


@dataclass(frozen=True, slots=True)
class AgentConnected(Event):
    address: str = ""
    package_version: str = ""
    hostname: str = ""
    cores: int = 0
    clock_offset_ns: int = 0
    clock_uncertainty_ns: int = 0


@dataclass(frozen=True, slots=True)
class StateChanged(Event):
    state: AgentState = AgentState.IDLE
    stage_index: int = 0
    reason: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Finding(Event):
    """One preflight check on one subject by one agent."""

    check: str = ""
    subject: str = ""
    level: Level = Level.OK
    message: str = ""
    evidence: str = ""
    advice: str = ""
    took_ms: float = 0.0
    failure: Failure | None = None
    shows: tuple[str, ...] = ()
    """Places, as "agent.endpoint", both from 0, whose probes the subject shows, where that was looked at."""


@dataclass(frozen=True, slots=True)
class StageStarted(Event):
    stage_index: int = 0
    stage_name: str = ""
    planned_start_ns: int = 0


@dataclass(frozen=True, slots=True)
class BarrierArrived(Event):
    stage_index: int = 0
    summary: StageSummary | None = None


@dataclass(frozen=True, slots=True)
class Release(Event):
    """A barrier is open: since when the next stage may begin, who has arrived, who is left behind, and why it is."""

    stage_index: int = 0
    start_ns: int = 0
    arrived: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BarrierReleased(Release):
    """The controller opened it: once a barrier, for all agents."""


@dataclass(frozen=True, slots=True)
class ReleaseSeen(Release):
    """An agent was told so: what `BarrierReleased` says, for those who only have its log."""


@dataclass(frozen=True, slots=True)
class StageBegan(Event):
    """An agent let a stage begin, at `began_ns`; it was to at `planned_start_ns`."""

    stage_index: int = 0
    planned_start_ns: int = 0
    began_ns: int = 0


@dataclass(frozen=True, slots=True)
class WorkAssigned(Event):
    """An agent was told which objects are its in a stage; `epoch` counts such words, `added` is a lost agent's work."""

    stage_index: int = 0
    epoch: int = 0
    added: bool = False


@dataclass(frozen=True, slots=True)
class StorageSurveyed(Event):
    """An agent has looked at what is in the storage, as it was told to."""

    stage_index: int = 0
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Attached(Event):
    """A controller came to a run in progress, to lead it from now on."""

    controller: str = ""
    dropped: int = 0
    """Messages of the agents that nobody kept."""


@dataclass(frozen=True, slots=True)
class Detached(Event):
    """The controller left; the agents go on to the next barrier and hold there."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Steered(Event):
    """Somebody intervened: `command` is what, on which agent or by how many seconds where that matters."""

    command: str = ""
    subject: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class BarrierWait(Event):
    """What the leader waits for at a barrier: until `deadline_ns` (0: without a bound), not for the agents `without`,
    nor for `excused` ones, which are lost. `shut`: no barrier opens before somebody lets it; `held`: this one would."""

    stage_index: int = 0
    deadline_ns: int = 0
    shut: bool = False
    held: bool = False
    without: tuple[str, ...] = ()
    excused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeaderTold(Event):
    """An agent has kept what the controller `by` said of the run while it led: `line` of events.jsonl, at `said_ns` on
    that one's clock."""

    by: str = ""
    said_ns: int = 0
    line: str = ""


@dataclass(frozen=True, slots=True)
class StageFinished(Event):
    """All agents are through a stage (or it failed): emitted once, by the controller."""

    stage_index: int = 0
    stage_name: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class WorkHandedOver(Event):
    """`agent` is lost and has left `objects` of a stage undone, which the agents `to` do now; empty: nobody does."""

    stage_index: int = 0
    objects: int = 0
    to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PutTwice(Event):
    """`agent`, which counted as lost, has written so many objects in all that had been given to others."""

    stage_index: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class FailureSeen(Event):
    """`count` failures of one cause since the last such event; `sample` is one of them."""

    stage_index: int = 0
    count: int = 1
    sample: Failure = Failure(ErrorKind.INTERNAL, "unknown")


@dataclass(frozen=True, slots=True)
class Note(Event):
    level: Level = Level.INFO
    text: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class ThresholdCrossed(Event):
    """A threshold is missed from now on, or met again. `value` is in the unit of its bound; `text` says it all."""

    stage_index: int = 0
    threshold: str = ""
    met: bool = False
    value: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class AbortRequested(Event):
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    status: str = ""
    exit_code: int = 0
    failure: Failure | None = None


def event_json(event: Event) -> dict[str, Any]:
    """An event as a JSON object: `type` is the class name, histograms are left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, IntEnum):
            return value.name.lower()
        if isinstance(value, Histogram):
            return {"count": value.count, "p50_us": value.percentile_us(0.5), "p99_us": value.percentile_us(0.99)}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return value

    return {"type": type(event).__name__, **plain(event)}


def merge_ops(parts: Sequence[Sequence[OpStats]]) -> list[OpStats]:
    """Figures of several agents or intervals as one, per operation and size bucket, in a stable order."""
    merged: dict[tuple[Op, int], OpStats] = {}
    for part in parts:
        for stats in part:
            known = merged.get((stats.op, stats.bucket))
            if known is None:
                merged[stats.op, stats.bucket] = stats.copy()
            else:
                known.merge(stats)
    return [merged[key] for key in sorted(merged)]


def merge_endpoints(parts: Sequence[Sequence[EndpointStats]]) -> list[EndpointStats]:
    """As `merge_ops`, per endpoint URI and operation."""
    merged: dict[tuple[str, Op], EndpointStats] = {}
    for part in parts:
        for stats in part:
            known = merged.get((stats.uri, stats.op))
            if known is None:
                merged[stats.uri, stats.op] = stats.copy()
            else:
                known.merge(stats)
    return [merged[key] for key in sorted(merged)]


def merge_attempts(parts: Sequence[Sequence[AttemptStats]]) -> list[AttemptStats]:
    """Failed attempts of several agents or intervals, per cause, operation and endpoint; the most frequent first."""
    merged: dict[tuple[ErrorKind, str, str, Op], AttemptStats] = {}
    for part in parts:
        for stats in part:
            known = merged.get(stats.cause)
            merged[stats.cause] = stats if known is None else known + stats
    return sorted(merged.values(), key=lambda stats: (-stats.count, stats.cause))
