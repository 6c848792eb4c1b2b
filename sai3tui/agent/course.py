"""What controllers have decided about a run, and how long its agent waits for them to decide."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sai3tui.agent.exclusion import Exclusions
from sai3tui.agent.leadership import Leadership
from sai3tui.agent.state import StateMachine
from sai3tui.agent.work import Assignments, Work
from sai3tui.proto import sai3tui_pb2 as pb

logger = logging.getLogger(__name__)

ABORT_GRACE_S = 2.0
ABORT_SLACK_S = 1.0
FAREWELL_S = 15.0
"""How long a run that is over stays as it is for its controller to say goodbye."""


class Course:
    """One per run, on its thread, but for `goodbye`, `abort` and the seats, which are the service's: `post` brings what
    they mean to the run's thread. `controller_timeout_s`: so long a run waits while nobody leads it."""

    def __init__(
        self, machine: StateMachine, controller_timeout_s: float, post: Callable[[Callable[[], object]], None]
    ) -> None:
        self.seats = Leadership(lambda: post(self._stir))
        self.over = False
        """Nothing of the run goes on any more, and its end is being told."""
        self.exclusions = Exclusions()
        self.assignments = Assignments(self._stir)
        self.complete: set[int] = set()
        """Stages after which every object of the generation exists."""
        self.abort_reason: str | None = None
        self.abort_asked = asyncio.Event()
        self._post = post
        self._machine = machine
        self._limit = controller_timeout_s
        self._releases: dict[int, int] = {}
        self._firsts: dict[int, str] = {}
        self._signal = asyncio.Event()
        self._said_goodbye = False

    # --- decisions

    def goodbye(self) -> None:
        """The controller needs nothing more."""
        self._said_goodbye = True
        self._post(self._stir)

    def release(self, release: pb.Release) -> bool:
        """The barrier is open; it may be one that has not been reached yet. The first word on a barrier counts:
        whether this is it."""
        if release.stage_index in self._releases:
            return False
        self._releases[release.stage_index] = release.start_time_ns
        self._firsts[release.stage_index] = next(iter(release.arrived), "")
        if release.generation_complete:
            self.complete.add(release.stage_index)
        self._stir()
        return True

    def exclude(self, stage_index: int, reason: str) -> None:
        """The others have gone past this barrier: stop its stage, and wait at the next one."""
        if stage_index >= self._machine.stage_index:
            self.exclusions.add(stage_index, reason)
            self._stir()

    def abort(self, reason: str) -> bool:
        """End the run; False if it had ended, or was ending, already."""
        if self.abort_reason is not None or self.over:
            return False
        self.abort_reason = reason
        self._post(self.abort_asked.set)
        self._post(self._stir)
        return True

    @property
    def aborting(self) -> bool:
        return self.abort_reason is not None

    # --- waiting for them

    def passed(self, index: int) -> bool:
        """Whether this agent has nothing more to do in stage `index`."""
        return index in self._releases or index in self.exclusions

    def acts(self, index: int, agent: str) -> bool:
        """Whether `agent` is the one that does, once barrier `index` is open, what one of those who passed it does for
        all."""
        return self._firsts.get(index) in (agent, "")

    async def released(self, index: int, *, works: bool = True) -> int:
        """When the next stage begins; also returns if there is more to do in this one, if it `works` in it. An agent
        that is excluded has nothing to wait for."""
        works = works and index > 0
        await self._patiently(
            lambda: self.passed(index) or (works and self.assignments.waiting(index)), f"at barrier {index}"
        )
        return self._releases.get(index, 0)

    async def next_work(self, index: int) -> Work:
        """What the controller wants done in stage `index`."""
        while (work := self.assignments.take(index)) is None:
            await self._patiently(lambda: self.assignments.waiting(index), f"in stage {index}")
        return work

    async def farewell(self) -> None:
        """Stay until the controller has seen how it ended, for a bounded time."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                while not (self._said_goodbye or self.seats.alone or self.aborting):
                    await self._signal.wait()
        except TimeoutError:
            logger.info("no goodbye from the controller within %g s", FAREWELL_S)

    async def _patiently(self, told: Callable[[], bool], where: str) -> None:
        """Wait for the controller. If none leads for too long, the run is aborted."""
        limit = self._limit
        arrived = time.monotonic()
        while not told():
            since = self.seats.alone_since
            left = None if since is None else max(since, arrived) + limit - time.monotonic()
            if left is not None and left <= 0:
                self.abort(f"no controller for {limit:g} s {where}")
                await asyncio.sleep(ABORT_GRACE_S + ABORT_SLACK_S)
            signal = self._signal
            try:
                async with asyncio.timeout(left):
                    await signal.wait()
            except TimeoutError:
                continue

    def _stir(self) -> None:
        signal, self._signal = self._signal, asyncio.Event()
        signal.set()
