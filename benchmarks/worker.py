"""CPU per operation of a worker with the null engine: all bookkeeping, no storage.

    python -m benchmarks.worker [--seconds 1.0] [--rounds 3] [--connections 16] [--size 1024]

Leases, names, sizes, payload, choice, pacing, recording and reports are all in it. Rounds are interleaved and medians
shown: trust the ratios, not the figures. Figures are CPU µs (user + system) of the worker process per operation, and
resident memory at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from array import array
from collections.abc import Awaitable, Callable, Sequence

import psutil

from sai3tui.agent.lease import Lease, LeasedJob, MixJob, MixOp, SetSpec, lease_size
from sai3tui.agent.pool import StageTotals, WorkerPool
from sai3tui.agent.stages.names import new_names
from sai3tui.agent.worker.messages import WorkerSetup
from sai3tui.config.model import ArrivalKind, IoRate, fixed_size
from sai3tui.config.ops import Op
from sai3tui.errors import Failure
from sai3tui.state.names import NamePool
from sai3tui.storage.engine import Endpoint
from sai3tui.workload.drawing import Draw

COUNT = 1_000_000
PACED_IOPS = 5_000


class EndlessSource:
    """Grants the numbers from 0 on, up to a count."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.next = 0
        self.leases = 0

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        want = min(want, self.count - self.next)
        if want <= 0:
            return None
        self.leases += 1
        lease = Lease(self.leases, set_id or 0, 1, 0, 1, endpoint, self.next, want)
        self.next += want
        return lease

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        """Nothing is kept."""

    def unused(self, lease_id: int, count: int) -> None:
        """Nothing is kept."""

    def lost(self, lease_id: int) -> None:
        """Nothing is kept."""


async def measure(size: int, connections: int, seconds: float, rounds: int) -> None:
    """Run all cells and print their medians."""
    setup = WorkerSetup((Endpoint("s3://a/b/", "s3"), Endpoint("s3://c/b/", "s3")), (connections // 2,) * 2, "null")
    sets = (SetSpec(0, new_names(NamePool("data/", 1, 1, 0), fixed_size(size))),)
    everything = (Draw(0, 1, COUNT),)
    get = MixOp(Op.GET, 70, 0, everything)
    mixed = (get, MixOp(Op.PUT, 20, 0, leased=True), MixOp(Op.STAT, 10, 0, everything))
    puts = max(1000, int(40_000 * seconds * 1024 / max(1024, size)))
    async with WorkerPool(setup, workers=1) as pool:
        cells: dict[str, Callable[[], Awaitable[StageTotals]]] = {
            "prepare: PUT from leases": lambda: pool.run_leased(
                LeasedJob(Op.PUT, sets, lease_size(COUNT, connections)), EndlessSource(puts)
            ),
            "cleanup: DELETE from leases": lambda: pool.run_leased(
                LeasedJob(Op.DELETE, sets, lease_size(COUNT, connections)), EndlessSource(puts)
            ),
            "execute: GET": lambda: pool.run_mix(MixJob((get,), sets, seconds), EndlessSource(0)),
            "execute: GET 70, PUT 20, STAT 10": lambda: pool.run_mix(
                MixJob(mixed, sets, seconds, lease_size=64), EndlessSource(COUNT * 100)
            ),
            f"execute: GET at {PACED_IOPS}/s": lambda: pool.run_mix(
                MixJob((get,), sets, seconds, io_rate=IoRate(PACED_IOPS, ArrivalKind.EXPONENTIAL)), EndlessSource(0)
            ),
        }
        costs: dict[str, list[float]] = {name: [] for name in cells}
        (pid,) = pool.pids
        worker = psutil.Process(pid)
        for _ in range(rounds):
            for name, run in cells.items():
                before = sum(worker.cpu_times()[:2])
                ended = await run()
                spent = sum(worker.cpu_times()[:2]) - before
                costs[name].append(spent / max(1, ended.totals.count) * 1e6)
        for name, found in costs.items():
            print(f"{name:36} {statistics.median(found):8.2f} µs/op   (best {min(found):.2f})")
        print(f"{'resident memory':36} {worker.memory_info().rss / 2**20:8.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--size", type=int, default=1024)
    chosen = parser.parse_args()
    asyncio.run(measure(chosen.size, chosen.connections, chosen.seconds, chosen.rounds))


if __name__ == "__main__":
    main()
