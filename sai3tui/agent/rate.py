"""Preflight: what this agent reaches at its endpoints in two seconds, against the plan.

Objects of the plan's mean size (at most 8 MiB), on a few connections of the engine that the run will use, in the
agent's own process: less than the workers will reach together, but on the same way. One object per connection, written
over and over, then read, then deleted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic

from sai3tui.agent.checks_storage import PROBE_DIRECTORY, needed_operations
from sai3tui.agent.controls import Controls
from sai3tui.agent.finding import Checks, Told
from sai3tui.agent.routes import interfaces_used
from sai3tui.agent.setup import RunSetup
from sai3tui.config.model import Content, StageType
from sai3tui.config.ops import Op
from sai3tui.config.units import format_bytes, format_count, format_duration
from sai3tui.errors import Failure, StorageError
from sai3tui.events import Level
from sai3tui.storage.ceiling import load_ceiling, mix_ops_per_s, workload_mix
from sai3tui.storage.credentials import region_of
from sai3tui.storage.engine import OK, Connection, EngineOptions, Request
from sai3tui.storage.failures import storage_error
from sai3tui.storage.open import make_engine
from sai3tui.workload.content import ContentMaker, Payload

HALF_S = 1.0
"""So long PUTs are made, then so long GETs."""
MAX_BYTES = 8 * 1024 * 1024
MAX_CONNECTIONS = 16
BOUND_S = 20.0
NEAR = 0.8
"""From this share of a limit on, the limit is what is measured."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Operations and bytes a second of both halves, of how many connections."""

    puts: float
    gets: float
    put_bytes: float
    get_bytes: float
    connections: int
    size: int


async def measure_all(setup: RunSetup, checks: Checks, controls: Controls) -> None:
    """All endpoints of this agent at once, as the other agents do at the same time."""
    if not _measurable(setup):
        text = "not measured: the run writes nothing"
        checks.tell("rate", "", Told(text, "", Level.INFO))
        return
    numbers = range(len(setup.endpoints))
    await checks.run("rate", "", partial(_against_plan, setup, controls, numbers), timeout_s=BOUND_S)


async def measure_each(setup: RunSetup, checks: Checks, controls: Controls) -> None:
    """One endpoint after the other, alone on this agent."""
    if not _measurable(setup):
        return
    for number, endpoint in enumerate(setup.endpoints):
        await checks.run("rate", endpoint.uri, partial(_alone, setup, controls, number), timeout_s=BOUND_S)


def _measurable(setup: RunSetup) -> bool:
    return Op.PUT in needed_operations(setup)


async def _alone(setup: RunSetup, controls: Controls, number: int) -> Told:
    return Told(_words(await measure(setup, controls, [number])), "this endpoint alone", Level.INFO)


async def _against_plan(setup: RunSetup, controls: Controls, numbers: Sequence[int]) -> Told:
    rate = await measure(setup, controls, numbers)
    parts = [_words(rate)]
    prepares = any(stage.type is StageType.PREPARE for stage in setup.stages)
    objects = sum(setup.counts.values())
    if prepares and objects and rate.puts > 0:
        seconds = max(objects / rate.puts, setup.bytes_expected / rate.put_bytes if rate.put_bytes else 0.0)
        part = f"its {format_count(objects)} objects ({format_bytes(setup.bytes_expected)})"
        parts.append(f"at this rate prepare of {part} takes about {format_duration(round(seconds))}")
    links = sum((await interfaces_used(setup.endpoints)).values()) if not setup.is_files else 0
    parts.append(f"expected limit: {await asyncio.to_thread(_limit, setup, rate, links * 1e6 / 8)}")
    evidence = f"all {len(numbers)} endpoints at once, as on the other agents"
    share = setup.resolved.rate_share(setup.agent.index)
    asked = setup.config.io_rate.iops * share if setup.config.io_rate else 0
    if asked > max(rate.puts, rate.gets) * setup.workers > 0:
        parts.append(f"io_rate asks for {asked:,.0f} a second")
        return Told("; ".join(parts), evidence, Level.WARNING, "a lower io_rate, or more agents and connections")
    return Told("; ".join(parts), evidence, Level.INFO)


def _words(rate: Rate) -> str:
    size = format_bytes(rate.size)
    return (
        f"PUT {rate.put_bytes / 2**20:,.1f} MiB/s ({rate.puts:,.0f}/s), GET {rate.get_bytes / 2**20:,.1f} MiB/s "
        f"({rate.gets:,.0f}/s) of {size} with {rate.connections} connections"
    )


