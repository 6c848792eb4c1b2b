"""What an operation costs one worker process, and each of two, with the wire engine against the null server.

python -m benchmarks.pool [--rounds 3] [--seconds 1.0]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from unittest.mock import patch

import psutil

from benchmarks.job import BUCKET, KEYS
from benchmarks.null_s3 import null_s3
from benchmarks.worker import EndlessSource
from sai3tui.agent.lease import MixJob, MixOp, SetSpec
from sai3tui.agent.pool import WorkerPool
from sai3tui.agent.stages.names import new_names
from sai3tui.agent.worker.messages import WorkerSetup
from sai3tui.config.model import fixed_size
from sai3tui.config.ops import Op
from sai3tui.state.names import NamePool
from sai3tui.storage.engine import Endpoint
from sai3tui.workload.drawing import Draw

WORKERS = (1, 2)
CONNECTIONS = 16
"""Of each worker."""
SIZE = 1024
OBJECTS = 1000


async def _costs(port: int, rounds: int, seconds: float) -> dict[str, dict[int, list[float]]]:
    sets = (SetSpec(0, new_names(NamePool("data/", 1, 1, 0), fixed_size(SIZE))),)
    ops = {
        "get": MixOp(Op.GET, 1, 0, (Draw(0, 1, OBJECTS),)),
        "put": MixOp(Op.PUT, 1, 0, leased=True, ahead=64),
    }
    place = Endpoint(f"s3://127.0.0.1:{port}/{BUCKET}/", "s3", "127.0.0.1", port, BUCKET)
    found: dict[str, dict[int, list[float]]] = {name: {count: [] for count in WORKERS} for name in ops}
    pools = {
        count: WorkerPool(WorkerSetup((place,), (CONNECTIONS * count,), "wire"), workers=count) for count in WORKERS
    }
    try:
        for pool in pools.values():
            await pool.start()
        # The first round connects, and is not counted.
        for number in range(rounds + 1):
            for name, op in ops.items():
                for count, pool in pools.items():
                    processes = [psutil.Process(pid) for pid in pool.pids]
                    before = sum(sum(each.cpu_times()[:2]) for each in processes)
                    ended = await pool.run_mix(MixJob((op,), sets, seconds), EndlessSource(10**12))
                    spent = sum(sum(each.cpu_times()[:2]) for each in processes) - before
                    if number:
                        found[name][count].append(spent / max(1, ended.totals.count) * 1e6)
    finally:
        for pool in pools.values():
            await pool.close()
    return found


def cost_by_workers(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """CPU µs of workers per operation of 1 KiB, by operation and number of workers; medians of interleaved rounds.

    Workers get all cores, the server's too, as two of them share a host of two cores with it.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        with patch.dict(os.environ, KEYS), null_s3(size=SIZE) as port:
            found = asyncio.run(_costs(port, rounds, seconds))
    finally:
        os.sched_setaffinity(0, allowed)
    return {op: {str(count): statistics.median(each) for count, each in by.items()} for op, by in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    for op, costs in cost_by_workers(args.rounds, args.seconds).items():
        one, two = costs["1"], costs["2"]
        print(f"{op.upper()} 1 KiB: one worker {one:.1f} µs, each of two {two:.1f} µs, ratio {two / one:.2f}")


if __name__ == "__main__":
    main()
