"""Preflight: whether all endpoints show the same objects, where the plan says so.

First within one agent: what is written at its first endpoint is read at the others. Then between agents, in steps that
the controller calls on all of them: each leaves a probe, looks for that of its neighbour, and removes its own.
"""

from __future__ import annotations

import asyncio
import secrets
from functools import partial

from sai3tui.agent.checks_storage import PROBE_DIRECTORY, needed_operations, write_probe
from sai3tui.agent.controls import Controls
from sai3tui.agent.finding import Checks, Told, Work
from sai3tui.agent.setup import RunSetup
from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, StorageError
from sai3tui.events import Level
from sai3tui.storage.control import Control

LOOKS = 5
LOOK_PAUSE_S = 0.2
"""A listing or a network file system may show a new object a moment later."""
HINT = "name endpoints of one storage, or say multi_endpoint.namespace: independent (shared_filesystem: false)"


async def check_namespace(setup: RunSetup, checks: Checks, controls: Controls) -> None:
    """Within this agent. Nothing to do with one endpoint, namespaces that are said to be separate or a run that writes
    nothing. Where `namespace: auto` took endpoints for separate, it is said if they are not."""
    assumed = setup.resolved.probe and bool(needed_operations(setup) & {Op.PUT, Op.DELETE})
    if not (shares(setup) or assumed) or len(setup.endpoints) < 2:
        return
    planes = await controls.all()
    key, content = f"{PROBE_DIRECTORY}probe-{secrets.token_hex(8)}", secrets.token_bytes(32)
    first = planes[0]
    if await checks.run("namespace", first.endpoint.uri, partial(_leave, first, key, content)):
        try:
            async with asyncio.TaskGroup() as group:
                for other in planes[1:]:
                    see = _look_whether if assumed else _look
                    look = partial(see, other, key, content, f"at {first.endpoint.uri}")
                    group.create_task(_run(checks, other.endpoint.uri, look))
        finally:
            await asyncio.shield(first.delete(key))


def shares(setup: RunSetup) -> bool:
    """Whether a probe can tell something: objects are shared, and the run writes or deletes some anyway."""
    return setup.resolved.shared and bool(needed_operations(setup) & {Op.PUT, Op.DELETE})


async def leave_probe(setup: RunSetup, checks: Checks, controls: Controls) -> None:
    """Leave this agent's probe for the others."""
    control = await controls.of(0)
    key, content = _probe_of(setup, setup.agent.index)
    await checks.run("namespace", control.endpoint.uri, partial(_leave, control, key, content))


async def look_for_probe(setup: RunSetup, checks: Checks, controls: Controls) -> None:
    """Look for the probe of the next agent, that of the last for the first one's: so all are compared."""
    neighbour = (setup.agent.index + 1) % len(setup.resolved.agents)
    control = await controls.of(0)
    key, content = _probe_of(setup, neighbour)
    where = f"by {setup.resolved.agents[neighbour].id}"
    await checks.run("namespace", control.endpoint.uri, partial(_look, control, key, content, where))


async def remove_probe(setup: RunSetup, controls: Controls) -> None:
    """Remove this agent's probe. Raises StorageError."""
    await (await controls.of(0)).delete(_probe_of(setup, setup.agent.index)[0])


def _probe_of(setup: RunSetup, agent: int) -> tuple[str, bytes]:
    return f"{PROBE_DIRECTORY}probe-{setup.run_id}-{agent}", f"{setup.run_id} {agent}".encode()


async def _run(checks: Checks, subject: str, look: Work) -> None:
    await checks.run("namespace", subject, look)


async def _leave(control: Control, key: str, content: bytes) -> Told:
    await write_probe(control, key, content)
    return Told("a probe was left for the others", key)


async def _look_whether(control: Control, key: str, content: bytes, where: str) -> Told:
    """Whether an endpoint that was taken for storage of its own is."""
    await asyncio.sleep(LOOK_PAUSE_S)
    if await control.get(key) != content:
        return Told("is storage of its own, as was assumed", key)
    advice = "say multi_endpoint.namespace: shared, so that they share the objects; now each has its own"
    return Told(f"shows what was written {where}: both are one storage", key, Level.WARNING, advice)


async def _look(control: Control, key: str, content: bytes, where: str) -> Told:
    for attempt in range(1, LOOKS + 1):
        if await control.get(key) == content:
            return Told(f"shows what was written {where}", key if attempt == 1 else f"{key}, at look {attempt}")
        await asyncio.sleep(LOOK_PAUSE_S)
    raise StorageError(f"does not show what was written {where}", hint=HINT, kind=ErrorKind.CONFIG)
