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
from sai3tui.storage.ceiling import Ceiling, load_ceiling, mix_ops_per_s, workload_mix

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
    ceiling = await asyncio.to_thread(load_ceiling)
    if ceiling is not None and not setup.is_files:
        await checks.run("generator", "", _generator(setup, ceiling))


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


async def _generator(setup: RunSetup, ceiling: Ceiling) -> Told:
    """What this host can create, as far as that was measured, against what is asked of it."""
    mix = workload_mix(setup.resolved.ops, setup.sets)
    workers = max(1, min((os.cpu_count() or 2) - 1, setup.agent.concurrency))
    rate = mix_ops_per_s(ceiling, mix, workers)
    if rate is None:
        return Told("nothing that was measured is in the workload", f"measured {ceiling.time}")
    evidence = f"{workers} worker(s), measured {ceiling.time} against a sink on loopback"
    told = f"this host can create at most about {rate:,.0f} GET and PUT a second of this workload"
    share = setup.resolved.rate_share(setup.agent.index)
    asked = setup.config.io_rate.iops * share if setup.config.io_rate else 0
    if asked > rate:
        advice = "more agents, or a lower io_rate: what is measured beyond that is this host, not the storage"
        return Told(f"{told}, and io_rate asks for {asked:,.0f}", evidence, Level.WARNING, advice)
    return Told(told, evidence, Level.INFO)


def nearest_existing(directory: Path) -> Path:
    """`directory`, or the nearest one above it that exists."""
    while not directory.exists():
        directory = directory.parent
    return directory
