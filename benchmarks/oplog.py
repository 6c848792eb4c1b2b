"""What an op-log costs: CPU time of a row in a worker, beside that of recording the operation; and of sorting."""

from __future__ import annotations

import argparse
import mmap
import random
import tempfile
import time
from pathlib import Path

from sai3tui.agent.controller_clock import ClockReading
from sai3tui.agent.worker.oplog import WorkerOplog
from sai3tui.config.ops import Op
from sai3tui.metrics.recorder import Recorder
from sai3tui.metrics.shared import SharedWriter, mapping_bytes
from sai3tui.results.oplog import OplogProblem, read_oplog
from sai3tui.results.oplog_sort import sort_oplogs
from sai3tui.storage.engine import Endpoint, Request

ENDPOINTS = (Endpoint("s3://10.9.0.21:9000/bench/data/", "s3"),)
TICK_ROWS = 8000
"""Rows between two ticks: four of them a second at 32,000 operations."""


def requests(count: int) -> list[tuple[Request, int, int, int]]:
    rng = random.Random(1)
    made, now = [], time.monotonic_ns()
    for number in range(count):
        key = f"d{number % 24}_w{number % 3}.dir/file_{number:08d}.dat"
        start = now + number * 31_000 + rng.randrange(10_000)
        first = start + rng.randrange(300_000, 900_000)
        made.append((Request(Op.GET, key, 65536), start, first, first + rng.randrange(10_000, 90_000)))
    return made


def recording_us(rows: list[tuple[Request, int, int, int]]) -> float:
    recorder = Recorder(SharedWriter(mmap.mmap(-1, mapping_bytes(1)), 1))
    recorder.start_stage(1)
    began = time.process_time()
    for number, (request, start, first, last) in enumerate(rows, 1):
        recorder.success(request.op, 0, request.size, start, start, first, last)
        if number % TICK_ROWS == 0:
            recorder.flush()
    return (time.process_time() - began) / len(rows) * 1e6


def logging_us(rows: list[tuple[Request, int, int, int]], stem: Path) -> tuple[float, Path]:
    log = WorkerOplog(stem, 0, "agent-1", ENDPOINTS, ClockReading(time.monotonic_ns(), time.time_ns()))
    began = time.process_time()
    for number, (request, start, first, last) in enumerate(rows, 1):
        log.add(request, 0, request.size, None, start, first, last)
        if number % TICK_ROWS == 0:
            log.tick()
    log.close()
    return (time.process_time() - began) / len(rows) * 1e6, log.path


def told(problem: OplogProblem) -> None:
    raise SystemExit(str(problem))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    options = parser.parse_args()
    rows = requests(options.rows)
    with tempfile.TemporaryDirectory() as directory:
        pairs = []
        for round_number in range(3):
            recorded = recording_us(rows)
            logged, path = logging_us(rows, Path(directory) / f"round-{round_number}")
            pairs.append((recorded, logged))
        recorded, logged = sorted(pairs, key=lambda pair: pair[1] / pair[0])[1]
        size = path.stat().st_size / len(rows)
        print(f"recording {recorded:.2f} us, op-log {logged:.2f} us a request ({logged / recorded:.1f}x), {size:.0f} B")
        began = time.process_time()
        count = sum(1 for _ in read_oplog(path, told))
        read_us = (time.process_time() - began) / count * 1e6
        began = time.process_time()
        sort_oplogs([path], Path(directory) / "sorted.tsv.zst", told)
        sort_us = (time.process_time() - began) / count * 1e6
        print(f"reading {read_us:.1f} us, sorting {sort_us:.1f} us a row")


if __name__ == "__main__":
    main()
