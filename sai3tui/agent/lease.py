"""What the stages hand to the worker pool: jobs, and leases on the indices that they are about.

A lease is the right, and the duty, to do something to some object indices once. Who grants leases (the state cache)
has written down that the work begins before it does so; what becomes of each index is reported to it. Object index
i = slot + (first_k + j * stride) * slots, for j from 0 to count - 1, unless `explicit` lists the indices.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from sai3tui.config.model import Content, EndpointStrategy, IoRate, ReadRange
from sai3tui.config.ops import Op
from sai3tui.errors import Failure
from sai3tui.workload.drawing import Draw
from sai3tui.workload.keyspace import KeySpace

MAX_OUTSTANDING = 1024
"""Indices of a set that are leased and not reported yet, over all connections, unless those are more."""

LEASE_SIZE = 8
"""Indices per lease in a mix, where nothing asks for more."""

TURNS = -2
"""The set whose leases are turns: leave to begin an operation."""

BYTES = -3
"""The set whose leases are leave to move some bytes."""

LEASES_PER_CONNECTION = 2
"""The one it works on, and the next, so that it need not wait for the state cache."""


def lease_size(count: int, connections: int, fleet: int = 0) -> int:
    """Indices per lease for an agent that has `count` objects of a set to do on `connections` of the `fleet`'s, at
    least 1: all that the fleet has leased at once is at most min(1 % of the set, `MAX_OUTSTANDING`), or
    `LEASES_PER_CONNECTION` objects per connection of the agents to whose connections no more would fall."""
    allowed = min(count // 100, MAX_OUTSTANDING * connections // max(1, connections, fleet))
    return max(1, allowed // (LEASES_PER_CONNECTION * max(1, connections)))


@dataclass(frozen=True, slots=True)
class Lease:
    """See the module. `explicit`, if not empty, is the bytes of an array('Q') of object indices. A `lease_id` of 0: the
    source does not want to hear what became of the indices."""

    lease_id: int
    set_id: int
    generation: int
    slot: int
    slots: int
    endpoint: int
    first_k: int
    count: int
    stride: int = 1
    epoch: int = 0
    explicit: bytes = b""

    def indices(self) -> Iterable[int]:
        """The object indices, in order."""
        if self.explicit:
            listed = array("Q")
            listed.frombytes(self.explicit)
            return listed
        first = self.slot + self.first_k * self.slots
        step = self.stride * self.slots
        return range(first, first + self.count * step, step)


class LeaseSource(Protocol):
    """Who grants leases and hears what became of them. Called on the loop of the pool only."""

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        """A lease of at most `want` indices for connections to `endpoint`, or None if there is nothing left for them.

        `set_id` names the set that an execute stage needs (names for new objects, objects to delete); None stands for
        any set of the job. The source has durably recorded that work on these indices begins before it returns.
        Raises Sai3Error if it cannot; that ends the stage. After `lost` there may be something left again.
        """
        ...

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        """Some indices of a lease are settled. Called several times per lease, each index once."""
        ...

    def unused(self, lease_id: int, count: int) -> None:
        """The last `count` indices of a lease were not begun, and nobody will."""
        ...

    def lost(self, lease_id: int) -> None:
        """A worker died or was stopped: indices of this lease that were not reported as finished may or may not have
        been worked on, and are the source's to grant again."""
        ...


@runtime_checkable
class MovableSource(Protocol):
    """A `LeaseSource` of things that need not be done at one endpoint."""

    def taken_out(self, endpoint: int, *, out: bool) -> None:
        """Nothing is done at an endpoint for a while, or again: others may be granted what would be for it, if it can
        be done there."""
        ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a retryable failure is tried again, and after how many seconds. 0 retries: not at all."""

    max_retries: int = 0
    initial_delay: float = 0.1
    max_delay: float = 5.0
    multiplier: float = 2.0
    jitter: float = 0.25


@dataclass(frozen=True, slots=True)
class ErrorBrake:
    """When more than `rate` operations per second failed over `window` seconds in ways that time may mend, the agent
    begins none for `pause` seconds."""

    rate: float
    window: float
    pause: float


@dataclass(frozen=True, slots=True)
class SetSpec:
    """One object set as workers see it. `seed` is the dataset seed that content is made of."""

    set_id: int
    objects: KeySpace
    content: Content = field(default_factory=Content)
    seed: int = 1


@dataclass(frozen=True, slots=True)
class LeasedJob:
    """PUT, DELETE or (`verify`) GET and compare everything that the lease source grants (prepare, cleanup, verify).

    `start_ns` is on CLOCK_MONOTONIC, 0: at once. `lease_size` as from the function of that name. The stage is stopped
    and has failed when more than `max_errors` operations failed for good (None: no limit). `missing_is_done`: a
    DELETE of what is not there has succeeded. `connections`: how many of the agent's to each endpoint take part; empty:
    all. `rests`: an endpoint that keeps failing is taken out for a while; `anywhere`: what is for it can be done at the
    others. `part_size`: larger objects are PUT in parts of so many bytes; 0: in one request.
    """

    op: Op
    sets: tuple[SetSpec, ...]
    lease_size: int = 1
    start_ns: int = 0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_errors: int | None = None
    missing_is_done: bool = False
    brake: ErrorBrake | None = None
    verify: bool = False
    connections: tuple[int, ...] = ()
    rests: bool = False
    anywhere: bool = False
    part_size: int = 0


@dataclass(frozen=True, slots=True)
class FleetPart:
    """The agent's place in the fleet: it is number `agent` of `agents`, and has the connections from number `first` on,
    of `total`. `seed` is that of the fleet's schedules, the same for all agents."""

    first: int
    total: int
    seed: int = 1
    agent: int = 0
    agents: int = 1


