"""Where a worker's microseconds go: every layer of its own code timed on its way through real operations.

    python -m benchmarks.profile_worker [--op put] [--size 1024] [--connections 16] [--seconds 4]

A real driver, real leases, the wire engine and a socket to the null server, all in this process. First the CPU (user +
system) per operation is taken without timers, as the least and the median of short slices. Then calls of each layer are
timed, what other layers take inside them and what a timer costs (calibrated) taken out. Of short calls the middle nine
tenths count, so that being interrupted by other processes does not; rare and long ones, and all calls for objects of
64 KiB and more, are timed by the thread's CPU clock. What is left is the event loop, receiving, and Python between the
layers, and the error: the two runs are two runs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import time
from array import array
from collections.abc import Callable
from typing import Any

import uvloop

from benchmarks.engine import ENVIRON
from benchmarks.null_s3 import CORES, null_s3
from sai3tui.agent.lease import Lease, MixJob, MixOp, SetSpec, lease_size
from sai3tui.agent.stages.names import NewNames, new_names
from sai3tui.agent.worker.ahead import HeadsAhead, PutsAhead
from sai3tui.agent.worker.driver import Driver, WorkerContext
from sai3tui.agent.worker.lane import Lane
from sai3tui.agent.worker.messages import Granted, Idle, StartStage, Wanted
from sai3tui.agent.worker.mix import MixDriver
from sai3tui.agent.worker.supply import Shelf, Supply
from sai3tui.config.model import fixed_size
from sai3tui.config.ops import Op
from sai3tui.metrics.recorder import Recorder
from sai3tui.metrics.shared import SharedWriter, mapping_bytes
from sai3tui.state.names import NamePool
from sai3tui.storage.engine import Connection, Endpoint, EngineOptions
from sai3tui.storage.s3link import Link
from sai3tui.storage.s3send import SendingLink
from sai3tui.storage.s3wire import WireConnection, WireEngine
from sai3tui.storage.sigv4 import RequestSigner
from sai3tui.workload.choice import OpMix
from sai3tui.workload.content import Payload
from sai3tui.workload.drawing import Draw, Drawer

SLICE_S = 0.1
SLICE_OPS = 50
WARM_UP_S = 0.5
FLUSH_S = 0.25
COUNT = 1_000_000
TELL, BIN = "tell the main process", "bin what was recorded"
RARE = (TELL, BIN)
LAYERS = (
    ("read the answer's head", Link, ("buffer_updated",)),
    ("bookkeeping of connection and driver", WireConnection, ("finished", "issue")),
    ("bookkeeping of connection and driver", Driver, ("on_done", "put")),
    ("bookkeeping of connection and driver", MixDriver, ("_next",)),
    ("draw, take from a lease", Shelf, ("take",)),
    ("draw, take from a lease", OpMix, ("next",)),
    ("draw, take from a lease", Drawer, ("next",)),
    ("settle in the lease", Supply, ("done",)),
    (TELL, Supply, ("report", "_ask", "granted")),
    ("name", NewNames, ("key",)),
    ("size", NewNames, ("size",)),
    ("body", Payload, ("become", "piece")),
    ("sign, make the head", RequestSigner, ("object_head",)),
    ("several requests ahead", PutsAhead, ("take",)),
    ("several requests ahead", HeadsAhead, ("take",)),
    ("several requests ahead", WireConnection, ("made_put", "made_head")),
    ("start a request", Link, ("start",)),
    ("send a body's pieces", SendingLink, ("_send_pieces", "_start_put")),
    ("record", Recorder, ("success",)),
    (BIN, Recorder, ("flush",)),
)
WRITE = "write() of the transport and the kernel"
REST = "event loop, receiving, calls between the layers"


class Timers:
    """Time spent in layers, without what layers inside take. One thread. `clock`: in nanoseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.spent: dict[str, dict[str, array[int]]] = {}
        self._inside = [0]
        self.operations = 1

    def timed(self, layer: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with its time added to a layer."""
        samples = self.spent.setdefault(layer, {}).setdefault(name, array("q"))
        inside, append = self._inside, samples.append
        clock = time.thread_time_ns if layer in RARE else self.clock

        def call(*args: Any) -> Any:
            inside.append(0)
            begin = clock()
            result = function(*args)
            took = clock() - begin
            append(took - inside.pop())
            inside[-1] += took
            return result

        return call

    def clear(self) -> None:
        for functions in self.spent.values():
            for samples in functions.values():
                del samples[:]


class TimedTransport:
    """A transport whose writes are timed; the rest is the transport's own."""

    def __init__(self, transport: asyncio.Transport, timers: Timers) -> None:
        self._transport = transport
        self.write = timers.timed(WRITE, "write", transport.write)
        self.writelines = timers.timed(WRITE, "writelines", transport.writelines)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def trimmed(samples: array[int]) -> float:
    """The mean of the middle nine tenths, in nanoseconds."""
    ordered = sorted(samples)
    cut = len(ordered) // 20
    return statistics.fmean(ordered[cut : len(ordered) - cut] or ordered)


def cost_of_timer(clock: Callable[[], int]) -> tuple[float, float]:
    """Nanoseconds that a timer adds to its own layer, and to the one around it besides."""
    timers = Timers(clock)
    inner = timers.timed("inner", "inner", lambda: None)
    outer = timers.timed("outer", "outer", lambda: inner())
    bare = timers.timed("bare", "bare", lambda: (lambda: None)())
    for _ in range(20_000):
        outer()
        bare()
    own = trimmed(timers.spent["inner"]["inner"])
    around = trimmed(timers.spent["outer"]["outer"]) - trimmed(timers.spent["bare"]["bare"])
    return own - 30.0, max(0.0, around + 30.0)


class Stage:
    """An execute stage of one operation, with the main process's answers given on the spot."""

    def __init__(self, op: Op, size: int, seconds: float, engine: WireEngine) -> None:
        self._loop = engine.options.loop
        self._granted = 0
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.recorder = Recorder(SharedWriter(bytearray(mapping_bytes(1)), 1))
        self.recorder.start_stage(1)
        lanes = [Lane(number, connection) for number, connection in enumerate(engine.connections)]
        context = WorkerContext(self._loop, lanes, self.recorder, self._hear, connections=len(lanes))
        names = new_names(NamePool("out/", 1, 1, 0), fixed_size(size))
        mixed = MixOp(op, 1, 0, leased=True) if op is Op.PUT else MixOp(op, 1, 0, (Draw(0, 1, COUNT),))
        ahead = lease_size(COUNT, len(lanes)) if size < 2**20 else 4
        job = MixJob((mixed,), (SetSpec(0, names),), seconds, lease_size=ahead)
        ends = time.monotonic_ns() + int(seconds * 1e9)
        self.driver = MixDriver(StartStage(1, job, ends), context, job)
        self.done = 0

    def begin(self) -> None:
        self.driver.begin()
        self._tick()

    def on_done(self, connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
        """What the engine tells."""
        self.done += 1
        self.driver.on_done(connection, status, size, t0, t_first, t_last)

    def _tick(self) -> None:
        self.recorder.flush()
        self.driver.tick()
        if not self.ended.done():
            self._loop.call_later(FLUSH_S, self._tick)

    def _hear(self, message: object) -> None:
        if isinstance(message, Wanted):
            for set_id, endpoint, count in message.wants:
                lease = Lease(self._granted + 1, 0, 1, 0, 1, endpoint, self._granted, count)
                self._granted += count
                self._loop.call_soon(self.driver.granted, Granted(1, set_id, endpoint, count, lease))
        elif isinstance(message, Idle) and not self.ended.done():
            self.ended.set_result(None)


async def run(args: argparse.Namespace, port: int, timers: Timers | None) -> list[float]:
    """CPU µs per operation in each slice of a run. The timers hold what is after the warm-up."""
    loop = asyncio.get_running_loop()
    engine = WireEngine(EngineOptions(loop), ENVIRON)
    place = Endpoint(f"s3://127.0.0.1:{port}/bucket/", "s3", "127.0.0.1", port, "bucket")
    stages: list[Stage] = []
    await engine.open([place], [args.connections], lambda *told: stages[0].on_done(*told))
    stage = Stage(Op[args.op.upper()], args.size, WARM_UP_S + args.seconds, engine)
    stages.append(stage)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    stage.begin()
    await asyncio.sleep(WARM_UP_S)
    if timers is not None:
        timers.clear()
    costs, first = [], stage.done
    while not stage.ended.done():
        before, used = stage.done, time.process_time_ns()
        while not stage.ended.done() and stage.done < before + SLICE_OPS:
            await asyncio.wait((stage.ended,), timeout=SLICE_S)
        if stage.done >= before + SLICE_OPS:
            costs.append((time.process_time_ns() - used) / (stage.done - before) / 1e3)
    if not costs:
        raise RuntimeError("too few operations: give it more --seconds")
    if timers is not None:
        timers.operations = stage.done - first
    await engine.close()
    return costs


def instrument(timers: Timers) -> None:
    """Time the layers from now on, in this process."""
    for layer, owner, names in LAYERS:
        for name in names:
            if name in vars(owner):
                setattr(owner, name, timers.timed(layer, f"{owner.__name__}.{name}", vars(owner)[name]))
    made = Link.connection_made

    def connection_made(self: Link, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        self._transport = TimedTransport(self._transport, timers)  # type: ignore[assignment]

    Link.connection_made = connection_made  # type: ignore[method-assign]


def table(timers: Timers, costs: list[float]) -> str:
    """The layers, dearest first, in Markdown."""
    own, around = cost_of_timer(timers.clock)
    found: list[tuple[float, float, str]] = []
    for layer, functions in timers.spent.items():
        whole = layer in RARE
        spent = sum(sum(each) if whole else trimmed(each) * len(each) for each in functions.values() if each)
        calls = sum(map(len, functions.values()))
        found.append(((spent - calls * own) / timers.operations / 1e3, calls / timers.operations, layer))
    # Every call but one an operation, the outermost, was made inside another layer, which has paid for its timer.
    nested = sum(calls for _, calls, _ in found) * around / 1e3
    parents = [layer for layer in timers.spent if layer.startswith(("bookkeeping", "start", "send", "read", "several"))]
    inside = sum(cost for cost, _, layer in found if layer in parents)
    found = [
        (cost - (nested * cost / inside if layer in parents else 0.0), calls, layer) for cost, calls, layer in found
    ]
    total = statistics.median(costs)
    found.append((total - sum(cost for cost, _, _ in found), 0.0, REST))
    lines = ["| layer | µs | share | calls |", "|---|---:|---:|---:|"]
    for cost, calls, layer in sorted(found, reverse=True):
        shown = f"{calls:.2f}" if calls else "–"
        lines.append(f"| {layer} | {cost:,.2f} | {100 * cost / total:.0f} % | {shown} |")
    lines.append(f"| **all, median of {len(costs)} slices** (least {min(costs):,.1f}) | {total:,.2f} | 100 % | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--op", default="put", choices=("get", "put"))
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    if len(CORES) > 1:
        os.sched_setaffinity(0, CORES[1:])
    timers = Timers(time.perf_counter_ns if args.size < 64 * 1024 else time.thread_time_ns)
    with null_s3(size=args.size) as port:
        costs = uvloop.run(run(args, port, None))
        instrument(timers)
        uvloop.run(run(args, port, timers))
    print(f"{args.op.upper()} of {args.size:,d} bytes, {args.connections} connections\n\n{table(timers, costs)}")


if __name__ == "__main__":
    main()
