"""Objects that exist already, found by LIST: once for the fleet, by one agent, which tells the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sai3tui.agent.stages.base import StageContext
from sai3tui.config.ops import Op
from sai3tui.config.patterns import compile_pattern, list_prefix
from sai3tui.config.resolved import OpSource, ResolvedOp
from sai3tui.config.units import format_count
from sai3tui.errors import AgentLostError
from sai3tui.events import Level
from sai3tui.storage.control import Control
from sai3tui.workload.manifest import Manifest, Sample
from sai3tui.workload.popularity import Places

MAX_LISTED = 1_000_000
"""Of more objects a sample is used: memory and what is sent to the other agents do not grow with what there is."""
OWN_DIRECTORY = ".sai3tui/"
"""What sai3tui itself keeps in the place under test is no object of a workload."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an entry of the workload works on: of `manifest`, the objects at `places[home]`, one list for all endpoints
    or one for each that has objects of its own."""

    manifest: Manifest
    places: tuple[Places, ...]

    def __len__(self) -> int:
        return sum(len(places) for places in self.places)


async def find(context: StageContext, op: ResolvedOp, ops: Sequence[ResolvedOp]) -> Found:
    """What `op` works on. `ops` are all entries of the run: objects that two of them mean are left to
    one where one of them deletes. Raises StorageError: a listing that fails is never an empty one."""
    manifest, homes = await _listed(context, op)
    places = np.arange(len(manifest), dtype=np.int64)
    places = places[_wanted(context, manifest, op, ops)]
    bounds = (0, *np.cumsum(homes).tolist())
    parts = [places[(places >= begin) & (places < end)] for begin, end in pairwise(bounds)]
    if op.op is Op.DELETE and context.setup.resolved.shared:
        # Whose an object is follows from its key alone, so no two agents delete the same.
        resolved = context.setup.resolved
        own = manifest.hashes() % len(resolved.agents) == context.setup.agent.index
        parts = [part[own[part]] for part in parts]
    return Found(manifest, tuple(parts))


async def _listed(context: StageContext, op: ResolvedOp) -> tuple[Manifest, list[int]]:
    """All objects that match, and how many of them each endpoint has (one number where all show the same)."""
    sharing = context.sharing
    topic = f"objects {context.index}/{op.number}"
    if not sharing.publishes:
        try:
            manifest = Manifest.decode(await sharing.wait(topic))
        except AgentLostError as error:
            context.note(Level.WARNING, f"{error.message}: this agent lists for itself", "listed")
        else:
            return manifest, [len(manifest)]
    controls = await context.controls.all()
    if context.setup.resolved.shared:
        controls = controls[:1]
    found = Sample(MAX_LISTED)
    for home, control in enumerate(controls):
        async for key, size in _matching(control, op.pattern):
            found.add(home, key, size)
    homes = found.counts(len(controls))
    manifest = found.manifest()
    text = f"{format_count(found.seen)} objects exist for {op.op.word} {op.pattern!r}"
    if found.whole:
        context.note(Level.INFO, text, "listed")
    else:
        sampled = f"{text}: a sample of {format_count(len(manifest))} of them is used, each as likely as any other"
        context.note(Level.WARNING, sampled, "listed")
    sharing.publish(topic, await asyncio.to_thread(manifest.encode) if not sharing.alone else b"")
    return manifest, homes


async def _matching(control: Control, pattern: str) -> AsyncIterator[tuple[str, int]]:
    matches = compile_pattern(pattern)
    async for key, size in control.list(list_prefix(pattern)):
        if matches.fullmatch(key) and not key.startswith(OWN_DIRECTORY):
            yield key, size


def _wanted(context: StageContext, manifest: Manifest, op: ResolvedOp, ops: Sequence[ResolvedOp]) -> NDArray[np.bool_]:
    """Which objects `op` may use without meeting another entry that deletes, or reads, them."""
    deletes = op.op is Op.DELETE
    others = [each for each in ops if each.weight and each.number != op.number]
    # Every stage lists anew, so what another one deletes is not in the way.
    listed = [each for each in others if each.source is OpSource.LISTED and each.stage == op.stage]
    earlier = [compile_pattern(each.pattern) for each in listed if each.op is Op.DELETE and each.number < op.number]
    against = [compile_pattern(each.pattern) for each in listed if (each.op is Op.DELETE) is not deletes]
    sets = {set_id for each in others if (each.op is Op.DELETE) is not deletes for set_id in each.set_ids}
    if not (earlier and deletes) and not against and not sets:
        return np.ones(len(manifest), dtype=np.bool_)
    ours = manifest.hashes() >> 16 & 1 == int(deletes)
    objects = [context.setup.sets[set_id] for set_id in sets]

    def wanted(index: int) -> bool:
        key = manifest.key(index)
        if deletes and any(pattern.fullmatch(key) for pattern in earlier):
            return False
        if not ours[index] and any(pattern.fullmatch(key) for pattern in against):
            return False
        return all(each.index_of(key) is None for each in objects)

    return np.fromiter((wanted(index) for index in range(len(manifest))), dtype=np.bool_, count=len(manifest))
