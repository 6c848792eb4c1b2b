"""Preflight: one endpoint, by doing to a probe of our own exactly what the stages will do to their objects."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from functools import partial

from sai3tui.agent.checks_bucket import check_bucket
from sai3tui.agent.checks_files import check_directory, check_room
from sai3tui.agent.checks_network import check_answers, check_way
from sai3tui.agent.checks_objects import check_objects
from sai3tui.agent.controls import Controls
from sai3tui.agent.delete_many import delete_batch
from sai3tui.agent.finding import CHECK_TIMEOUT_S, Checks, Told
from sai3tui.agent.setup import RunSetup
from sai3tui.config.model import EngineName, StageType
from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, StorageError
from sai3tui.storage.control import Control, ControlPlane
from sai3tui.storage.engine import Endpoint
from sai3tui.storage.s3probe import begin_and_abort_upload, get_range

PROBE_DIRECTORY = ".sai3tui/"
PROBE_BYTES = 64
BATCH = 2
"""Probes that are deleted with one request."""
RANGE = (16, 32)
"""Offset and length of the part of a probe that is read."""
WRITE_ATTEMPTS = 3
WRITE_PAUSE_S = 0.1


def needed_operations(setup: RunSetup) -> frozenset[Op]:
    """The operations that the stages of the run will do to the storage."""
    config = setup.config
    needed: set[Op] = set()
    for stage in setup.stages:
        if stage.type is StageType.PREPARE and config.prepare is not None:
            needed.add(Op.PUT)
            if not config.prepare.force_overwrite:
                needed.add(Op.STAT if config.prepare.skip_verification else Op.LIST)
        elif stage.type in (StageType.EXECUTE, StageType.HYBRID):
            needed |= {op.op for op in setup.resolved.ops_of(stage) if op.weight}
        elif stage.type is StageType.VERIFY:
            needed.add(Op.GET)
        elif stage.type is StageType.CLEANUP:
            needed.add(Op.DELETE)
    return frozenset(needed)


async def check_endpoint(setup: RunSetup, number: int, checks: Checks, controls: Controls) -> None:
    """All checks of endpoint `number`; what makes no sense after a failure is left out."""
    endpoint = setup.endpoints[number]
    check = check_directory if endpoint.scheme == "file" else check_way
    if not await check(setup, endpoint, checks):
        return
    try:
        control = await controls.of(number)
    except StorageError as error:
        # No credentials at all: nothing can be opened.
        await checks.run("auth", endpoint.uri, partial(_raise, error))
    else:
        await _check_operations(setup, number, control, checks)


async def _check_operations(setup: RunSetup, number: int, control: Control, checks: Checks) -> None:
    endpoint = setup.endpoints[number]
    subject = endpoint.uri
    if isinstance(control, ControlPlane):
        async with asyncio.TaskGroup() as group:
            answers = group.create_task(check_answers(setup, endpoint, checks))
            opened = await checks.run("auth", subject, partial(_bucket, endpoint, control))
            await answers
        if not opened:
            return
    needed = needed_operations(setup)
    async with asyncio.TaskGroup() as group:
        if isinstance(control, ControlPlane):
            group.create_task(check_bucket(setup, control, checks))
        if needed & {Op.PUT, Op.DELETE}:
            group.create_task(_check_probe(setup, needed, control, checks))
        if Op.PUT in needed and endpoint.scheme == "file":
            group.create_task(check_room(setup, endpoint, checks))
        await check_objects(setup, number, control, checks)


async def _check_probe(setup: RunSetup, needed: frozenset[Op], control: Control, checks: Checks) -> None:
    subject = control.endpoint.uri
    key = f"{PROBE_DIRECTORY}probe-{secrets.token_hex(8)}"
    content = secrets.token_bytes(PROBE_BYTES)
    try:
        if not await checks.run("write", subject, partial(_write, control, key, content)):
            return
        await checks.run("read", subject, partial(_read, control, key, content))
        if Op.STAT in needed:
            await checks.run("stat", subject, partial(_stat, control, key))
        if Op.LIST in needed:
            await checks.run("list", subject, partial(_list, control, key))
        if isinstance(control, ControlPlane):
            active = [op for op in setup.config.workload if op.weight]
            if any(op.read_range is not None for op in active):
                await checks.run("range", subject, partial(_range, control, key, content))
            prepare = setup.config.prepare
            if any(op.part_size for op in active) or (prepare is not None and prepare.part_size):
                await checks.run("multipart", subject, partial(_multipart, control, f"{key}.parts"))
            if setup.config.engine is EngineName.WIRE and any(op.delete_many > 1 for op in active):
                await checks.run("delete-many", subject, partial(_delete_many, setup, control, key))
    finally:
        # Also when preflight is cancelled: the probe is ours to remove, for a bounded time.
        await asyncio.shield(_remove(checks, control, key))


async def _remove(checks: Checks, control: Control, key: str) -> None:
    async with asyncio.timeout(CHECK_TIMEOUT_S + 1.0):
        await checks.run("delete", control.endpoint.uri, partial(_delete, control, key))


async def _bucket(endpoint: Endpoint, control: Control) -> Told:
    await control.head_bucket()
    return Told(f"the credentials open bucket {endpoint.bucket}", f"HEAD /{endpoint.bucket}")


async def _write(control: Control, key: str, content: bytes) -> Told:
    attempt = await write_probe(control, key, content)
    return Told("a probe was written", key if attempt == 1 else f"{key}, at attempt {attempt}")


async def write_probe(control: Control, key: str, content: bytes) -> int:
    """Write it; returns at which attempt. Raises StorageError."""
    # Some servers remove a prefix together with its last object, and fail a PUT that comes at that moment: the other
    # agents' probes come and go while we write ours.
    for attempt in range(1, WRITE_ATTEMPTS):
        try:
            await control.put(key, content)
        except StorageError as error:
            if error.kind is not ErrorKind.STORAGE:
                raise
            await asyncio.sleep(WRITE_PAUSE_S * attempt)
        else:
            return attempt
    await control.put(key, content)
    return WRITE_ATTEMPTS


async def _read(control: Control, key: str, content: bytes) -> Told:
    seen = await control.get(key)
    if seen != content:
        what = "nothing" if seen is None else f"{len(seen)} other bytes"
        raise StorageError(
            f"{key} was written with {len(content)} bytes and read back as {what}",
            hint="is this the same storage at all endpoints?",
            kind=ErrorKind.CORRUPT,
        )
    return Told("the probe was read back and is the same", key)


async def _stat(control: Control, key: str) -> Told:
    size = await control.head(key)
    if size != PROBE_BYTES:
        raise StorageError(f"{key} has {PROBE_BYTES} bytes, a stat says {size}", kind=ErrorKind.CORRUPT)
    return Told("a stat of the probe gives its size", key)


async def _list(control: Control, key: str) -> Told:
    async for found, _ in control.list(key):
        if found == key:
            return Told("a list shows the probe", key)
    raise StorageError(
        f"{key} was written, but a list does not show it", hint="is the list of this storage consistent?"
    )


async def _range(control: ControlPlane, key: str, content: bytes) -> Told:
    offset, length = RANGE
    seen = await get_range(control, key, offset, length)
    if seen != content[offset : offset + length]:
        raise StorageError(
            f"bytes {offset} to {offset + length - 1} were asked for, and {len(seen)} bytes came that are not those",
            hint="this storage does not read ranges: leave 'range' out of the workload",
            kind=ErrorKind.CORRUPT,
        )
    return Told("a part of the probe was read", f"bytes={offset}-{offset + length - 1}")


async def _multipart(control: ControlPlane, key: str) -> Told:
    await begin_and_abort_upload(control, key, secrets.token_bytes(PROBE_BYTES))
    return Told("an upload in parts was begun, filled and taken back", key)


async def _delete(control: Control, key: str) -> Told:
    await control.delete(key)
    if await control.head(key) is not None:
        raise StorageError(f"{key} was deleted, and is still there", hint="does the bucket lock its objects?")
    return Told("the probe was deleted, and is gone", key)


async def _delete_many(setup: RunSetup, control: Control, key: str) -> Told:
    keys = [f"{key}.{number}" for number in range(BATCH)]
    try:
        for each in keys:
            await write_probe(control, each, b"sai3tui")
        # Over the engine that the run uses: who signs and sums such a request otherwise may be answered otherwise.
        refused = await delete_batch(control.endpoint, keys, setup)
        left = [each for each in keys if each in refused or await control.head(each) is not None]
    finally:
        for each in keys:
            with suppress(StorageError):
                await asyncio.shield(control.delete(each))
    if left:
        why = " ".join(refused.get(left[0], ("still there after a request that nothing was said against",)))
        raise StorageError(
            f"of {BATCH} objects that one request was to delete {len(left)} are left: {why}",
            hint="this storage does not delete many at once: leave 'delete_many' out of the workload",
        )
    return Told(f"{BATCH} probes were deleted with one request", f"POST ?delete of {keys[0]} and others")


async def _raise(error: Exception) -> Told:
    raise error
