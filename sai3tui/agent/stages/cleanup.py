"""The cleanup stage: deletes what the state cache says that this layout created, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sai3tui.agent.checks_storage import PROBE_DIRECTORY
from sai3tui.agent.lease import LeasedJob, SetSpec
from sai3tui.agent.owner import release
from sai3tui.agent.source import DELETE, Purpose, StateSource, held
from sai3tui.agent.stages.base import StageContext, doing_added, set_spec
from sai3tui.agent.stages.names import TakenNames, new_names
from sai3tui.agent.work import Work, take_over
from sai3tui.config.model import CleanupMode, fixed_size
from sai3tui.config.ops import Op
from sai3tui.config.units import format_count
from sai3tui.errors import Failure, StorageError
from sai3tui.events import Level, Objects
from sai3tui.state.names import NamePool, NamesTaken
from sai3tui.storage.stoppable import Stopped, stoppable


async def run(context: StageContext) -> None:
    """Raises StageError if an object could not be deleted, unless the cleanup mode is best_effort."""
    await context.wait_for_start()
    await _clean(context, await context.next_work())
    await run_added(context)


async def _clean(context: StageContext, work: Work) -> None:
    cleanup = _Cleanup(context, work)
    context.progress.parts.append(cleanup.objects)
    await cleanup.delete_held()
    for pool, taken in work.names.items():
        await cleanup.delete_names(pool, taken)
    await _settle(context, cleanup)


run_added = doing_added(_clean)


async def _settle(context: StageContext, cleanup: _Cleanup) -> None:
    await context.cache.flush()
    if context.setup.is_files:
        await stoppable(cleanup.remove_directories)
    context.progress.ended()
    if not cleanup.failures:
        await context.checkpoints.remove()
        try:
            await release(context.setup, context.controls)
        except StorageError as error:
            context.note(Level.WARNING, f"the marker of this layout stays: {error.failure().sentence()}", "owner")
        if context.setup.is_files:
            await stoppable(cleanup.remove_own_directories)
    elif cleanup.mode is CleanupMode.BEST_EFFORT:
        text = f"{format_count(cleanup.failed)} objects could not be deleted: {cleanup.failures[0].sentence()}"
        context.note(Level.WARNING, text, "cleanup")
    else:
        first = cleanup.failures[0]
        text = f"{format_count(cleanup.failed)} objects could not be deleted"
        raise context.failed(replace(first, message=text, causes=(first.message, *first.causes)))


class _Cleanup:
    """One assignment of a cleanup stage."""

    def __init__(self, context: StageContext, work: Work) -> None:
        prepare = context.setup.config.prepare
        self._context = context
        self._work = work
        self._source: StateSource | None = None
        self._names: list[TakenNames] = []
        self._prefixes: set[str] = set()
        self.mode = prepare.cleanup_mode if prepare is not None else CleanupMode.TOLERANT

    @property
    def failed(self) -> int:
        source = self._source
        return (source.failed if source is not None else 0) + sum(len(names.failed) for names in self._names)

    @property
    def failures(self) -> list[Failure]:
        """A few of them."""
        found = list(self._source.samples) if self._source is not None else []
        return found + [failure for names in self._names for failure in names.failed[:16]]

    def objects(self) -> Objects:
        planned, done = (
            sum(taken.total for taken in self._work.names.values()),
            sum(names.settled for names in self._names),
        )
        if self._source is not None:
            planned += self._source.todo
            done += self._source.done
        return Objects(planned=planned, done=done, failed=self.failed)

    async def delete_held(self) -> None:
        """DELETE what may exist of what is held."""
        setup, cache = self._context.setup, self._context.cache
        record = await take_over(cache, self._work)
        if record is None:
            return
        purpose = DELETE
        if self.mode is CleanupMode.STRICT:
            purpose = Purpose(DELETE.take, DELETE.during, DELETE.after)
        tracked = held(cache, record, self._work.holdings, setup.sets)
        source = self._source = StateSource(
            cache, record, tracked, len(setup.endpoints), purpose, anywhere=self._context.anywhere
        )
        if source.todo:
            await self._context.run_job(self._job(tuple(set_spec(each) for each in setup.sets), source.todo), source)

    async def delete_names(self, pool: NamePool, taken: NamesTaken) -> None:
        source = TakenNames(0, taken)
        self._names.append(source)
        self._prefixes.add(pool.prefix)
        if taken.total:
            spec = SetSpec(0, new_names(pool, fixed_size(0)))
            op = Op.RMDIR if pool.directories else Op.DELETE
            await self._context.run_job(self._job((spec,), taken.total, op), source)
        if not source.failed:
            await self._context.cache.forget([pool])

    def remove_directories(self, stopped: Stopped) -> None:
        """Remove the directories of the layout that are empty now, the deepest first."""
        _remove_until(self._directories(), stopped)

    def _directories(self) -> Iterator[Path]:
        setup = self._context.setup
        for endpoint in setup.endpoints:
            root = Path(endpoint.prefix)
            for objects in setup.sets:
                for number in reversed(range(objects.directories)):
                    yield root / objects.directory(number)
            for prefix in sorted({each.prefix for each in setup.sets} | self._prefixes, reverse=True):
                below = root / prefix
                yield from sorted(below.glob("[0-9a-f][0-9a-f]*")) if setup.resolved.shards else ()
                while below != root:
                    yield below
                    below = below.parent

    def remove_own_directories(self, stopped: Stopped) -> None:
        """Remove those of markers and checkpoints that are empty now."""
        for endpoint in self._context.setup.endpoints:
            own = os.walk(Path(endpoint.prefix) / PROBE_DIRECTORY, topdown=False)
            _remove_until((Path(directory) for directory, _, _ in own), stopped)

    def _job(self, sets: tuple[SetSpec, ...], count: int, op: Op = Op.DELETE) -> LeasedJob:
        setup = self._context.setup
        return LeasedJob(
            op=op,
            sets=sets,
            lease_size=self._context.lease_size(count),
            retry=self._context.retry(always=True),
            max_errors=None if self.mode is CleanupMode.BEST_EFFORT else setup.config.error_handling.max_total_errors,
            missing_is_done=self.mode is not CleanupMode.STRICT,
            brake=self._context.brake,
            connections=self._context.connections,
            rests=self._context.rests,
            anywhere=self._context.anywhere,
        )


def _remove_until(directories: Iterable[Path], stopped: Stopped) -> None:
    for directory in directories:
        if stopped():
            return
        # Not empty, or another agent was faster: both are fine.
        with suppress(OSError):
            os.rmdir(directory)
