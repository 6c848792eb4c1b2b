"""The execute stage: the operation mix, for as long as the stage lasts."""

from __future__ import annotations

from dataclasses import replace

from sai3tui.agent.lease import (
    BYTES,
    LEASE_SIZE,
    TURNS,
    FleetPart,
    MixJob,
    MixOp,
)
from sai3tui.agent.stages.base import StageContext
from sai3tui.agent.stages.mix import Mix
from sai3tui.agent.stages.turns import TurnSource
from sai3tui.config.model import EndpointPolicy
from sai3tui.config.ops import Op
from sai3tui.config.resolved import OpSource, Resolved, ResolvedOp
from sai3tui.workload.rng import combine

UNLIMITED_S = 366 * 86400.0
"""Of a stage that ends by what it has done, whenever that is."""


async def run(context: StageContext) -> None:
    """Raises StageError if an entry of the workload has nothing to work on, or too many operations failed."""
    stage, resolved = context.stage, context.setup.resolved
    mix = Mix(context)
    # What PUT and MKDIR make comes first: others may take it.
    for op in sorted(resolved.ops_of(stage), key=lambda op: op.source is not OpSource.NEW):
        if op.weight:
            first = len(mix.ops)
            await mix.add(op)
            mix.ops[first:] = [_with_manner(each, op, resolved) for each in mix.ops[first:]]
    context.progress.parts.append(mix.objects)
    try:
        await mix.get_ready()
        await context.run_job(_job(context, mix), mix.source)
    finally:
        await mix.settle()


def _job(context: StageContext, mix: Mix) -> MixJob:
    """All is ready: what is measured begins."""
    setup, stage = context.setup, context.stage
    config, resolved, agent = setup.config, setup.resolved, setup.agent
    turns, until_bytes = _ends(context)
    job = MixJob(
        ops=tuple(mix.ops),
        sets=tuple(mix.sets.values()),
        duration=UNLIMITED_S if stage.duration is None else stage.duration,
        seed=combine(config.seed, context.index, agent.index),
        lease_size=max(LEASE_SIZE, *(op.delete_many for op in mix.ops)),
        start_ns=context.begin_when_due(),
        io_rate=config.io_rate if stage.io_rate is None else stage.io_rate,
        fleet=FleetPart(
            resolved.connections_before(stage, agent.index),
            resolved.connections_before(stage, len(resolved.agents)),
            combine(config.seed, context.index),
            agent.index,
            len(resolved.agents),
        ),
        strategy=agent.strategy,
        retry=context.retry(always=False),
        max_errors=config.error_handling.max_total_errors,
        brake=context.brake,
        turns=turns,
        until_bytes=until_bytes,
        connections=context.connections,
        rests=agent.policy is EndpointPolicy.TOLERANT,
    )
    if turns is not None:
        mix.source.add(TURNS, TurnSource(TURNS, turns))
    if until_bytes is not None:
        mix.source.add(BYTES, TurnSource(BYTES, job.byte_turns))
    return job


def _ends(context: StageContext) -> tuple[int | None, int | None]:
    """This agent's part of the operations, and of the bytes, after which the stage ends."""
    stage, resolved, agent = context.stage, context.setup.resolved, context.setup.agent.index
    until = stage.until
    if until is None:
        return None, None
    operations = None if until.operations is None else resolved.share_of(until.operations, stage, agent)
    return operations, None if until.bytes is None else resolved.share_of(until.bytes, stage, agent)


def _with_manner(each: MixOp, op: ResolvedOp, resolved: Resolved) -> MixOp:
    """How the operations of an entry are done."""
    engine = resolved.config.range_engine
    split = None
    # A range alone may not tell which write of an object that is overwritten it comes from.
    whole = each.verify and any(set_id in resolved.overwritten for set_id in op.set_ids)
    if engine is not None and op.op is Op.GET and op.read_range is None and not whole:
        split = (engine.chunk_size, max(engine.min_split_size, engine.chunk_size + 1), engine.max_concurrent_ranges)
    return replace(
        each,
        concurrency=op.concurrency,
        group=op.number,
        io_rate=op.io_rate,
        read_range=op.read_range,
        split=split,
        part_size=op.part_size,
        delete_many=op.delete_many,
    )
