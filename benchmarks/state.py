"""What a state cache costs: `python -m benchmarks.state [--objects 1000000 50000000]`.

For each number of objects a prepare is played: leases of 1,024 objects are marked creating, then created, as a stage
does it, and left out now and then, so that something is missing everywhere. Then, in a process of its own, as after a
crash: the cache is opened, its states are read, and the indices of all that is missing are found. File size is what
the disk holds (blocks, not length); memory is the most that the process ever had, with
Python and all libraries.
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
from pathlib import Path

import numpy as np

from sai3tui.state.generations import Generation
from sai3tui.state.layout import LayoutCache
from sai3tui.state.states import ObjectState, wanted

LEASE = 1024
MISSING_EVERY = 997
"""Of so many leases one is left out, and of each other one its last object."""
FLUSH_LEASES = 512
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
    options = parser.parse_args()
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
