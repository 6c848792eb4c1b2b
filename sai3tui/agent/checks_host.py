"""Preflight: this host and this agent, without the storage under test."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import shutil
from importlib.metadata import version
from pathlib import Path

import psutil

from sai3tui.agent.finding import Checks, Told
from sai3tui.agent.setup import RunSetup
from sai3tui.config.units import format_bytes, format_count
from sai3tui.errors import ErrorContext, ResourceError
from sai3tui.events import PROTOCOL_VERSION, Level

SPARE_DESCRIPTORS = 256
CACHE_SLACK = 64 * 1024 * 1024
STATE_BYTES_PER_OBJECT = 0.25
BYTES_PER_CONNECTION = 1024 * 1024
BYTES_PER_PROCESS = 100 * 1024 * 1024


async def check_host(setup: RunSetup, checks: Checks) -> None:
    """Version, plan, memory, data directory and descriptors."""
    await checks.run("version", "", _version())
    await checks.run("plan", "", _plan(setup))
    await checks.run("disk", str(setup.cache_dir.parent), asyncio.to_thread(_disk, setup))
    await checks.run("descriptors", "", _descriptors(setup))


async def _version() -> Told:
    return Told(f"sai3tui {version('sai3tui')}", f"protocol {PROTOCOL_VERSION}")


async def _plan(setup: RunSetup) -> Told:
    objects = sum(setup.counts.values())
    needed = int(objects * STATE_BYTES_PER_OBJECT + setup.agent.concurrency * BYTES_PER_CONNECTION)
    needed += BYTES_PER_PROCESS * (1 + (os.cpu_count() or 1))
    available = int(psutil.virtual_memory().available)
    evidence = f"layout {setup.layout}, slot {setup.slot} of {setup.slots}"
    if needed > available:
        raise ResourceError(
            f"this run needs about {format_bytes(needed)} of memory, {format_bytes(available)} are available",
            hint="use more agents, fewer connections or fewer objects",
        )
    return Told(f"{format_count(objects)} objects of this agent, {format_bytes(setup.bytes_expected)}", evidence)


def _disk(setup: RunSetup) -> Told:
    place = setup.cache_dir.parent
    place.mkdir(parents=True, exist_ok=True)
    probe = place / f"probe-{secrets.token_hex(4)}"
    try:
        probe.write_bytes(b"sai3tui")
        if probe.read_bytes() != b"sai3tui":
            raise ResourceError(f"what was written to {place} is not what is read there")
    finally:
        probe.unlink(missing_ok=True)
    needed = int(sum(setup.counts.values()) * STATE_BYTES_PER_OBJECT * 2) + CACHE_SLACK
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ResourceError(
            f"the state cache needs {format_bytes(needed)}, {format_bytes(free)} are free",
            hint="make room, or start the agent with another --data-dir",
            context=ErrorContext(uri=str(place)),
        )
    return Told("written and read back", f"{format_bytes(free)} free, {format_bytes(needed)} needed")


async def _descriptors(setup: RunSetup) -> Told:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = setup.agent.concurrency + SPARE_DESCRIPTORS
    evidence = f"limit {soft}, {needed} needed"
    if soft != resource.RLIM_INFINITY and soft < needed:
        return Told(
            f"{setup.agent.concurrency} connections are more than this process may open",
            evidence,
            Level.ERROR,
            f"raise the limit (ulimit -n {needed}) before you start the agent",
        )
    return Told(f"enough for {setup.agent.concurrency} connections", evidence)


def nearest_existing(directory: Path) -> Path:
    """`directory`, or the nearest one above it that exists."""
    while not directory.exists():
        directory = directory.parent
    return directory
