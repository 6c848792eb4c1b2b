"""The prepare stage: afterwards every object that this agent holds exists, or the stage has failed and says which."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sai3tui.agent.checkpoint import Checkpoints
from sai3tui.agent.lease import LeasedJob
from sai3tui.agent.source import CREATE, StateSource, held
from sai3tui.agent.stages import directories
from sai3tui.agent.stages.base import StageContext, doing_added, set_spec
from sai3tui.agent.stages.survey import survey
from sai3tui.agent.stages.verify import verify, verify_source
from sai3tui.agent.work import Work, take_over
from sai3tui.config.model import EndpointStrategy, PrepareStrategy
from sai3tui.config.ops import Op
from sai3tui.config.units import format_count
from sai3tui.errors import ErrorKind, Failure
from sai3tui.events import Level, Objects
from sai3tui.state.decide import Action
from sai3tui.state.generations import Generation
from sai3tui.state.states import ObjectState, wanted

ABORT_CHECKPOINT_S = 1.0
END_CHECKPOINT_S = 5.0
"""How long the end of the stage waits for a checkpoint."""


async def run(context: StageContext) -> None:
    """Raises StageError if an object could not be created, ResourceError if the state cache cannot be written."""
    await context.wait_for_start()
    await directories.make(context)
    work = await context.next_work()
    if work.survey and work.known is not None:
        context.surveyed(await survey(context, work.known, Action(work.survey), work.epoch))
        work = await context.next_work()
    if not work.holdings:
        context.note(Level.INFO, "this agent has no objects to prepare", "prepare-nothing")
    else:
        await _create(context, work)
    await run_added(context)


async def _create(context: StageContext, work: Work) -> None:
    record = await take_over(context.cache, work)
    if record is None:
        return
    checkpoints = context.checkpoints
    tracked = held(context.cache, record, work.holdings, context.setup.sets)
    settings = context.setup.config.prepare
    together = settings is not None and settings.strategy is PrepareStrategy.PARALLEL
    # What a connection gets at once is of one set; the next one gets of the next set.
    planned = sum(context.setup.counts.values())
    turn = context.lease_size(planned) if together else 0
    setup = context.setup
    source = StateSource(
        context.cache,
        record,
        tracked,
        len(setup.endpoints),
        CREATE,
        turn=turn,
        anywhere=context.anywhere,
        flowing=context.anywhere and setup.agent.strategy is not EndpointStrategy.ROUND_ROBIN,
    )
    existed = 0 if work.added else sum(each.count(wanted(ObjectState.CREATED)) for each in tracked)
    planned = source.todo + existed
    context.progress.parts.append(
        lambda: Objects(planned, source.done, existed, source.failed, source.bytes, record.number, source.repeated)
    )
    if source.todo:
        # Looking at what is there is not what the figures are about.
        context.progress.began()
        await _put(context, record, source, checkpoints)
    if settings is not None and settings.verify:
        await verify(context, verify_source(context, record, work.holdings))
    context.progress.ended()
    await checkpoints.write_within(record, END_CHECKPOINT_S)
    if settings is not None and settings.post_prepare_delay and source.done:
        await asyncio.sleep(settings.post_prepare_delay)


run_added = doing_added(_create)


async def _put(context: StageContext, record: Generation, source: StateSource, checkpoints: Checkpoints) -> None:
    setup = context.setup
    job = LeasedJob(
        op=Op.PUT,
        sets=tuple(set_spec(each) for each in setup.sets),
        lease_size=context.lease_size(source.todo),
        retry=context.retry(always=True),
        max_errors=setup.config.error_handling.max_total_errors,
        brake=context.brake,
        connections=context.connections,
        rests=context.rests,
        anywhere=context.anywhere,
        part_size=setup.config.prepare.part_size if setup.config.prepare is not None else 0,
    )
    try:
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(checkpoints.keep_writing(record))
            await context.run_job(job, source)
            ticking.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures.exceptions[0].__cause__
    except asyncio.CancelledError:
        await checkpoints.write_within(record, ABORT_CHECKPOINT_S)
        raise
    await context.cache.flush()
    missing = source.todo - source.done
    if missing > 0:
        raise context.failed(_incomplete(source, missing))


def _incomplete(source: StateSource, missing: int) -> Failure:
    text = f"{format_count(missing)} of {format_count(source.todo)} objects could not be created"
    hint = "remove the cause and run again: what is created is not written again"
    if not source.samples:
        return Failure(ErrorKind.STORAGE, text, hint=hint)
    first = source.samples[0]
    return replace(first, message=text, causes=(first.message, *first.causes), hint=first.hint or hint)