def _limit(setup: RunSetup, rate: Rate, links: float) -> str:
    """What the measured rate is near to. `links`: bytes a second that the interfaces can take, 0 for unknown."""
    if links and max(rate.put_bytes, rate.get_bytes) >= NEAR * links:
        return f"this host's network ({links * 8 / 1e9:g} Gbit/s)"
    ceiling = load_ceiling()
    most = mix_ops_per_s(ceiling, workload_mix(setup.resolved.ops, setup.sets), 1) if ceiling is not None else None
    if most and max(rate.puts, rate.gets) >= NEAR * most:
        return f"this host's processor (one core: {most:,.0f} a second)"
    return "the storage, or the way to it: neither network nor processor of this host is near its limit"


def mean_size(setup: RunSetup) -> int:
    """Mean size of the objects that are written, in bytes, at least 1 and at most 8 MiB."""
    objects = sum(each.count for each in setup.sets)
    if objects:
        return max(1, min(MAX_BYTES, sum(each.bytes_expected for each in setup.sets) // objects))
    sizes = [op.size for op in setup.resolved.ops if op.op is Op.PUT and op.weight and op.size is not None]
    means = [size.mean or (size.minimum + size.maximum) // 2 for size in sizes]
    return max(1, min(MAX_BYTES, sum(means) // len(means))) if means else 1


async def measure(setup: RunSetup, controls: Controls, numbers: Sequence[int]) -> Rate:
    """PUT, then GET, at these endpoints. Raises StorageError for the first operation that fails."""
    endpoints = [setup.endpoints[number] for number in numbers]
    counts = [max(1, min(MAX_CONNECTIONS // len(numbers), setup.connections[number])) for number in numbers]
    run = _Measure(setup, f"{PROBE_DIRECTORY}rate-{setup.run_id}-{setup.agent.index}-{os.getpid()}-")
    engine = make_engine(
        endpoints[0].scheme,
        setup.config.engine.value,
        EngineOptions(
            asyncio.get_running_loop(),
            op_timeout=BOUND_S,
            region=region_of(setup.environ),
            s3=setup.config.s3,
            files=setup.config.files,
        ),
        setup.environ,
    )
    await engine.open(endpoints, counts, run.on_done)
    try:
        puts = await run.half(engine.connections, Op.PUT)
        gets = await run.half(engine.connections, Op.GET)
    finally:
        await engine.close()
        await asyncio.shield(run.clean_up(controls, numbers, engine.connections))
    size = run.size
    return Rate(puts, gets, puts * size, gets * size, sum(counts), size)


class _Measure:
    """Keeps each connection busy with one object of its own."""

    def __init__(self, setup: RunSetup, prefix: str) -> None:
        self.size = mean_size(setup)
        self._setup = setup
        self._prefix = prefix
        self._maker = ContentMaker(setup.sets[0].content if setup.sets else Content(), 1)
        self._payloads: dict[Connection, Payload] = {}
        self._keys: dict[Connection, str] = {}
        self._op = Op.PUT
        self._done = self._running = 0
        self._stopping = False
        self._failure: Failure | None = None
        self._ended = asyncio.Event()

    async def half(self, connections: Sequence[Connection], op: Op) -> float:
        """Operations of one kind a second, over all connections."""
        self._op, self._done, self._stopping = op, 0, False
        self._ended.clear()
        self._running = len(connections)
        began = monotonic()
        for number, connection in enumerate(connections):
            self._keys.setdefault(connection, f"{self._prefix}{number}")
            self._issue(connection)
        await asyncio.sleep(HALF_S)
        self._stopping = True
        await self._ended.wait()
        if self._failure is not None:
            raise storage_error(self._failure)
        return self._done / (monotonic() - began)

    def on_done(self, connection: Connection, status: int, moved: int, t0: int, t_first: int, t_last: int) -> None:
        if status == OK:
            self._done += 1
        elif self._failure is None:
            self._failure = connection.failure
        if self._stopping or self._failure is not None:
            self._running -= 1
            if self._running <= 0:
                self._ended.set()
        else:
            self._issue(connection)

    def _issue(self, connection: Connection) -> None:
        request = Request(op=self._op, key=self._keys[connection])
        if self._op is Op.PUT:
            payload = self._payloads.setdefault(connection, Payload())
            payload.become(self._maker, 0, self._done, 0, self.size)
            request.body, request.size = payload, self.size
        connection.issue(request)

    async def clean_up(self, controls: Controls, numbers: Sequence[int], connections: Sequence[Connection]) -> None:
        for connection in connections:
            if connection in self._keys:
                control = await controls.of(numbers[connection.endpoint])
                # What failed was said; the probe of a storage that is gone cannot be removed.
                with suppress(StorageError):
                    await control.delete(self._keys[connection])
