"""CPU per operation of the S3 engines against a server that stores nothing.

    python -m benchmarks.engine [--seconds 0.5] [--rounds 3] [--connections 16] [--size 1024] [--engines wire,boto]

Rounds are interleaved and medians shown: trust the ratios, not the figures. Figures are CPU µs (user + system) of this
process, all threads, per operation; the server runs on another core where there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import statistics
import time
from collections.abc import Sequence

import uvloop

from benchmarks.null_s3 import null_s3
from sai3tui.config.ops import Op
from sai3tui.storage.engine import OK, Connection, Endpoint, EngineOptions, Request
from sai3tui.storage.open import make_engine

ENVIRON = {"AWS_ACCESS_KEY_ID": "benchmarkkey", "AWS_SECRET_ACCESS_KEY": "benchmarksecret"}
WARM_UP_S = 0.1


class Content:
    """A body that costs nothing to make."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._bytes = memoryview(os.urandom(min(size, 256 * 1024) or 1))

    def piece(self, offset: int, length: int) -> memoryview:
        return self._bytes[:length]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def cell(engine_name: str, op: Op, port: int, size: int, connections: int, seconds: float) -> tuple[float, float]:
    """CPU µs per operation and operations a second of one engine doing one operation over and over."""
    loop = asyncio.get_running_loop()
    engine = make_engine("s3", engine_name, EngineOptions(loop), ENVIRON)
    ended = loop.create_future()
    state = {"done": 0, "failed": 0, "running": 0}
    stopping = False

    def on_done(connection: Connection, status: int, moved: int, t0: int, t_first: int, t_last: int) -> None:
        state["done"] += 1
        if status != OK or moved != size:
            state["failed"] += 1
        if stopping:
            state["running"] -= 1
            if not state["running"] and not ended.done():
                ended.set_result(None)
        else:
            assert connection.request is not None
            connection.issue(connection.request)

    place = Endpoint(f"s3://127.0.0.1:{port}/bucket/", "s3", "127.0.0.1", port, "bucket")
    await engine.open([place], [connections], on_done)
    gc.collect()
    gc.freeze()
    state["running"] = len(engine.connections)
    for number, connection in enumerate(engine.connections):
        body = Content(size) if op is Op.PUT else None
        connection.issue(Request(op=op, key=f"benchmark/object_{number:08d}.dat/{size}", size=size, body=body))
    await asyncio.sleep(WARM_UP_S)
    before, cpu, start = state["done"], _cpu(), time.perf_counter()
    await asyncio.sleep(seconds)
    count, cpu, wall = state["done"] - before, _cpu() - cpu, time.perf_counter() - start
    stopping = True
    await asyncio.wait_for(ended, 30)
    await engine.close()
    gc.unfreeze()
    if state["failed"]:
        raise RuntimeError(f"{state['failed']} operations of {engine_name} failed")
    return cpu / max(1, count) * 1e6, count / wall


def measure(engines: Sequence[str], args: argparse.Namespace) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, set(cores[1:]))
    results: dict[tuple[str, Op], list[tuple[float, float]]] = {}
    with null_s3() as port:
        for _ in range(args.rounds):
            for op in (Op.GET, Op.PUT):
                for name in engines:
                    one = uvloop.run(cell(name, op, port, args.size, args.connections, args.seconds))
                    results.setdefault((name, op), []).append(one)
    print(f"{args.size} bytes, {args.connections} connections, median of {args.rounds} rounds of {args.seconds:g} s")
    print(f"{'engine':8} {'op':4} {'CPU µs/op':>10} {'best':>8} {'ops/s':>9} {'ratio':>7}")
    for op in (Op.GET, Op.PUT):
        base = statistics.median(cpu for cpu, _ in results[engines[0], op])
        for name in engines:
            cpus = [cpu for cpu, _ in results[name, op]]
            rate = statistics.median(rate for _, rate in results[name, op])
            median = statistics.median(cpus)
            print(f"{name:8} {op.word:4} {median:10.1f} {min(cpus):8.1f} {rate:9.0f} {median / base:6.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--engines", default="wire,boto")
    args = parser.parse_args()
    measure(args.engines.split(","), args)


if __name__ == "__main__":
    main()
