"""Preflight: what is there already where the run will write, and what of it cleanup would delete."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path

from sai3tui.agent.checks_storage import PROBE_DIRECTORY
from sai3tui.agent.controls import Controls
from sai3tui.agent.finding import Checks, Told
from sai3tui.agent.owner import guards, marked_endpoints, places
from sai3tui.agent.setup import RunSetup
from sai3tui.config.model import StageType
from sai3tui.config.units import format_count
from sai3tui.errors import ErrorContext, ResourceError
from sai3tui.events import Level
from sai3tui.state.layout import LayoutCache
from sai3tui.state.scratch import scratch
from sai3tui.state.states import ObjectState
from sai3tui.storage.control import Control

MOST = 1000
"""So many objects are counted: a page of a listing."""
MOST_CACHE_BYTES = 64 * 1024 * 1024
"""A larger state cache takes longer to add up than a check may."""


async def recorded_objects(setup: RunSetup, checks: Checks, cache: LayoutCache | None) -> int | None:
    """Objects of this layout that may exist, by what this agent has on record; None: more than can be added up.
    `cache` is that of the run, which has it open. A record that cannot be read is an error of the check `data`."""
    if cache is not None:
        return on_record(cache)
    try:
        return await asyncio.to_thread(on_disk, setup.cache_dir)
    except ResourceError as error:
        failure = error.failure()
        told = Told(failure.message, "; ".join(failure.causes), Level.ERROR, failure.hint)
        checks.tell("data", str(setup.cache_dir), told)
        return 0


async def check_data(setup: RunSetup, checks: Checks, controls: Controls, recorded: int | None) -> None:
    """The check `data` of every namespace that this agent uses."""
    if not guards(setup):
        return
    for number in marked_endpoints(setup):
        control = await controls.of(number)
        await checks.run("data", control.endpoint.uri, partial(_told, setup, control, recorded))


async def _told(setup: RunSetup, control: Control, recorded: int | None) -> Told:
    there = await _count(setup, control)
    if not there:
        message = "nothing is there yet"
    elif there < MOST:
        message = f"{format_count(there)} object(s) are there"
    else:
        message = f"{format_count(MOST)} objects or more are there"
    known = "more than can be added up here" if recorded is None else format_count(recorded)
    if any(stage.type is StageType.CLEANUP for stage in setup.stages):
        message += f"; cleanup would delete {known} that this agent has on record, and what the run makes"
    else:
        message += "; no stage cleans up"
    evidence = f"{known} of this layout on record at this agent; others stay"
    if recorded and not there:
        message = f"nothing is there, although {known} object(s) of this layout are on record at this agent"
        advice = "if they were removed by hand: prepare looks for them and creates what is gone, --fresh begins anew"
        return Told(message, evidence, Level.WARNING, advice)
    return Told(message, evidence)


async def _count(setup: RunSetup, control: Control) -> int:
    seen: set[str] = set()
    for place in places(setup):
        async for key, _ in control.list(place):
            if not key.startswith(PROBE_DIRECTORY):
                seen.add(key)
            if len(seen) >= MOST:
                return MOST
    return len(seen)


def on_disk(directory: Path) -> int | None:
    """Objects that a layout's state cache says may exist; None if there are too many to add up. For a thread. Raises
    ResourceError for a cache that is damaged."""
    file = directory / "data.mdb"
    if not file.exists():
        return 0
    try:
        if file.stat().st_size > MOST_CACHE_BYTES:
            return None
        # A process may open it once only, and a run may begin, or somebody else check, while this is at it.
        with scratch(directory.parent, "preflight") as copy:
            shutil.copy(file, copy)
            return asyncio.run(_add_up(copy))
    except OSError as error:
        context = ErrorContext(uri=str(directory))
        raise ResourceError(f"the state cache in {directory} cannot be read", context=context) from error


async def _add_up(directory: Path) -> int:
    cache = LayoutCache.open(directory, 0)
    try:
        return on_record(cache)
    finally:
        await cache.close()


def on_record(cache: LayoutCache) -> int:
    """Objects that the cache says may exist."""
    states = (ObjectState.CREATED, ObjectState.CREATING)
    made = sum(known.held(state) for known in cache.known() for state in states)
    return made + sum(taken.total for taken in cache.reserved().values())
