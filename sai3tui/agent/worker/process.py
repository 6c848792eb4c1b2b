"""A worker process: moves bytes and nothing else. Started by `agent.pool` as `python -m` of this module.

It ends when its control channel ends, or when its parent dies in whatever way: no writer is ever left behind.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import mmap
import os
import signal
import socket
import sys
import time
import traceback
from typing import Any

import uvloop

from sai3tui.agent.controller_clock import ClockReading
from sai3tui.agent.lease import LeasedJob, MixJob
from sai3tui.agent.worker.answers import AnswerWatch
from sai3tui.agent.worker.channel import Channel
from sai3tui.agent.worker.driver import Driver, WorkerContext
from sai3tui.agent.worker.fresh import FreshMixDriver
from sai3tui.agent.worker.lane import Lane
from sai3tui.agent.worker.leased import LeasedDriver
from sai3tui.agent.worker.messages import (
    Broken,
    EndMix,
    Granted,
    MoreWork,
    Open,
    Pause,
    Ready,
    RestEndpoint,
    StartStage,
    StopStage,
)
from sai3tui.agent.worker.mix import MixDriver
from sai3tui.agent.worker.oplog import WorkerOplog
from sai3tui.agent.worker.probe import LagProbe
from sai3tui.errors import Failure, Sai3Error, failure_of
from sai3tui.metrics.recorder import Recorder
from sai3tui.metrics.shared import SharedWriter, mapping_bytes
from sai3tui.storage.engine import Connection, Engine, EngineOptions
from sai3tui.storage.open import make_engine

FLUSH_S = 0.25
CLOSE_S = 2.0
_PR_SET_PDEATHSIG = 1


class Worker:
    """Everything in one worker process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, memory_fd: int) -> None:
        self._loop = loop
        self._memory_fd = memory_fd
        self._channel = Channel(self._on_message, self._on_closed)
        self._ended = asyncio.Event()
        self._opened: asyncio.Future[Open] = loop.create_future()
        self._engine: Engine | None = None
        self._recorder: Recorder | None = None
        self._writer: SharedWriter | None = None
        self._context: WorkerContext | None = None
        self._driver: Driver | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._probe: LagProbe | None = None
        self._answers: AnswerWatch | None = None
        self._oplog: WorkerOplog | None = None

    async def run(self, control: socket.socket) -> None:
        """Serve until the control channel ends or something breaks."""
        self._loop.set_exception_handler(self._on_broken_callback)
        await self._loop.create_unix_connection(lambda: self._channel, sock=control)
        try:
            await self._open(await self._opened)
            await self._ended.wait()
        except Exception as error:
            if not isinstance(error, Sai3Error):
                traceback.print_exc()
            self._break(error)
            async with asyncio.timeout(CLOSE_S):
                await self._ended.wait()
        finally:
            self._driver = None
            if self._probe is not None:
                self._probe.close()
            if self._answers is not None:
                self._answers.close()
            if self._engine is not None:
                async with asyncio.timeout(CLOSE_S):
                    await self._engine.close()
            if self._oplog is not None:
                self._oplog.close()

    async def _open(self, message: Open) -> None:
        setup = message.setup
        endpoints = len(setup.endpoints)
        memory = mmap.mmap(self._memory_fd, mapping_bytes(endpoints))
        os.close(self._memory_fd)
        self._writer = SharedWriter(memory, endpoints)
        self._recorder = Recorder(self._writer)
        options = EngineOptions(
            self._loop,
            setup.connect_timeout,
            setup.op_timeout,
            setup.region,
            setup.null_delay,
            setup.s3,
            setup.files,
            self._on_resent,
        )
        engine = make_engine(setup.endpoints[0].scheme, setup.engine, options, {**os.environ, **setup.forwarded})
        if setup.oplog is not None:
            agent_ns, mono_ns = setup.clock.both_ns()
            clock = ClockReading(mono_ns, agent_ns + setup.clock_offset_ns)
            self._oplog = WorkerOplog(setup.oplog, message.number, setup.agent, setup.endpoints, clock)
        on_done = self._on_done if self._oplog is None else self._on_done_logged
        await engine.open(setup.endpoints, message.connections, on_done)
        self._engine = engine
        self._context = WorkerContext(
            self._loop,
            [Lane(number, connection) for number, connection in enumerate(engine.connections)],
            self._recorder,
            self._channel.send,
            message.number,
            message.first_connection,
            sum(setup.connections),
            setup.engine == "null",
            message.workers,
            clock=setup.clock,
        )
        # What exists now lives as long as the process: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        self._ticker = self._loop.call_later(FLUSH_S, self._tick)
        self._answers = AnswerWatch(self._loop, engine.connections, self._recorder.lag)
        self._probe = LagProbe(self._loop, self._recorder.lag, self._answers.turn)
        self._channel.send(Ready())

    def _on_done(self, connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
        """Operations that end after their stage has been given up have no driver, and count for nothing."""
        if self._driver is not None:
            self._driver.on_done(connection, status, size, t0, t_first, t_last)

    def _on_done_logged(
        self, connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int
    ) -> None:
        """Likewise with an op-log. The row is made first: the driver issues the next request with the same object."""
        request = connection.request
        if self._oplog is not None and request is not None:
            self._oplog.add(request, connection.endpoint, size, connection.failure, t0, t_first, t_last)
        self._on_done(connection, status, size, t0, t_first, t_last)

    def _on_resent(self, connection: Connection, failure: Failure, t0: int) -> None:
        if self._driver is not None:
            self._driver.on_resent(connection, failure, t0)

    def _on_message(self, message: object) -> None:
        driver = self._driver
        match message:
            case Open():
                self._opened.set_result(message)
            case StartStage():
                self._start(message)
            case ClockReading() if self._oplog is not None:
                self._oplog.hear(message)
            case Granted() if driver is not None and message.stage == driver.stage:
                driver.granted(message)
            case MoreWork() if driver is not None and message.stage == driver.stage:
                driver.more_work(message)
            case Pause() if driver is not None and message.stage == driver.stage:
                driver.pause(message.until_ns)
            case EndMix() if isinstance(driver, MixDriver) and message.stage == driver.stage:
                driver.over()
            case RestEndpoint() if driver is not None and message.stage == driver.stage:
                driver.rest_endpoint(message.endpoint, message.until_ns)
            case StopStage() if driver is not None and message.stage == driver.stage:
                driver.stop(message.grace)
            case _:
                # Of a stage that is over.
                pass

    def _start(self, message: StartStage) -> None:
        assert self._context is not None
        assert self._recorder is not None
        if self._driver is not None:
            self._driver.close()
        self._recorder.start_stage(message.stage)
        match message.job:
            case LeasedJob() as job:
                self._driver = leased_driver_class(job)(message, self._context, job)
            case MixJob() as job:
                self._driver = driver_class(job)(message, self._context, job)
        self._driver.begin()

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(FLUSH_S, self._tick)
        assert self._writer is not None
        assert self._recorder is not None
        self._recorder.flush()
        self._writer.cpu(time.thread_time_ns(), time.monotonic_ns())
        self._writer.beat()
        if self._oplog is not None:
            self._oplog.tick()
        if self._driver is not None:
            self._driver.tick()

    def _on_closed(self) -> None:
        self._ended.set()
        if not self._opened.done():
            self._opened.cancel()

    def _on_broken_callback(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception in a callback is a defect: tell it and end, do not go on with half a state."""
        error = context.get("exception")
        if isinstance(error, BaseException):
            loop.default_exception_handler(context)
            self._break(error)

    def _break(self, error: BaseException) -> None:
        """Say why this worker ends, and end."""
        self._driver = None
        if self._channel.closed:
            self._on_closed()
            return
        self._channel.send(Broken(failure_of(error)))
        self._channel.close()


def driver_class(job: MixJob) -> type[MixDriver]:
    """The least driver that does what a mix needs."""
    fresh = any(op.fresh for op in job.ops)
    if not job.stepped:
        return FreshMixDriver if fresh else MixDriver
    # Only here: most workers never load what parts and batches need.
    from sai3tui.agent.worker.stepped import SteppedFreshMixDriver, SteppedMixDriver

    return SteppedFreshMixDriver if fresh else SteppedMixDriver


def leased_driver_class(job: LeasedJob) -> type[LeasedDriver]:
    """The least driver that does what leases need."""
    if not job.part_size:
        return LeasedDriver
    from sai3tui.agent.worker.parted import PartedDriver

    return PartedDriver


def tie_to_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; end at once if that has happened already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


async def _serve(control: socket.socket, memory_fd: int) -> None:
    await Worker(asyncio.get_running_loop(), memory_fd).run(control)


def main(arguments: list[str]) -> int:
    """`arguments`: process id of the parent, descriptors of the control socket and of the shared memory."""
    parent, control_fd, memory_fd = map(int, arguments)
    tie_to_parent(parent)
    # Ctrl-C and a terminal that goes away reach the whole process group; what they mean is for the parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    control.setblocking(False)
    code = 0
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(control, memory_fd))
    except (asyncio.CancelledError, TimeoutError):
        code = 1
    sys.stderr.flush()
    # A thread of the file engine may hang in a system call; that must not keep the process.
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
