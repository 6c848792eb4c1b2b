"""The prepare stage: afterwards every object of this agent's slot exists, or the stage has failed and says which."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sai3tui.agent.checkpoint import Checkpoints
from sai3tui.agent.lease import LeasedJob, lease_size
from sai3tui.agent.source import CREATE, StateSource, TrackedSet
from sai3tui.agent.stages.base import StageContext, bytes_of, set_spec
from sai3tui.agent.stages.survey import adopt, compare, sample
from sai3tui.agent.stages.verify import verify, verify_source
from sai3tui.config.model import Prepare
from sai3tui.config.ops import Op
from sai3tui.config.units import format_count
from sai3tui.errors import ErrorKind, Failure
from sai3tui.events import Level, Objects
from sai3tui.state.decide import Action, Found, after_sample, decide
from sai3tui.state.generations import Generation, found
from sai3tui.state.states import ObjectState

ABORT_CHECKPOINT_S = 1.0


async def run(context: StageContext) -> None:
    """Raises StageError if an object could not be created, ResourceError if the state cache cannot be written."""
    settings = context.setup.config.prepare
    await context.wait_for_start()
    if settings is None or not any(context.setup.counts.values()):
        context.note(Level.INFO, "this agent has no objects to prepare", "prepare-nothing")
        return
    checkpoints = Checkpoints(context)
    record = await _generation(context, settings, checkpoints)
    source = _source(context, record)
    existed = sum(context.cache.states(record, each.set_id).total(ObjectState.CREATED) for each in context.setup.sets)
    planned = sum(context.setup.counts.values())
    context.progress.objects = lambda: Objects(
        planned, source.done, existed, source.failed, source.bytes, record.number, source.repeated
    )
    if source.todo:
        # Looking at what is there is not what the figures are about.
        context.progress.began()
        await _create(context, record, source, checkpoints)
    if settings.verify:
        await verify(context, verify_source(context, record))
    context.progress.ended()
    await context.cache.complete(record)
    await checkpoints.write(record)
    if settings.post_prepare_delay and source.done:
        await asyncio.sleep(settings.post_prepare_delay)


async def _create(context: StageContext, record: Generation, source: StateSource, checkpoints: Checkpoints) -> None:
    setup = context.setup
    job = LeasedJob(
        op=Op.PUT,
        sets=tuple(set_spec(each) for each in setup.sets),
        lease_size=lease_size(source.todo, setup.agent.concurrency),
        retry=context.retry(always=True),
        max_errors=setup.config.error_handling.max_total_errors,
        brake=context.brake,
        connections=context.connections,
    )
    try:
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(checkpoints.keep_writing(record))
            await context.run_job(job, source)
            ticking.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures.exceptions[0].__cause__
    except asyncio.CancelledError:
        await checkpoints.write_quickly(record, ABORT_CHECKPOINT_S)
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


def _source(context: StageContext, record: Generation) -> StateSource:
    tracked = [
        TrackedSet(each.set_id, context.cache.states(record, each.set_id), bytes_of(each))
        for each in context.setup.sets
    ]
    return StateSource(context.cache, record, tracked, len(context.setup.endpoints), CREATE)


async def _generation(context: StageContext, settings: Prepare, checkpoints: Checkpoints) -> Generation:
    """The generation to complete, with what is known to exist recorded as created."""
    setup, cache = context.setup, context.cache
    if cache.latest is None and not setup.fresh:
        await checkpoints.restore()
    latest = cache.latest
    what = found(latest)
    action = decide(
        what,
        fresh=setup.fresh,
        force_overwrite=settings.force_overwrite,
        skip_verification=settings.skip_verification,
    )
    if latest is not None and action is not Action.BEGIN and (latest.slots, latest.slot) != (setup.slots, setup.slot):
        was = f"slot {latest.slot + 1} of {latest.slots}"
        latest = await cache.move(latest, setup.slots, setup.slot, {each.set_id: each.count for each in setup.sets})
        context.note(Level.INFO, f"the number of agents has changed: this one had {was}", "slots-changed")
        if what is Found.FINISHED:
            action = Action.COMPARE
    if latest is None or action is Action.BEGIN:
        latest = await cache.begin(_new_record(context))
    if action is Action.ADOPT:
        there, missing = await sample(context, latest)
        action = after_sample(there, missing)
        text = f"{there} of {there + missing} sampled objects exist"
        if action is Action.REPAIR:
            adopt(context, latest)
            context.note(Level.INFO, f"{text}: all are taken as created (skip_verification)", "adopted")
        elif action is Action.BEGIN:
            context.note(Level.INFO, f"{text}: all are written", "sampled")
        else:
            context.note(Level.WARNING, f"{text}: the storage is listed to find those that are missing", "sampled")
    elif action is Action.REPAIR:
        there, missing = await sample(context, latest)
        if missing:
            text = f"{missing} of {there + missing} sampled objects that were created are gone or of another size"
            context.note(Level.WARNING, f"{text}: the storage is listed to find all of them", "drift")
            action = Action.COMPARE
    elif action is Action.RESUME:
        created = sum(cache.states(latest, each.set_id).total(ObjectState.CREATED) for each in setup.sets)
        text = f"an unfinished prepare is resumed: {format_count(created)} objects were created before"
        context.note(Level.INFO, text, "resumed")
    if action is Action.COMPARE:
        existing = await compare(context, latest)
        context.note(Level.INFO, f"{format_count(existing)} objects of this agent exist already", "listed")
    await cache.flush()
    return latest


def _new_record(context: StageContext) -> Generation:
    setup = context.setup
    return Generation(
        number=0,
        slots=setup.slots,
        slot=setup.slot,
        seed=setup.config.seed,
        endpoints=tuple(endpoint.uri for endpoint in setup.endpoints),
        sets=setup.counts,
    )
