"""Preflight: this host and this agent, without the storage under test."""

from __future__ import annotations

import asyncio
import resource
import secrets
import shutil
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

import psutil

from sai3tui.agent.clock import now_ns
from sai3tui.agent.command import command_of
from sai3tui.agent.finding import Checks, Told
from sai3tui.agent.routes import interfaces_used
from sai3tui.agent.setup import RunSetup
from sai3tui.config.model import Stage, StageType
from sai3tui.config.units import format_bytes, format_count, format_duration
from sai3tui.errors import ErrorContext, ResourceError
from sai3tui.events import PROTOCOL_VERSION, Level
from sai3tui.storage.ceiling import Ceiling, load_ceiling, mix_ops_per_s, workload_mix

SPARE_DESCRIPTORS = 256
CACHE_SLACK = 64 * 1024 * 1024
STATE_BYTES_PER_OBJECT = 0.25
BYTES_PER_CONNECTION = 1024 * 1024
BYTES_PER_PROCESS = 100 * 1024 * 1024
BUSY_PCT = 50.0
BUSY_WINDOW_S = 0.5
SETTLE_S = 5.0
"""A host that has just ended another run may still be writing back what that run wrote."""


async def check_host(setup: RunSetup, checks: Checks, last_run_ended_ns: int = 0) -> None:
    """What this host has for the run. `last_run_ended_ns`: when this agent's last run ended (epoch), 0: none did."""
    await checks.run("version", "", _version)
    await checks.run("plan", "", partial(_plan, setup))
    await checks.run("memory", "", partial(_memory, setup))
    await checks.run("disk", str(setup.cache_dir.parent), partial(asyncio.to_thread, _disk, setup))
    await checks.run("descriptors", "", partial(_descriptors, setup))
    if not setup.is_files:
        most = max(setup.connections, default=0)
        await checks.run("ports", "", partial(asyncio.to_thread, ports_told, most))
        await checks.run("nic", "", partial(_nic, setup))
    for stage in setup.config.stages:
        if stage.type is StageType.CUSTOM:
            await checks.run("command", stage.name, partial(_command, setup, stage))
    await checks.run("idle", "", partial(_idle, last_run_ended_ns))
    ceiling = await asyncio.to_thread(load_ceiling)
    if ceiling is not None and not setup.is_files:
        await checks.run("generator", "", partial(_generator, setup, ceiling))


async def _version() -> Told:
    return Told(f"sai3tui {version('sai3tui')}", f"protocol {PROTOCOL_VERSION}")


async def _plan(setup: RunSetup) -> Told:
    objects = sum(setup.counts.values())
    evidence = f"layout {setup.layout}, slot {setup.slot} of {setup.slots}"
    return Told(f"{format_count(objects)} objects of this agent, {format_bytes(setup.bytes_expected)}", evidence)


async def _memory(setup: RunSetup) -> Told:
    objects = sum(setup.counts.values())
    needed = int(objects * STATE_BYTES_PER_OBJECT + setup.agent.concurrency * BYTES_PER_CONNECTION)
    needed += BYTES_PER_PROCESS * (1 + setup.workers)
    available = int(psutil.virtual_memory().available)
    evidence = f"{format_bytes(available)} available, about {format_bytes(needed)} needed"
    if needed > available:
        raise ResourceError(
            f"this run needs about {format_bytes(needed)} of memory, {format_bytes(available)} are available",
            hint="use more agents, fewer connections or fewer objects",
        )
    return Told("enough for the plan", evidence)


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


async def _command(setup: RunSetup, stage: Stage) -> Told:
    try:
        place, *_ = command_of(setup, stage)
    except ResourceError as error:
        if not stage.optional:
            raise
        return Told(error.message, "the stage is optional", Level.WARNING, error.hint)
    return Told("can be started", place)


def ports_told(most: int, root: Path = Path("/")) -> Told:
    """Each of `most` connections to one address of the storage needs a port of its own."""
    try:
        low, high = map(int, (root / "proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return Told("this host does not tell its ephemeral ports", "", Level.INFO)
    evidence = f"ports {low} to {high}, up to {most} connections to one endpoint"
    if most > high - low:
        return Told(
            f"{most} connections to one endpoint need more ports than there are",
            evidence,
            Level.ERROR,
            "widen net.ipv4.ip_local_port_range, or use fewer connections",
        )
    return Told(f"enough for {most} connections to one endpoint", evidence)


async def _nic(setup: RunSetup) -> Told:
    return await asyncio.to_thread(nic_told, await interfaces_used(setup.endpoints))


def nic_told(speeds: Mapping[str, int], root: Path = Path("/")) -> Told:
    """The interfaces that lead to the storage, by their speed in Mbit/s, and what is odd about them."""
    parts, odd = [], []
    for name, speed in speeds.items():
        try:
            mtu = int((root / "sys/class/net" / name / "mtu").read_text())
        except (OSError, ValueError):
            mtu = 0
        shown = f"{speed / 1000:g} Gbit/s" if speed else "speed unknown"
        parts.append(f"{name} {shown}" + (f", MTU {mtu}" if mtu else ""))
        if speed >= 10_000 and 0 < mtu < 1500:
            odd.append(f"{name} has an MTU of {mtu}")
        if 0 < speed < 1000:
            odd.append(f"{name} runs at {speed} Mbit/s")
    if odd:
        return Told("; ".join(odd), "; ".join(parts), Level.WARNING, "check the link, the switch port and the cable")
    return Told("; ".join(parts) or "loopback only", f"{len(speeds)} interface(s) lead to the endpoints", Level.INFO)


async def _idle(last_run_ended_ns: int) -> Told:
    psutil.cpu_percent()
    await asyncio.sleep(BUSY_WINDOW_S)
    busy = psutil.cpu_percent()
    since = (now_ns() - last_run_ended_ns) / 1e9 if last_run_ended_ns else -1.0
    ended = "no run since this agent was started" if since < 0 else f"the last run ended {format_duration(since)} ago"
    if 0 <= since < SETTLE_S:
        ended += ": what it wrote may still be on its way to the disks"
    told = f"{busy:.0f} % of the processor is used by others"
    # For people to judge: preflight itself, of several agents on a host, is load too.
    return Told(told, ended, Level.INFO if busy >= BUSY_PCT or 0 <= since < SETTLE_S else Level.OK)


async def _generator(setup: RunSetup, ceiling: Ceiling) -> Told:
    """What this host can create, as far as that was measured, against what is asked of it."""
    mix = workload_mix(setup.resolved.ops, setup.sets)
    workers = setup.workers
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
