"""How exactly a rate is delivered to a real server (one that only answers): `python -m benchmarks.rate`.

For each rate the operations that were done, against the rate times the seconds, and how late they began. Intervals that
are spread give a count that is spread too: `by chance` is its standard deviation. `behind` is the yardstick: what was
due and had not begun at the end, of which 1 % may be missing while the storage keeps up.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
from unittest.mock import patch

from benchmarks.job import BUCKET, KEYS
from benchmarks.null_s3 import null_s3
from benchmarks.worker import EndlessSource
from sai3tui.agent.lease import MixJob, MixOp, SetSpec
from sai3tui.agent.pool import WorkerPool
from sai3tui.agent.stages.names import new_names
from sai3tui.agent.worker.messages import WorkerSetup
from sai3tui.config.model import ArrivalKind, IoRate, fixed_size
from sai3tui.config.ops import Op
from sai3tui.state.names import NamePool
from sai3tui.storage.engine import Endpoint
from sai3tui.workload.drawing import Draw

WORKERS = 2
CONNECTIONS = 32
RATES = (100, 1000, 4000)


async def _run(port: int, seconds: float) -> None:
    sets = (SetSpec(0, new_names(NamePool("data/", 1, 1, 0), fixed_size(1024))),)
    ops = (MixOp(Op.GET, 1, 0, (Draw(0, 1, 1000),)),)
    place = Endpoint(f"s3://127.0.0.1:{port}/{BUCKET}/", "s3", "127.0.0.1", port, BUCKET)
    print("rate/s  spread           due     done   off by  by chance  behind    late on average  at most")
    async with WorkerPool(WorkerSetup((place,), (CONNECTIONS,), "wire"), workers=WORKERS) as pool:
        await pool.run_mix(MixJob(ops, sets, 0.5), EndlessSource(1))
        for rate in RATES:
            for kind in (ArrivalKind.DETERMINISTIC, ArrivalKind.UNIFORM):
                job = MixJob(ops, sets, seconds, io_rate=IoRate(rate, kind))
                ended = await pool.run_mix(job, EndlessSource(1))
                due, late = rate * seconds, ended.lateness
                assert late is not None
                off = ended.totals.count / due - 1
                # Intervals between 0 and twice the mean have a third of its square as their variance.
                chance = math.sqrt(due / 3) / due if kind is ArrivalKind.UNIFORM else 0.0
                behind = late.behind_ns / 1e9 / seconds
                mean_ms = late.late_ns / max(1, late.begun) / 1e6
                print(
                    f"{rate:6}  {kind.value:13} {due:6.0f}  {ended.totals.count:7}  {off:+7.2%}  {chance:9.2%}"
                    f"  {behind:6.2%}  {mean_ms:12.3f} ms  {late.latest_ns / 1e6:7.1f} ms"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    with patch.dict(os.environ, KEYS), null_s3(size=1024) as port:
        asyncio.run(_run(port, arguments.seconds))


if __name__ == "__main__":
    main()
