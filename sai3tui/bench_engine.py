"""`sai3tui bench-engine`: what this host's generator can do at most, against a sink on loopback that does nothing.

A whole worker is measured, with all that it does in a run: choice, leases, names, payload, signing, recording, reports.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import sys
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from sai3tui.agent.lease import Lease, MixJob, MixOp, SetSpec
from sai3tui.agent.pool import WorkerPool
from sai3tui.agent.worker.messages import WorkerSetup
from sai3tui.config.ops import Op
from sai3tui.config.units import format_bytes
from sai3tui.errors import Failure, ResourceError
from sai3tui.storage.ceiling import Ceiling, Cell, save_ceiling
from sai3tui.storage.engine import Endpoint
from sai3tui.storage.null_sink import null_sink
from sai3tui.workload.drawing import Draw

KEYS = {"AWS_ACCESS_KEY_ID": "benchmarkkey", "AWS_SECRET_ACCESS_KEY": "benchmarksecret"}
SIZES = (1024, 64 * 1024, 1024 * 1024, 8 * 1024 * 1024)
OBJECTS = 1_000_000
"""GETs are spread over so many names."""
AHEAD = 64
"""Names leased ahead per connection, as in a run."""
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
    """All cells, rounds interleaved, medians. Worker and this process are kept off the sink's core while that lasts."""
    cores = os.sched_getaffinity(0)
    first = min(cores)
    kept = {name: os.environ.get(name) for name in KEYS}
    try:
        with null_sink(core=first) as port:
            if len(cores) > 1:
                os.sched_setaffinity(0, cores - {first})
            else:
                err.write("this host has one core: the sink runs on it too, so what was seen is not the ceiling\n")
            # Workers inherit the environment, and the sink believes everybody.
            os.environ.update(KEYS)
            found = asyncio.run(_measure(port, options))
    except RuntimeError as error:
        raise ResourceError("the null sink cannot be measured against") from error
    finally:
        os.sched_setaffinity(0, cores)
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return [
        Cell(op.word, size, statistics.median(cpu for cpu, _ in each), statistics.median(rate for _, rate in each))
        for (op, size), each in sorted(found.items())
    ]


@dataclass(frozen=True, slots=True)
class _Objects:
    """Any number of objects of one size (a `KeySpace`); their names tell the sink how much to send."""

    bytes: int

    def key(self, index: int) -> str:
        return f"bench/object_{index:012d}.dat/{self.bytes}"

    def size(self, index: int) -> int:
        return self.bytes


class _NewNames:
    """A `LeaseSource` that never ends."""

    def __init__(self) -> None:
        self._leases = 0
        self._next = 0

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        self._leases += 1
        self._next += want
        return Lease(self._leases, set_id or 0, 1, 0, 1, endpoint, self._next - want, want)

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        """Nobody wants to know."""

    def unused(self, lease_id: int, count: int) -> None:
        """Nobody wants to know."""

    def lost(self, lease_id: int) -> None:
        """Nobody wants to know."""


async def _measure(port: int, options: BenchOptions) -> dict[tuple[Op, int], list[tuple[float, float]]]:
    """By operation and size: CPU µs per operation, and operations a second, of each round."""
    place = Endpoint(f"s3://127.0.0.1:{port}/bench/", "s3", "127.0.0.1", port, "bench")
    sets = tuple(SetSpec(number, _Objects(size)) for number, size in enumerate(SIZES))
    found: dict[tuple[Op, int], list[tuple[float, float]]] = {}
    async with WorkerPool(WorkerSetup((place,), (options.connections,)), workers=1) as pool:
        (pid,) = pool.pids
        for number in range(options.rounds + 1):
            for each in sets:
                for op in (
                    MixOp(Op.GET, 1.0, each.set_id, (Draw(0, 1, OBJECTS),)),
                    MixOp(Op.PUT, 1.0, each.set_id, leased=True, ahead=AHEAD),
                ):
                    # The first round connects, and shows the worker all that it will do.
                    seconds = options.seconds if number else min(WARM_UP_S, options.seconds)
                    one = await _cell(pool, pid, op, each, seconds)
                    if number:
                        found.setdefault((op.op, each.objects.size(0)), []).append(one)
    return found


async def _cell(pool: WorkerPool, pid: int, op: MixOp, objects: SetSpec, seconds: float) -> tuple[float, float]:
    """CPU µs per operation, and operations a second. Raises RuntimeError."""
    while True:
        before = _cpu_ns(pid)
        ended = await pool.run_mix(MixJob((op,), (objects,), seconds), _NewNames())
        count = ended.totals.count
        if ended.failure is not None or ended.totals.errors:
            why = ended.failure.sentence() if ended.failure is not None else f"{ended.totals.errors} operations failed"
            raise RuntimeError(why)
        if count:
            return (_cpu_ns(pid) - before) / count / 1e3, count / ended.seconds
        # On a busy host a short time may be over before the worker has heard of it.
        seconds *= 2
        if seconds > END_S:
            raise RuntimeError(f"no {op.op.word} ended within {seconds:.0f} s")


def _cpu_ns(pid: int) -> int:
    """Nanoseconds on a CPU of a process's main thread, which does all that a worker does."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])
