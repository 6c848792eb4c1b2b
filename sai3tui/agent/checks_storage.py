"""Preflight: one endpoint, by doing to a probe of our own exactly what the stages will do to their objects."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from pathlib import Path

from sai3tui.agent.checks_host import nearest_existing
from sai3tui.agent.controls import Controls
from sai3tui.agent.finding import CHECK_TIMEOUT_S, Checks, Told
from sai3tui.agent.setup import RunSetup, check_allowed
from sai3tui.config.model import StageType
from sai3tui.config.ops import Op
from sai3tui.config.patterns import literal_prefix
from sai3tui.config.resolved import OpSource, ResolvedOp
from sai3tui.config.units import format_bytes
from sai3tui.errors import ErrorContext, ErrorKind, ResourceError, StorageError
from sai3tui.events import Level
from sai3tui.storage.control import Control
from sai3tui.storage.engine import Endpoint

PROBE_DIRECTORY = ".sai3tui/"
PROBE_BYTES = 64
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
        elif stage.type is StageType.EXECUTE:
            needed |= {op.op for op in setup.resolved.ops if op.weight}
        elif stage.type is StageType.CLEANUP:
            needed.add(Op.DELETE)
    return frozenset(needed)


async def check_endpoint(setup: RunSetup, number: int, checks: Checks, controls: Controls) -> None:
    """All checks of endpoint `number`; what makes no sense after a failure is left out."""
    endpoint = setup.endpoints[number]
    if endpoint.scheme == "file":
        reachable = await checks.run("path", endpoint.uri, asyncio.to_thread(_path, setup, endpoint))
    else:
        reachable = await checks.run("connect", endpoint.uri, _connect(endpoint))
    if not reachable:
        return
    try:
        control = await controls.of(number)
    except StorageError as error:
        # No credentials at all: nothing can be opened.
        await checks.run("auth", endpoint.uri, _raise(error))
    else:
        await _check_operations(setup, endpoint, control, checks)


async def _check_operations(setup: RunSetup, endpoint: Endpoint, control: Control, checks: Checks) -> None:
    subject = endpoint.uri
    if endpoint.scheme != "file" and not await checks.run("auth", subject, _bucket(endpoint, control)):
        return
    needed = needed_operations(setup)
    if needed & {Op.PUT, Op.DELETE}:
        await _check_probe(needed, subject, control, checks)
    if Op.PUT in needed and endpoint.scheme == "file":
        await checks.run("space", subject, asyncio.to_thread(_space, setup, endpoint))
    for op in setup.resolved.ops:
        if op.weight and op.source is OpSource.LISTED and not op.fresh:
            await checks.run(op.op.word if op.op is not Op.GET else "read", subject, _existing(op, control))


async def _check_probe(needed: frozenset[Op], subject: str, control: Control, checks: Checks) -> None:
    key = f"{PROBE_DIRECTORY}probe-{secrets.token_hex(8)}"
    content = secrets.token_bytes(PROBE_BYTES)
    try:
        if not await checks.run("write", subject, _write(control, key, content)):
            return
        await checks.run("read", subject, _read(control, key, content))
        if Op.STAT in needed:
            await checks.run("stat", subject, _stat(control, key))
        if Op.LIST in needed:
            await checks.run("list", subject, _list(control, key))
    finally:
        # Also when preflight is cancelled: the probe is ours to remove, for a bounded time.
        removal = checks.run("delete", subject, _delete(control, key))
        await asyncio.shield(asyncio.wait_for(removal, CHECK_TIMEOUT_S + 1.0))


async def _connect(endpoint: Endpoint) -> Told:
    place = f"{endpoint.host}:{endpoint.port}"
    try:
        _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except OSError as error:
        raise StorageError(
            f"cannot connect to {place}",
            hint="is the server running, and is the address right?",
            context=ErrorContext(uri=endpoint.uri, endpoint=endpoint.uri, subclass="connect"),
            kind=ErrorKind.NETWORK,
        ) from error
    peer = writer.get_extra_info("peername")
    writer.close()
    return Told("connected", f"{peer[0]}:{peer[1]}" if peer else place)


async def _bucket(endpoint: Endpoint, control: Control) -> Told:
    await control.head_bucket()
    return Told(f"the credentials open bucket {endpoint.bucket}", f"HEAD /{endpoint.bucket}")


async def _write(control: Control, key: str, content: bytes) -> Told:
    # Some servers remove a prefix together with its last object, and fail a PUT that comes at that moment: the other
    # agents' probes come and go while we write ours.
    for attempt in range(1, WRITE_ATTEMPTS + 1):
        try:
            await control.put(key, content)
        except StorageError as error:
            if error.kind is not ErrorKind.STORAGE or attempt == WRITE_ATTEMPTS:
                raise
            await asyncio.sleep(WRITE_PAUSE_S * attempt)
        else:
            break
    return Told("a probe was written", key if attempt == 1 else f"{key}, at attempt {attempt}")


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


async def _delete(control: Control, key: str) -> Told:
    await control.delete(key)
    return Told("the probe was deleted", key)


async def _existing(op: ResolvedOp, control: Control) -> Told:
    prefix = literal_prefix(op.pattern)
    async for key, size in control.list(prefix):
        return Told(f"there are objects below {prefix!r}", f"{key}, {format_bytes(size)}")
    raise StorageError(
        f"there is nothing below {prefix!r} for {op.op.word} to use",
        hint="add a prepare section, or correct the path",
        kind=ErrorKind.NOT_FOUND,
    )


def _path(setup: RunSetup, endpoint: Endpoint) -> Told:
    check_allowed(endpoint.prefix, setup.limits.allow_path, endpoint.uri)
    directory = Path(endpoint.prefix)
    there = nearest_existing(directory)
    if not there.is_dir():
        raise StorageError(f"{there} is not a directory", context=ErrorContext(uri=endpoint.uri))
    return Told("exists" if there == directory else f"can be made below {there}", str(directory))


def _space(setup: RunSetup, endpoint: Endpoint) -> Told:
    free = shutil.disk_usage(nearest_existing(Path(endpoint.prefix))).free
    needed = setup.bytes_expected // len(setup.endpoints)
    evidence = f"{format_bytes(free)} free, {format_bytes(needed)} to be written here"
    if free >= needed * 1.1:
        return Told("there is room for the objects", evidence)
    advice = "make room, or use fewer or smaller objects"
    if setup.cache_dir.exists():
        # Some of them may have been written by an earlier run.
        return Told("there may not be room for the objects", evidence, Level.WARNING, advice)
    raise ResourceError(
        f"there is no room for the objects: {evidence}", hint=advice, context=ErrorContext(uri=endpoint.uri)
    )


async def _raise(error: Exception) -> Told:
    raise error
