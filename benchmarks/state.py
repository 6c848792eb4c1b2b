"""What a state cache costs: `python -m benchmarks.state [--objects 1000000 50000000]`.

For each number of objects a prepare is played: leases of 1,024 objects are marked creating, then created, as a stage
does it, and left out now and then, so that something is missing everywhere. Then, in a process of its own, as after a
crash: the cache is opened, its states are read, and the indices of all that is missing are found. File size is what
the disk holds (blocks, not length); memory is the most that the process ever had, with
Python and all libraries.

`--deletes 100000`, in place of that: leases of 16 objects that an execute stage deletes, from one worker that asks for
the next one when it has the last, with a commit for each lease and with many put on record at once, as stages do it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

import numpy as np

from sai3tui.agent.source import TAKE, StateSource, TrackedSet, deletes_ahead
from sai3tui.state.generations import Generation, Holding
from sai3tui.state.layout import LayoutCache
from sai3tui.state.states import ObjectState, wanted

LEASE = 1024
MISSING_EVERY = 997
"""Of so many leases one is left out, and of each other one its last object."""
FLUSH_LEASES = 512
TAKEN = 16
"""Deletes that are leased at once: half of what 4 connections have at hand."""
MIB = 1 << 20


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def fill(directory: Path, objects: int) -> dict[str, float]:
    """Play a prepare of `objects` objects."""
    began = time.monotonic()
    cache = LayoutCache.open(directory, objects)
    record = Generation(1, 1, 1, {0: objects})
    cache.save(record)
    states = cache.states(record, 0, 0)
    for number, first in enumerate(range(0, objects, LEASE)):
        if number % MISSING_EVERY == 0:
            continue
        lease = np.arange(first, min(first + LEASE, objects), dtype=np.int64)
        states.set(lease, ObjectState.CREATING)
        states.set(lease[:-1], ObjectState.CREATED)
        if number % FLUSH_LEASES == 0:
            await cache.flush()
    await cache.close()
    return {"fill_s": time.monotonic() - began, "fill_mib": peak_mib()}


async def find(directory: Path, objects: int) -> dict[str, float]:
    """Open what `fill` has left and find what is missing."""
    began = time.monotonic()
    cache = LayoutCache.open(directory, objects)
    record = cache.latest
    assert record is not None
    states = cache.states(record, 0, 0)
    read = time.monotonic()
    missing = 0
    for found in states.where(wanted(ObjectState.PLANNED, ObjectState.CREATING, ObjectState.DELETED)):
        missing += found.size
    done = time.monotonic()
    await cache.close()
    return {"open_s": read - began, "find_s": done - read, "missing": missing, "find_mib": peak_mib()}


async def take(directory: Path, objects: int, ahead: int) -> dict[str, float]:
    """Lease `objects` objects for their deletes, so many of them put on record at once."""
    cache = LayoutCache.open(directory, objects)
    record = Generation(1, 1, 1, {0: objects}, (Holding(0, 0, 0, objects, 1),))
    cache.save(record)
    states = cache.states(record, 0, 0)
    states.set(np.arange(objects, dtype=np.int64), ObjectState.CREATED)
    await cache.flush()
    held = TrackedSet(record.holdings[0], states, lambda indices: int(indices.size))
    source = StateSource(cache, record, [held], 1, TAKE, ahead=ahead)
    began, cpu = time.monotonic(), time.process_time()
    while (lease := await source.grant(0, TAKEN)) is not None:
        source.finished(lease.lease_id, array("Q", lease.indices()), [])
    took = {"s": time.monotonic() - began, "cpu_s": time.process_time() - cpu, "done": source.done}
    await cache.close()
    return took


def deletes(objects: int) -> None:
    print("| objects on record at once | objects/s | µs of CPU each |")
    print("|--:|--:|--:|")
    for ahead in (0, deletes_ahead(objects, 1)):
        with tempfile.TemporaryDirectory(prefix="sai3tui-bench-state-") as directory:
            took = asyncio.run(take(Path(directory) / "cache", objects, ahead))
        assert took["done"] == objects
        print(f"| {ahead or TAKEN:,} | {objects / took['s']:,.0f} | {1e6 * took['cpu_s'] / objects:.1f} |")


def apart(what: str, directory: Path, objects: int) -> dict[str, float]:
    """`fill` or `find` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.state", "--only", what, str(directory), "--objects", str(objects)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measured(objects: int) -> dict[str, float]:
    directory = Path(tempfile.mkdtemp(prefix="sai3tui-bench-state-"))
    try:
        result = apart("fill", directory / "cache", objects)
        blocks = sum(path.stat().st_blocks for path in (directory / "cache").rglob("*") if path.is_file())
        return {**result, "file_mib": blocks * 512 / MIB, **apart("find", directory / "cache", objects)}
    finally:
        shutil.rmtree(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[1_000_000, 50_000_000])
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "DIRECTORY"), help=argparse.SUPPRESS)
    parser.add_argument("--deletes", type=int, metavar="N", help="lease the deletes of so many objects")
    options = parser.parse_args()
    if options.deletes:
        deletes(options.deletes)
        return
    if options.only:
        what, directory = options.only
        work = {"fill": fill, "find": find}[what](Path(directory), options.objects[0])
        print(json.dumps(asyncio.run(work)))
        return
    print("| objects | file MiB | missing | s to find them (open, search) | MiB (prepare, search) | s of prepare |")
    print("|--:|--:|--:|--:|--:|--:|")
    for objects in options.objects:
        m = measured(objects)
        print(
            f"| {objects:,} | {m['file_mib']:.1f} | {m['missing']:,.0f} | {m['open_s']:.2f} + {m['find_s']:.2f} |"
            f" {m['fill_mib']:.0f}, {m['find_mib']:.0f} | {m['fill_s']:.1f} |"
        )


if __name__ == "__main__":
    main()
