"""`sai3tui bench-engine`: what this host's generator can do at most, against a sink on loopback that does nothing.

Signing, payload and the engine are in it; leases, pacing and recording are not (they cost a few µs per operation).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import resource
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TextIO

import uvloop

from sai3tui.config.model import Content
from sai3tui.config.ops import Op
from sai3tui.config.units import format_bytes
from sai3tui.errors import ResourceError
from sai3tui.storage.ceiling import Ceiling, Cell, save_ceiling
from sai3tui.storage.engine import OK, Connection, Endpoint, EngineOptions, Request
from sai3tui.storage.null_sink import null_sink
from sai3tui.storage.open import make_engine
from sai3tui.workload.content import ContentMaker, Payload

KEYS = {"AWS_ACCESS_KEY_ID": "benchmarkkey", "AWS_SECRET_ACCESS_KEY": "benchmarksecret"}
SIZES = (1024, 64 * 1024, 1024 * 1024, 8 * 1024 * 1024)
WARM_UP_S = 0.1
END_S = 30.0


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """`seconds` per cell and round; `save`: keep the result for plan and preflight."""

    seconds: float = 0.5
    rounds: int = 3
    connections: int = 16
    json: bool = False
    save: bool = True


def run_bench_engine(options: BenchOptions, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Measure, print, keep. Raises ResourceError if the sink does not start or the result cannot be kept."""
    cells = measure(options, err)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ceiling = Ceiling(now, platform.node(), platform.python_version(), version("sai3tui"), tuple(cells))
    if options.json:
        out.write(json.dumps(asdict(ceiling)) + "\n")
    else:
        out.write(table(ceiling))
    if options.save:
        err.write(f"kept in {save_ceiling(ceiling)}; plan and preflight compare configurations with it\n")
    return 0


def table(ceiling: Ceiling) -> str:
    lines = [f"{'op':4} {'size':>9} {'CPU µs/op':>10} {'ops/s per core':>15} {'GiB/s per core':>15} {'seen ops/s':>11}"]
    lines += [
        f"{cell.op:4} {format_bytes(cell.size):>9} {cell.cpu_us:10.1f} {cell.ops_per_core:15,.0f} "
        f"{cell.bytes_per_core / 2**30:15.2f} {cell.ops_per_s:11,.0f}"
        for cell in ceiling.cells
    ]
    lines.append("per core: of a core that only runs a worker; seen: with one worker and the sink on this host")
    return "\n".join(lines) + "\n"


def measure(options: BenchOptions, err: TextIO) -> list[Cell]:
    """All cells, rounds interleaved, medians. This process is kept off the sink's core while that lasts."""
    cores = os.sched_getaffinity(0)
    first = min(cores)
    found: dict[tuple[Op, int], list[tuple[float, float]]] = {}
    try:
        with null_sink(core=first) as port:
            if len(cores) > 1:
                os.sched_setaffinity(0, cores - {first})
            else:
                err.write("this host has one core: the sink runs on it too, so what was seen is not the ceiling\n")
            for _ in range(options.rounds):
                for size in SIZES:
                    for op in (Op.GET, Op.PUT):
                        one = uvloop.run(_cell(op, port, size, options))
                        found.setdefault((op, size), []).append(one)
    except RuntimeError as error:
        raise ResourceError("the null sink cannot be measured against") from error
    finally:
        os.sched_setaffinity(0, cores)
    return [
        Cell(op.word, size, statistics.median(cpu for cpu, _ in each), statistics.median(rate for _, rate in each))
        for (op, size), each in sorted(found.items())
    ]


async def _cell(op: Op, port: int, size: int, options: BenchOptions) -> tuple[float, float]:
    """CPU µs per operation, and operations a second."""
    loop = asyncio.get_running_loop()
    engine = make_engine("s3", "wire", EngineOptions(loop), KEYS)
    ended: asyncio.Future[None] = loop.create_future()
    done = failed = running = number = 0
    stopping = False
    maker = ContentMaker(Content(), 1)

    def issue(connection: Connection, request: Request) -> None:
        nonlocal number
        number += 1
        request.key = f"bench/object_{number:012d}.dat/{size}"
        body = request.body
        if isinstance(body, Payload):
            body.become(maker, 1, number, 0, size)
        connection.issue(request)

    def on_done(connection: Connection, status: int, moved: int, t0: int, t_first: int, t_last: int) -> None:
        nonlocal done, failed, running
        done += 1
        failed += status != OK or moved != size
        if stopping or failed:
            running -= 1
            if not running and not ended.done():
                ended.set_result(None)
        elif connection.request is not None:
            issue(connection, connection.request)

    place = Endpoint(f"s3://127.0.0.1:{port}/bench/", "s3", "127.0.0.1", port, "bench")
    await engine.open([place], [options.connections], on_done)
    gc.collect()
    gc.freeze()
    try:
        running = len(engine.connections)
        for connection in engine.connections:
            issue(connection, Request(op=op, size=size, body=Payload() if op is Op.PUT else None))
        await asyncio.sleep(WARM_UP_S)
        before, cpu, start = done, _cpu_s(), time.perf_counter()
        # On a busy host a short window may end before anything has: it goes on until something did. An event would be
        # set by every operation, whose cost is what is measured.
        while done == before and time.perf_counter() - start < END_S:  # noqa: ASYNC110
            await asyncio.sleep(options.seconds)
        count, cpu, wall = done - before, _cpu_s() - cpu, time.perf_counter() - start
        stopping = True
        await asyncio.wait_for(ended, END_S)
    finally:
        await engine.close()
        gc.unfreeze()
    if failed:
        raise RuntimeError(f"{failed} operations of {done} failed")
    if not count:
        raise RuntimeError(f"no {op.word} of {size} bytes ended within {wall:.1f} s")
    return cpu / count * 1e6, count / wall


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