@dataclass(frozen=True, slots=True)
class MixOp:
    """One kind of operation in a mix.

    Indices come from leases if `leased` (PUT of new names, DELETE, objects in order), else from `draws`: one for all
    endpoints, or one per endpoint where each has objects of its own. `io_rate`, unless None, is the rate at which the
    fleet does operations of the entry's group, which then take no part in the draw by weight. `generation` is that of
    the content that a PUT onto an existing object writes; its version is counted from 1. `verify`: what a GET reads is
    compared with that content, in any of its versions. At most `concurrency` connections of the agent (None: all) are
    in it at once; who draws it beyond that waits, so that the proportions between entries are kept. Entries of one
    `group` share their limit.

    `fresh`: the entry is about what PUTs of set `set_id` have made meanwhile, which is only at the endpoint where it
    was put if `apart`. It shares the weight of its group with the other entries, of `population` objects each.

    `ahead`: at least so many indices are leased ahead for each connection, more than the job says.

    What takes more than one request, or less than an object: a GET of a `read_range` only; a GET in ranges of `split`
    (size, from which size of the object on, how many at once); a PUT in parts of `part_size` bytes; a DELETE of
    `delete_many` objects at once. `made`: RMDIR of what a MKDIR of the same set has made, each directory once.
    """

    op: Op
    weight: float
    set_id: int
    draws: tuple[Draw, ...] = ()
    leased: bool = False
    generation: int = 0
    recursive: bool = False
    verify: bool = False
    concurrency: int | None = None
    group: int = 0
    io_rate: IoRate | None = None
    population: int = 0
    fresh: bool = False
    apart: bool = False
    ahead: int = 0
    read_range: ReadRange | None = None
    split: tuple[int, int, int] | None = None
    part_size: int = 0
    delete_many: int = 1
    made: bool = False

    @property
    def stepped(self) -> bool:
        """Whether an operation needs more than one request, is about a part of an object, or about a directory."""
        many = self.split or self.part_size or self.delete_many > 1
        return bool(many or self.read_range or self.op in (Op.MKDIR, Op.RMDIR))


@dataclass(frozen=True, slots=True)
class MixJob:
    """A mix of operations for `duration` seconds (execute). `io_rate` is that of all entries that have none of their
    own, for the whole fleet, of which the agent is `fleet` (None: all of it).

    `strategy` says which endpoint gets an operation that is due. `seed` decides which operations are drawn. Operations
    in flight at the end have `drain` seconds to complete; they count. `rests`: an endpoint that keeps failing is taken
    out for a while. `turns`: the stage ends after so many operations,
    whose turns are leases of set `TURNS`; `until_bytes`: once so many bytes have been moved, which are leased as
    `byte_turns` of set `BYTES`. `connections` as in `LeasedJob`.
    """

    ops: tuple[MixOp, ...]
    sets: tuple[SetSpec, ...]
    duration: float
    seed: int = 1
    lease_size: int = LEASE_SIZE
    start_ns: int = 0
    drain: float = 10.0
    io_rate: IoRate | None = None
    fleet: FleetPart | None = None
    strategy: EndpointStrategy = EndpointStrategy.ROUND_ROBIN
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_errors: int | None = None
    brake: ErrorBrake | None = None
    rests: bool = False
    turns: int | None = None
    until_bytes: int | None = None
    connections: tuple[int, ...] = ()

    @property
    def byte_turn(self) -> int:
        """How many bytes each of the leased turns stands for."""
        return max(4096, (self.until_bytes or 0) >> 17)

    @property
    def byte_turns(self) -> int:
        """How many of them there are."""
        return -(-(self.until_bytes or 0) // self.byte_turn)

    @property
    def stepped(self) -> bool:
        """Whether more has to be looked after than one request an operation."""
        return self.turns is not None or self.until_bytes is not None or any(op.stepped for op in self.ops)


Job = LeasedJob | MixJob
