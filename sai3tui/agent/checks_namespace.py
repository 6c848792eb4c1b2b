"""Preflight: whether all endpoints show the same objects.

First within one agent, where the plan says so: what is written at its first endpoint is read at the others. Then
between agents, in steps that the controller calls on all of them: each leaves a probe, looks for that of its neighbour,
and removes its own. Where the plan cannot say (files), each looks around instead, and the controller plans by what they
see.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Set
from functools import partial

from sai3tui.agent.checks_storage import PROBE_DIRECTORY, needed_operations, write_probe
from sai3tui.agent.controls import Controls
from sai3tui.agent.finding import Checks, Told, Work
from sai3tui.agent.setup import RunSetup
from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, StorageError
from sai3tui.storage.control import Control

LOOKS = 5
LOOK_PAUSE_S = 0.2
"""A listing or a network file system may show a new object a moment later."""
HINT = "name endpoints of one storage, or say multi_endpoint.namespace: independent (shared_filesystem: false)"


async def check_namespace(setup: RunSetup, checks: Checks, controls: Controls) -> None:
    """Within this agent. Nothing to do with one endpoint or namespaces that are separate."""
    if not shares(setup) or len(setup.endpoints) < 2:
        return
    planes = await controls.all()
    key, content = f"{PROBE_DIRECTORY}probe-{secrets.token_hex(8)}", secrets.token_bytes(32)
    first = planes[0]
    if await checks.run("namespace", first.endpoint.uri, partial(_leave, first, key, content)):
        try:
            async with asyncio.TaskGroup() as group:
                for other in planes[1:]:
                    look = partial(_look, other, key, content, f"at {first.endpoint.uri}")
                    group.create_task(_run(checks, other.endpoint.uri, look))
        finally:
            await asyncio.shield(first.delete(key))


def shares(setup: RunSetup) -> bool:
    """Whether a probe can tell something: objects are shared, and the run writes or deletes some anyway."""
    return setup.resolved.shared and bool(needed_operations(setup) & {Op.PUT, Op.DELETE})


async def leave_probes(setup: RunSetup, checks: Checks, controls: Controls) -> None:
    """Leave this agent's probes for the others."""

    async def leave(number: int, control: Control) -> None:
        key, content = _probe_of(setup, setup.agent.index, number)
        await checks.run("namespace", control.endpoint.uri, partial(_leave, control, key, content))

    await _at_places(setup, controls, leave)


async def look_for_probe(setup: RunSetup, checks: Checks, controls: Controls) -> None:
    """Look for the probe of the next agent, that of the last for the first one's: so all are compared."""
    neighbour = (setup.agent.index + 1) % len(setup.resolved.agents)
    control = await controls.of(0)
    key, content = _probe_of(setup, neighbour, 0)
    where = f"by {setup.resolved.agents[neighbour].id}"
    await checks.run("namespace", control.endpoint.uri, partial(_look, control, key, content, where))


async def look_around(setup: RunSetup, checks: Checks, controls: Controls) -> None:
    """See which probes of all agents' endpoints each of this agent's endpoints shows."""
    places = {f"{agent.index}.{number}" for agent in setup.resolved.agents for number in range(len(agent.endpoints))}

    async def look(number: int, control: Control) -> None:
        see = partial(_see, control, _prefix(setup), places)
        await checks.run("namespace", control.endpoint.uri, see)

    await _at_places(setup, controls, look)


async def remove_probes(setup: RunSetup, controls: Controls) -> None:
    """Remove this agent's probes. Raises StorageError."""

    async def remove(number: int, control: Control) -> None:
        await control.delete(_probe_of(setup, setup.agent.index, number)[0])

    await _at_places(setup, controls, remove)


async def _at_places(setup: RunSetup, controls: Controls, work: Callable[[int, Control], Awaitable[None]]) -> None:
    """At all directories; endpoints of an object store have been compared within the agent, so the first will do."""
    numbers = range(len(setup.endpoints)) if setup.is_files else range(1)
    await asyncio.gather(*[work(number, await controls.of(number)) for number in numbers])


def _prefix(setup: RunSetup) -> str:
    return f"{PROBE_DIRECTORY}probe-{setup.run_id}-"


def _probe_of(setup: RunSetup, agent: int, endpoint: int) -> tuple[str, bytes]:
    place = f"{agent}.{endpoint}"
    return _prefix(setup) + place, f"{setup.run_id} {place}".encode()


async def _run(checks: Checks, subject: str, look: Work) -> None:
    await checks.run("namespace", subject, look)


async def _leave(control: Control, key: str, content: bytes) -> Told:
    await write_probe(control, key, content)
    return Told("a probe was left for the others", key)


async def _see(control: Control, prefix: str, places: Set[str]) -> Told:
    seen: Set[str] = frozenset()
    for attempt in range(LOOKS):
        if attempt:
            await asyncio.sleep(LOOK_PAUSE_S)
        seen = places & {key.removeprefix(prefix) async for key, _ in control.list(prefix)}
        if len(seen) == len(places):
            break
    return Told(f"shows what was written at {len(seen)} of {len(places)} places", prefix, shows=tuple(sorted(seen)))


async def _look(control: Control, key: str, content: bytes, where: str) -> Told:
    for attempt in range(1, LOOKS + 1):
        if await control.get(key) == content:
            return Told(f"shows what was written {where}", key if attempt == 1 else f"{key}, at look {attempt}")
        await asyncio.sleep(LOOK_PAUSE_S)
    raise StorageError(f"does not show what was written {where}", hint=HINT, kind=ErrorKind.CONFIG)
