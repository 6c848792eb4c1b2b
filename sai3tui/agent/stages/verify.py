"""The verify stage: reads every object that is recorded as created, and compares it with what was written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sai3tui.agent.lease import LeasedJob
from sai3tui.agent.source import VERIFY, StateSource, held
from sai3tui.agent.stages.base import StageContext, doing_added, set_spec
from sai3tui.agent.work import Work, take_over
from sai3tui.config.model import Fill
from sai3tui.config.ops import Op
from sai3tui.config.units import format_count
from sai3tui.errors import ErrorKind, Failure
from sai3tui.events import Level, Objects
from sai3tui.state.generations import Generation, Holding
from sai3tui.workload.objects import ObjectSet


async def run(context: StageContext) -> None:
    """Raises StageError, of kind CORRUPT if an object is not what was written, or is gone."""
    await context.wait_for_start()
    work = await context.next_work()
    if not work.holdings:
        context.note(Level.WARNING, "nothing is recorded as created here: there is nothing to verify", "not-verified")
    else:
        await _verify(context, work)
    await run_added(context)


async def _verify(context: StageContext, work: Work) -> None:
    record = await take_over(context.cache, work)
    if record is None:
        return
    source = verify_source(context, record, work.holdings)
    context.progress.parts.append(
        lambda: Objects(source.todo, source.done, 0, source.failed, source.bytes, record.number)
    )
    await verify(context, source)


run_added = doing_added(_verify)


def verify_source(context: StageContext, record: Generation, holdings: Iterable[Holding]) -> StateSource:
    """Leases on all objects of these that are created and whose content can be told."""
    setup = context.setup
    telling = {each.set_id for each in setup.sets if can_tell(context, each)}
    tracked = held(context.cache, record, [each for each in holdings if each.set_id in telling], setup.sets)
    return StateSource(context.cache, record, tracked, len(setup.endpoints), VERIFY, anywhere=context.anywhere)


async def verify(context: StageContext, source: StateSource) -> None:
    """Read back what `source` grants. Raises StageError as `run` does."""
    setup = context.setup
    if not source.todo:
        return
    job = LeasedJob(
        op=Op.GET,
        sets=tuple(set_spec(each) for each in setup.sets),
        lease_size=context.lease_size(source.todo),
        retry=context.retry(always=True),
        max_errors=setup.config.error_handling.max_total_errors,
        brake=context.brake,
        verify=True,
        connections=context.connections,
        rests=context.rests,
        anywhere=context.anywhere,
    )
    await context.run_job(job, source)
    if source.failed:
        raise context.failed(_unread(source))


def _unread(source: StateSource) -> Failure:
    first = source.samples[0]
    text = f"{format_count(source.failed)} of {format_count(source.todo)} objects could not be read back"
    if first.kind is ErrorKind.NOT_FOUND:
        # It was written, and is lost: for whoever wants it back that is no better than other bytes.
        first = replace(first, kind=ErrorKind.CORRUPT, hint="it was created; has something else deleted it?")
    return replace(first, message=text, causes=(first.message, *first.causes))


def can_tell(context: StageContext, objects: ObjectSet) -> bool:
    """Whether what is read from the set can be compared: not if it is overwritten without anything in its content that
    says by which write. Says so."""
    if objects.content.fill is Fill.ZERO or objects.content.dedup_factor <= 1:
        return True
    overwritten = objects.set_id in context.setup.resolved.overwritten
    if overwritten:
        text = "objects that have duplicates and are overwritten cannot be verified"
        context.note(Level.WARNING, text, "not-verified")
    return not overwritten
