"""Looking at the storage itself: a sample of objects by HEAD, or all of them by LIST."""

from __future__ import annotations

import asyncio

import numpy as np

from sai3tui.agent.stages.base import StageContext
from sai3tui.state.generations import Generation
from sai3tui.state.states import CHUNK, ObjectState, wanted
from sai3tui.storage.control import Control
from sai3tui.workload.objects import ObjectSet
from sai3tui.workload.partition import endpoint_of, index_of, place_of

SAMPLE = 64
SAMPLERS = 8
BATCH = 1024


async def sample(context: StageContext, record: Generation) -> tuple[int, int]:
    """HEAD up to `SAMPLE` objects of the slot, spread evenly over those recorded as created (or over all, if none
    is). How many are there with the right size, and how many are not. Raises StorageError."""
    picks = _picks(context, record)
    endpoints = context.setup.endpoints
    there = 0
    waiting = iter(picks)

    async def look(controls: list[Control]) -> None:
        nonlocal there
        for objects, k in waiting:
            index = index_of(record.slot, record.slots, k)
            control = controls[endpoint_of(k, len(endpoints))]
            size = await control.head(objects.key(index))
            there += size == objects.size(index)

    controls = await context.controls.all()
    async with asyncio.TaskGroup() as group:
        for _ in range(SAMPLERS):
            group.create_task(look(controls))
    return there, len(picks) - there


async def compare(context: StageContext, record: Generation) -> int:
    """LIST what exists of every set; afterwards exactly what exists with the right size is recorded as created.
    How many those are, in this slot. Raises StorageError."""
    total = 0
    controls = await context.controls.all()
    # In a shared namespace every endpoint shows the same objects.
    looked_at = controls[:1] if context.setup.resolved.shared else controls
    for objects in context.setup.sets:
        states = context.cache.states(record, objects.set_id)
        for ks in states.where(wanted(ObjectState.CREATED, ObjectState.CREATING, ObjectState.DELETED)):
            states.set(ks, ObjectState.PLANNED)
        batch: list[int] = []
        for number, control in enumerate(looked_at):
            async for key, size in control.list(objects.prefix):
                index = objects.index_of(key)
                if index is None or objects.size(index) != size:
                    continue
                slot, k = place_of(index, record.slots)
                at_home = context.setup.resolved.shared or endpoint_of(k, len(controls)) == number
                if slot == record.slot and at_home:
                    batch.append(k)
                if len(batch) >= BATCH:
                    states.set(np.array(batch, dtype=np.int64), ObjectState.CREATED)
                    batch.clear()
        states.set(np.array(batch, dtype=np.int64), ObjectState.CREATED)
        total += states.total(ObjectState.CREATED)
    return total


def adopt(context: StageContext, record: Generation) -> None:
    """Record everything as created."""
    for objects in context.setup.sets:
        states = context.cache.states(record, objects.set_id)
        for first in range(0, states.count, CHUNK):
            states.set(np.arange(first, min(first + CHUNK, states.count), dtype=np.int64), ObjectState.CREATED)


def _picks(context: StageContext, record: Generation) -> list[tuple[ObjectSet, int]]:
    sets = [each for each in context.setup.sets if record.sets.get(each.set_id)]
    picks: list[tuple[ObjectSet, int]] = []
    for objects in sets:
        states = context.cache.states(record, objects.set_id)
        share = max(1, SAMPLE // len(sets))
        created = states.total(ObjectState.CREATED)
        if not created:
            picks += [(objects, k) for k in range(0, states.count, max(1, states.count // share))][:share]
            continue
        step = max(1, created // share)
        seen = 0
        for ks in states.where(wanted(ObjectState.CREATED)):
            chosen = ks[(-seen) % step :: step]
            picks += [(objects, int(k)) for k in chosen]
            seen += int(ks.size)
    return picks[: 2 * SAMPLE]
