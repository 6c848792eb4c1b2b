"""What the agent's main process and a worker tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sai3tui.agent.clock import agent_clock
from sai3tui.agent.lease import Job, Lease
from sai3tui.clock import Clock
from sai3tui.config.storage_options import FileOptions, S3Options
from sai3tui.errors import Failure
from sai3tui.events import AttemptStats, Lateness
from sai3tui.storage.engine import Endpoint


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What workers need for a whole run. `connections[e]` is how many the agent has to `endpoints[e]`.

    Times in seconds. `null_delay` is how long each operation of the null engine takes. Credentials and the like come
    from the environment, which workers inherit. `oplog` is what the names of the workers' op-logs begin with;
    `clock_offset_ns` is added to the agent's `clock` there, until there is a `ClockReading`.
    """

    endpoints: tuple[Endpoint, ...]
    connections: tuple[int, ...]
    engine: str = "wire"
    connect_timeout: float = 5.0
    op_timeout: float = 120.0
    region: str = "us-east-1"
    null_delay: float = 0.0
    s3: S3Options = field(default_factory=S3Options)
    files: FileOptions = field(default_factory=FileOptions)
    oplog: Path | None = None
    clock_offset_ns: int = 0
    clock: Clock = field(default_factory=agent_clock)
    agent: str = ""
    forwarded: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables besides those of the environment: here, and not there, so that no process shows them."""


# --- main to worker ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """The first message: who you are of how many, and your share of the connections: those from `first_connection` on,
    in the agent's count of them."""

    setup: WorkerSetup
    number: int
    connections: tuple[int, ...]
    first_connection: int
    workers: int = 1


@dataclass(frozen=True, slots=True)
class StartStage:
    """`stage` numbers the pool's stages. A mix ends `ends_ns` (monotonic), 0: when there is nothing left to do.

    `lanes` says how many of this worker's connections to each endpoint take part (empty: all), and `first_lane` how
    many of the workers before it do."""

    stage: int
    job: Job
    ends_ns: int = 0
    lanes: tuple[int, ...] = ()
    first_lane: int = 0


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease, or None: there is nothing left of the set for connections to this endpoint, or the stage ends. Answers
    one entry of a `Wanted`, or `count` of what it wants; every want is answered whole."""

    stage: int
    set_id: int | None
    endpoint: int
    count: int
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class MoreWork:
    """There may be leases again where there were none. `call` counts these messages, from 1."""

    stage: int
    call: int


@dataclass(frozen=True, slots=True)
class StopStage:
    """Begin no operation any more; those in flight get `grace` seconds."""

    stage: int
    grace: float


@dataclass(frozen=True, slots=True)
class EndMix:
    """The time of a mix is up, earlier than it was to be."""

    stage: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Begin no operation before `until_ns` (monotonic): errors come too fast."""

    stage: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class RestEndpoint:
    """Begin nothing at an endpoint before `until_ns` (monotonic), then try. 0: go on, there is no other one left."""

    stage: int
    endpoint: int
    until_ns: int


# --- worker to main ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine is open."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The worker cannot go on and ends."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Wanted:
    """Leases of at most `count` indices, each for one set (None: any of the job) and endpoint."""

    stage: int
    wants: tuple[tuple[int | None, int, int], ...]
    """(set_id, endpoint, count)"""


@dataclass(frozen=True, slots=True)
class Settled:
    """Indices of a lease that are settled; `done` is the bytes of an array('Q')."""

    lease_id: int
    done: bytes
    failed: tuple[tuple[int, Failure], ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """What has been settled since the last such message."""

    stage: int
    leases: tuple[Settled, ...]


@dataclass(frozen=True, slots=True)
class Unused:
    """The last indices of these leases were not begun, and will not be: (lease_id, how many)."""

    stage: int
    leases: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class FailuresSeen:
    """`count` operations have failed for good for a cause like that of `sample` since the last such message."""

    stage: int
    count: int
    sample: Failure


@dataclass(frozen=True, slots=True)
class AttemptsFailed:
    """Attempts that have failed since the last such message, those of `FailuresSeen` included."""

    stage: int
    attempts: tuple[AttemptStats, ...]


@dataclass(frozen=True, slots=True)
class EndpointFailing:
    """Many attempts in a row have failed at an endpoint, the last one like this."""

    stage: int
    endpoint: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class EndpointBack:
    """An endpoint that had rested has answered."""

    stage: int
    endpoint: int


@dataclass(frozen=True, slots=True)
class Paced:
    """How a worker kept a schedule of a mix, told at its end."""

    stage: int
    lateness: Lateness


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is in flight and nothing is left to do, as far as the worker knows; all figures are in the mapping.

    `heard` is the `call` of the last `MoreWork`, 0 if there was none.
    """

    stage: int
    heard: int
