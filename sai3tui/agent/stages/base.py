"""What a stage is given to work with, and how it says that it failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from sai3tui.agent.checkpoint import Checkpoints, Note
from sai3tui.agent.clock import now_ns
from sai3tui.agent.controls import Controls
from sai3tui.agent.lease import ErrorBrake, Job, LeaseSource, RetryPolicy, SetSpec, lease_size
from sai3tui.agent.setup import RunSetup
from sai3tui.agent.sharing import Sharing
from sai3tui.agent.work import Work
from sai3tui.config.model import EndpointPolicy, Stage
from sai3tui.errors import Failure, KnownError
from sai3tui.events import Finding, Objects
from sai3tui.state.generations import Known
from sai3tui.state.layout import LayoutCache
from sai3tui.workload.objects import ObjectSet


class StageError(KnownError):
    """A stage failed."""


@dataclass(slots=True)
class Progress:
    """What a stage has done so far: the sum of `parts`, which are asked once a second. `begin_ns` and `end_ns` are when
    the measured part began and ended (Unix epoch), 0 while it has not."""

    parts: list[Callable[[], Objects]] = field(default_factory=list)
    begin_ns: int = 0
    end_ns: int = 0

    def objects(self) -> Objects:
        """Of all parts together."""
        return sum((part() for part in self.parts), Objects())

    def began(self, at_ns: int = 0) -> None:
        """What was before `at_ns` (0: now) is no part of the stage's time."""
        if not self.begin_ns:
            self.begin_ns = at_ns or now_ns()

    def resume(self) -> None:
        """There is more to do: the end is still to come."""
        self.end_ns = 0

    def ended(self) -> None:
        """What follows is no part of the stage's time."""
        if not self.end_ns:
            self.end_ns = now_ns()


@dataclass(frozen=True, slots=True)
class StageContext:
    """One stage of one run. `start_ns` is when it begins, on this host's clock (Unix epoch).

    `next_work` waits for what the controller wants done with which objects; `added_work` is what it has added since,
    if anything. `surveyed` tells it what is in the storage.

    `begin` is told by an execute stage that it can issue operations, and when it will, on the same clock.

    `run_job` has the workers do a job and returns when they are done; it raises StageError if the job failed, and
    does not return once the run is aborted.
    """

    setup: RunSetup
    stage: Stage
    index: int
    start_ns: int
    cache: LayoutCache
    checkpoints: Checkpoints
    controls: Controls
    run_job: Callable[[Job, LeaseSource], Awaitable[None]]
    note: Note
    report_finding: Callable[[Finding], None]
    next_work: Callable[[], Awaitable[Work]]
    added_work: Callable[[], Work | None]
    surveyed: Callable[[Known | None], None]
    sharing: Sharing
    begin: Callable[[int], None]
    progress: Progress = field(default_factory=Progress)

    async def wait_for_start(self) -> None:
        """Sleep until the stage begins."""
        await asyncio.sleep(max(0.0, (self.start_ns - now_ns()) / 1e9))

    def begin_when_due(self) -> int:
        """All is ready for operations: what is measured begins at the agreed time, or now if that is past. Returns that
        on CLOCK_MONOTONIC, in nanoseconds."""
        now = now_ns()
        at_ns = max(self.start_ns, now)
        self.progress.began(at_ns)
        self.begin(at_ns)
        return time.monotonic_ns() + at_ns - now

    def failed(self, failure: Failure) -> StageError:
        """`failure` of this stage, to be raised."""
        context = replace(failure.context, stage=self.stage.name, agent=self.setup.agent.id)
        return StageError(replace(failure, context=context))

    def retry(self, *, always: bool) -> RetryPolicy:
        """Prepare and cleanup try again `always`; a measured operation only where the configuration asks for it."""
        handling = self.setup.config.error_handling
        if not (always or handling.retry_on_error):
            return RetryPolicy()
        return RetryPolicy(
            handling.max_retries,
            handling.initial_retry_delay,
            handling.max_retry_delay,
            handling.retry_backoff_multiplier,
            handling.retry_jitter_factor,
        )

    @property
    def connections(self) -> tuple[int, ...]:
        """How many connections to each endpoint take part in the stage; empty: all that are open."""
        found = self.setup.connections_in(self.stage)
        return () if found == self.setup.opened else found

    def lease_size(self, count: int) -> int:
        """Of leases on `count` objects that this agent has to do. Who shares objects shares what may be in flight."""
        own = self.setup.agent.concurrency
        fleet = sum(agent.concurrency for agent in self.setup.resolved.agents) if self.anywhere else own
        return lease_size(count, own, fleet)

    @property
    def anywhere(self) -> bool:
        """Whether any endpoint will do for any object of the layout."""
        return self.setup.resolved.shared

    @property
    def rests(self) -> bool:
        """Whether an endpoint that keeps failing is taken out while all others do its part."""
        return self.anywhere and self.setup.agent.policy is EndpointPolicy.TOLERANT

    @property
    def brake(self) -> ErrorBrake | None:
        """When errors come too fast; None where the configuration gives no bound or no pause."""
        handling = self.setup.config.error_handling
        if handling.error_rate_threshold <= 0 or handling.error_rate_window <= 0 or handling.backoff_duration <= 0:
            return None
        return ErrorBrake(handling.error_rate_threshold, handling.error_rate_window, handling.backoff_duration)


def doing_added(do: Callable[[StageContext, Work], Awaitable[None]]) -> Callable[[StageContext], Awaitable[None]]:
    """What a stage does, by `do`, with all that is added to its work because another agent was lost. Raises as `do`."""

    async def run_added(context: StageContext) -> None:
        while (work := context.added_work()) is not None:
            await do(context, work)

    return run_added


def set_spec(objects: ObjectSet) -> SetSpec:
    """An object set as workers see it."""
    return SetSpec(objects.set_id, objects, objects.content, objects.seed)
