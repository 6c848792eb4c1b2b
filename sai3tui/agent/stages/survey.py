"""Looking at the storage itself: a sample of objects by HEAD, or all of them by LIST."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from sai3tui.agent.run_failures import first_of
from sai3tui.agent.stages.base import StageContext
from sai3tui.config.units import format_count
from sai3tui.errors import ErrorKind, StorageError
from sai3tui.events import Level
from sai3tui.state.decide import Action, after_sample
from sai3tui.state.generations import Known
from sai3tui.state.states import CHUNK, ObjectState, SlotStates, wanted
from sai3tui.storage.control import Control
from sai3tui.workload.objects import ObjectSet
from sai3tui.workload.partition import endpoint_of, index_of

SAMPLE = 64
SAMPLERS = 8
BATCH = 1024


async def survey(context: StageContext, known: Known, action: Action, epoch: int) -> Known | None:
    """Look at the whole index space, for all agents that share it. What is there then is recorded in `known`, which is
    returned; None: nothing of it is of use, and a new generation is to begin. Raises StorageError."""
    if action in (Action.RESUME, Action.CONFIRM):
        return await _resume(context, known, action, epoch)
    if action in (Action.ADOPT, Action.REPAIR):
        there, missing = await sample(context, known)
        text = f"{there} of {there + missing} sampled objects exist"
        if action is Action.REPAIR:
            if not missing:
                return known
            _note_drift(context, there, missing)
        else:
            outcome = after_sample(there, missing)
            if outcome is Action.REPAIR:
                adopt(known)
                context.note(Level.INFO, f"{text}: all are taken as created (skip_verification)", "adopted")
                return known
            if outcome is Action.BEGIN:
                context.note(Level.INFO, f"{text}: all are written", "sampled")
                return None
            context.note(Level.WARNING, f"{text}: the storage is listed to find those that are missing", "sampled")
    existing = await compare(context, known, epoch)
    context.note(Level.INFO, f"{format_count(existing)} objects exist already", "listed")
    return known


async def _resume(context: StageContext, known: Known, action: Action, epoch: int) -> Known:
    """What an unfinished prepare goes on from. LIST cannot tell what it wrote from what was there before: nothing is
    taken as created for being there."""
    if action is Action.RESUME:
        there, missing = await _sample_allowed(context, known)
        if not missing:
            return known
        _note_drift(context, there, missing)
    before = known.total(ObjectState.CREATED)
    after = await compare(context, known, epoch, confirm=True)
    text = f"{format_count(after)} of {format_count(before)} objects that were created before are there"
    context.note(Level.INFO if after == before else Level.WARNING, text, "confirmed")
    return known


def _note_drift(context: StageContext, there: int, missing: int) -> None:
    text = f"{missing} of {there + missing} sampled objects that were created are gone or of another size"
    context.note(Level.WARNING, f"{text}: the storage is listed to find all of them", "drift")


async def _sample_allowed(context: StageContext, known: Known) -> tuple[int, int]:
    """`sample`, where that is allowed: who may write need not be allowed to look, and can resume all the same."""
    try:
        return await sample(context, known)
    except ExceptionGroup as group:
        ours, others = group.split(StorageError)
        if others is not None or ours is None or (first := first_of(ours).failure()).kind is not ErrorKind.PERMISSION:
            raise
        text = f"whether what was created before is still there could not be looked at: {first.sentence()}"
        context.note(Level.WARNING, text, "drift")
        return 0, 0


async def sample(context: StageContext, known: Known) -> tuple[int, int]:
    """HEAD up to `SAMPLE` objects, spread evenly over those recorded as created (or over all, if none is). How many are
    there with the right size, and how many are not. Raises StorageError."""
    picks = _picks(context, known)
    endpoints = context.setup.endpoints
    there = 0
    waiting = iter(picks)

    async def look(controls: list[Control]) -> None:
        nonlocal there
        for objects, slot, k in waiting:
            index = index_of(slot, known.record.slots, k)
            control = controls[endpoint_of(k, len(endpoints))]
            size = await control.head(objects.key(index))
            there += size == objects.size(index)

    controls = await context.controls.all()
    async with asyncio.TaskGroup() as group:
        for _ in range(SAMPLERS):
            group.create_task(look(controls))
    return there, len(picks) - there


async def compare(context: StageContext, known: Known, epoch: int, *, confirm: bool = False) -> int:
    """LIST what exists of every set; afterwards exactly what exists with the right size is recorded as created; to
    `confirm`, only as far as it was before. How many those are. Nothing that was known before `epoch` counts any more.
    Raises StorageError."""
    total = 0
    controls = await context.controls.all()
    shared = context.setup.resolved.shared
    # In a shared namespace every endpoint shows the same objects.
    looked_at = controls[:1] if shared else controls
    for objects in context.setup.sets:
        slots = [known.states(objects.set_id, slot) for slot in range(known.record.slots)]
        before = [states.copy() for states in slots] if confirm else []
        for states in slots:
            for ks in states.where(wanted(ObjectState.CREATED, ObjectState.CREATING, ObjectState.DELETED)):
                states.set(ks, ObjectState.PLANNED)
        batch: list[int] = []
        for number, control in enumerate(looked_at):
            async for key, size in control.list(objects.prefix):
                index = objects.index_of(key)
                if index is None or objects.size(index) != size:
                    continue
                if shared or endpoint_of(index, len(controls)) == number:
                    batch.append(index)
                if len(batch) >= BATCH:
                    _created(known, objects.set_id, batch)
                    batch.clear()
        _created(known, objects.set_id, batch)
        if confirm:
            for old, states in zip(before, slots, strict=True):
                _as_before(old, states)
        total += sum(states.total(ObjectState.CREATED) for states in slots)
    known.record = replace(known.record, surveyed=epoch)
    return total


def _as_before(old: SlotStates, states: SlotStates) -> None:
    """Objects that were not created before are as they were, whatever is there."""
    for number in states.chunks():
        was, found = old.chunk(number), states.chunk(number)
        states.put(number, 0, np.where(was == ObjectState.CREATED, found, was))


def adopt(known: Known) -> None:
    """Record everything as created."""
    for each in known.everything():
        states = known.states(each.set_id, each.slot)
        for first in range(0, states.count, CHUNK):
            states.set(np.arange(first, min(first + CHUNK, states.count), dtype=np.int64), ObjectState.CREATED)


def _created(known: Known, set_id: int, indices: list[int]) -> None:
    found, slots = np.unique(np.array(indices, dtype=np.int64)), known.record.slots
    for slot in np.unique(found % slots):
        known.states(set_id, int(slot)).set(found[found % slots == slot] // slots, ObjectState.CREATED)


def _picks(context: StageContext, known: Known) -> list[tuple[ObjectSet, int, int]]:
    picks: list[tuple[ObjectSet, int, int]] = []
    state = ObjectState.CREATED if known.total(ObjectState.CREATED) else ObjectState.PLANNED
    sets = [set_id for set_id, count in known.record.sets.items() if count]
    for set_id in sets:
        places = [known.states(set_id, slot) for slot in range(known.record.slots)]
        step = max(1, sum(states.total(state) for states in places) // max(1, SAMPLE // len(sets)))
        seen = 0
        for slot, states in enumerate(places):
            for ks in states.where(wanted(state)):
                picks += [(context.setup.sets[set_id], slot, int(k)) for k in ks[(-seen) % step :: step]]
                seen += int(ks.size)
    return picks[: 2 * SAMPLE]
