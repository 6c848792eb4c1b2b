"""Uploads in parts that a killed worker or agent has left open: their parts cost room for ever, and no listing of
objects shows them.

They are ended before the first stage of a run, and after the last one of a run that uploads in parts: at both moments
no agent of the run writes. Only what bears the name of an object of this layout below a prefix that the run has claimed
is touched, or that of a probe of ours, and nothing that was begun later than `since`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

from sai3tui.agent.checks_storage import PROBE_DIRECTORY
from sai3tui.agent.controls import Controls
from sai3tui.agent.owner import guards
from sai3tui.agent.setup import RunSetup
from sai3tui.config.ops import Op
from sai3tui.config.resolved import OpSource, ResolvedOp
from sai3tui.config.units import format_count
from sai3tui.errors import StorageError
from sai3tui.events import Level
from sai3tui.storage.control import ControlPlane
from sai3tui.storage.s3uploads import OpenUpload, abort_upload, open_uploads
from sai3tui.workload.names import is_new_name

TIMEOUT_S = 8.0
"""Less than a controller waits for the end of a run; what is left then is found by the next run."""
AT_ONCE = 16
BATCH = 1000
PROBE_AGE_S = 60.0
"""One of preflight that is this old is not being made any more."""
_PROBE = re.compile(re.escape(PROBE_DIRECTORY) + r"probe-[0-9a-f]{16}\.parts")


def makes_parts(setup: RunSetup) -> bool:
    """Whether the run uploads anything in parts."""
    prepare = setup.config.prepare
    return bool(prepare is not None and prepare.part_size) or any(
        op.part_size for op in setup.resolved.ops if op.weight and op.op is Op.PUT
    )


class LeftUploads:
    """One sweep of what this agent's run may touch. `since`: on the monotonic clock, what was begun later is left
    alone."""

    def __init__(self, setup: RunSetup, controls: Controls, since: float) -> None:
        self._setup = setup
        self._controls = controls
        self._since = since
        self._found = 0
        self._ended = 0
        self._problem = ""

    async def end(self) -> None:
        """End them; takes `TIMEOUT_S` at most and never raises for what the storage says."""
        setup = self._setup
        if not guards(setup):
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                for number in range(len(setup.endpoints)):
                    # Where all show the same, the first one that answers tells of all.
                    if await self._end_at(number) and setup.resolved.shared:
                        return
        except TimeoutError:
            self._problem = f"that takes longer than {TIMEOUT_S:g} s"

    def told(self) -> Iterator[tuple[Level, str, str]]:
        """What whoever follows the run is to know: level, text and code of each note."""
        if self._ended:
            text = f"{_uploads(self._ended)} aborted, left open by a worker or an agent that was killed or stopped"
            yield Level.INFO, text, "uploads-aborted"
        if self._problem and self._found > self._ended:
            text = f"{_uploads(self._found - self._ended)} left open, and could not be aborted: {self._problem}"
            yield Level.WARNING, text, "uploads-left"
        elif self._problem and makes_parts(self._setup):
            text = f"uploads in parts that were left open cannot all be looked for: {self._problem}"
            yield Level.INFO, text, "uploads-left"

    async def _end_at(self, number: int) -> bool:
        """Whether the endpoint could tell."""
        if self._setup.resolved.shared:
            # What another one could not tell does not matter.
            self._problem = ""
        try:
            control = await self._controls.of(number)
            if not isinstance(control, ControlPlane):
                return True
            batch: list[OpenUpload] = []
            for prefix in self._places():
                async for each in open_uploads(control, prefix):
                    if each.age_s >= self._least_age(each.key):
                        batch.append(each)
                    if len(batch) == BATCH:
                        await self._abort(control, batch)
                        batch.clear()
            await self._abort(control, batch)
        except StorageError as error:
            self._problem = error.failure().sentence()
            return False
        return True

    async def _abort(self, control: ControlPlane, batch: list[OpenUpload]) -> None:
        self._found += len(batch)
        waiting = iter(batch)

        async def abort() -> None:
            for each in waiting:
                try:
                    gone = not await abort_upload(control, each)
                except StorageError as error:
                    self._problem = error.failure().sentence()
                    return
                self._found -= gone
                self._ended += not gone

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(batch))):
                group.create_task(abort())

    def _places(self) -> list[str]:
        """Where what is ours can be, none of them within another."""
        setup = self._setup
        places = {each.prefix for each in setup.sets} | {op.pattern for op in setup.resolved.ops if _makes(op)}
        places.add(f"{PROBE_DIRECTORY}probe-")
        return [
            place for place in sorted(places) if not any(place != each and place.startswith(each) for each in places)
        ]

    def _least_age(self, key: str) -> float:
        """How many seconds ago an upload with this key must have been begun; more than any number if it is not ours."""
        passed = time.monotonic() - self._since
        setup = self._setup
        if any(objects.index_of(key) is not None for objects in setup.sets):
            return passed
        shards = setup.resolved.shards
        for op in setup.resolved.ops:
            if _makes(op) and key.startswith(op.pattern) and is_new_name(key[len(op.pattern) :], shards):
                return passed
        return max(passed, PROBE_AGE_S) if _PROBE.fullmatch(key) else float("inf")


def _makes(op: ResolvedOp) -> bool:
    """Whether it makes objects with names of their own."""
    return bool(op.weight) and op.op is Op.PUT and op.source is OpSource.NEW


def _uploads(count: int) -> str:
    return "1 upload in parts was" if count == 1 else f"{format_count(count)} uploads in parts were"
