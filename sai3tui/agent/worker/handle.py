"""One worker process as the agent's main process sees it."""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import accumulate

from sai3tui.agent.worker.channel import Channel
from sai3tui.agent.worker.messages import Broken, Open, Ready, WorkerSetup
from sai3tui.errors import ErrorKind, Failure, ResourceError
from sai3tui.metrics.shared import Copy, SharedReader, mapping_bytes

_ERROR_TAIL_BYTES = 2000
REAP_S = 3.0
"""So long may a process take to end after its channel has."""


class WorkerHandle:
    """A worker from its start to its end. Start it from a thread that lives as long as the pool: the kernel kills the
    worker when the thread that started it ends."""

    def __init__(
        self,
        number: int,
        on_message: Callable[[WorkerHandle, object], None],
        on_closed: Callable[[WorkerHandle], None],
    ) -> None:
        self.number = number
        self.leases: dict[int, int] = {}
        """Leases that it has, and how many of their indices are not settled."""
        self.idle = True
        self.calls = 0
        """How often it was told that there is more work, in this stage."""
        self.gone = False
        """Its channel has ended: it does nothing any more, or will be killed."""
        self.broken: Failure | None = None
        self._on_message = on_message
        self._on_closed = on_closed
        self._channel = Channel(self._message, self._closed)
        self._ready: asyncio.Future[bool] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: SharedReader | None = None
        self._errors_fd = -1

    async def start(self, message: Open) -> bool:
        """Start the process and wait until its engine is open (the caller bounds that); False if it ends instead.

        Raises ResourceError if the process cannot be started.
        """
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        size = mapping_bytes(len(message.setup.endpoints))
        ours, theirs = socket.socketpair()
        memory_fd = -1
        try:
            memory_fd = os.memfd_create("sai3tui-worker")
            os.ftruncate(memory_fd, size)
            self._reader = SharedReader(mmap.mmap(memory_fd, size), len(message.setup.endpoints))
            self._errors_fd = os.memfd_create("sai3tui-worker-errors")
            self._process = self._spawn(theirs, memory_fd)
            ours.setblocking(False)
            await loop.create_unix_connection(lambda: self._channel, sock=ours)
        except OSError as error:
            ours.close()
            raise ResourceError(
                "cannot start a worker process", hint="check free memory, processes and descriptors"
            ) from error
        finally:
            theirs.close()
            if memory_fd >= 0:
                os.close(memory_fd)
        self._channel.send(message)
        return await self._ready

    def _spawn(self, control: socket.socket, memory_fd: int) -> subprocess.Popen[bytes]:
        environ = dict(os.environ)
        # It imports from where we do, not from whatever directory we happen to be in.
        environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        # Workers only add small arrays; a pool of BLAS threads each would be memory for nothing.
        environ["OPENBLAS_NUM_THREADS"] = environ["OMP_NUM_THREADS"] = "1"
        arguments = [str(os.getpid()), str(control.fileno()), str(memory_fd)]
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sai3tui.agent.worker.process", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._errors_fd,
            stderr=self._errors_fd,
            pass_fds=(control.fileno(), memory_fd),
            env=environ,
        )

    def _message(self, message: object) -> None:
        match message:
            case Ready():
                if self._ready is not None and not self._ready.done():
                    self._ready.set_result(True)
            case Broken(failure):
                self.broken = failure
            case _:
                self._on_message(self, message)

    def _closed(self) -> None:
        self.gone = True
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(False)
        self._on_closed(self)

    @property
    def opened(self) -> bool:
        """Whether it was there and its engine open, be it gone or not."""
        ready = self._ready
        return ready is not None and ready.done() and not ready.cancelled() and ready.result()

    @property
    def pid(self) -> int:
        """0 if it was never started."""
        return self._process.pid if self._process is not None else 0

    def send(self, message: object) -> None:
        self._channel.send(message)

    def read(self) -> Copy | None:
        """Its figures; None if it has none."""
        return self._reader.read(settled=self.gone) if self._reader is not None else None

    @property
    def beats(self) -> int:
        return self._reader.beats if self._reader is not None else 0

    def kill(self) -> None:
        """End it at once. Idempotent; `reap` is needed all the same."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    def hang_up(self) -> None:
        """Close its channel, upon which it ends by itself."""
        self._channel.close()

    async def reap(self, grace_s: float = REAP_S) -> None:
        """Wait until the process is gone, after `grace_s` seconds by force. Idempotent.

        A process that the kernel does not let go of (it hangs in a file system) is given up after as long again.
        """
        process = self._process
        if process is None:
            return
        loop = asyncio.get_running_loop()
        killed, given_up = loop.time() + grace_s, loop.time() + 2 * grace_s
        while process.poll() is None and loop.time() < given_up:
            if loop.time() >= killed:
                process.kill()
            await asyncio.sleep(0.005)
        self._channel.abort()

    def death(self) -> Failure:
        """Why it is gone, after `reap`."""
        if self.broken is not None:
            return self.broken
        code = self._process.returncode if self._process is not None else None
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            hint = "if the kernel ran out of memory, lower concurrency" if code == -signal.SIGKILL else ""
        else:
            how, hint = f"ended with code {code}", ""
        causes = (self._errors(),) if self._errors() else ()
        return Failure(ErrorKind.RESOURCE, f"worker process {self.pid} {how}", causes, hint=hint)

    def _errors(self) -> str:
        """The last line that it wrote to its standard error."""
        if self._errors_fd < 0:
            return ""
        size = os.fstat(self._errors_fd).st_size
        text = os.pread(self._errors_fd, _ERROR_TAIL_BYTES, max(0, size - _ERROR_TAIL_BYTES)).decode(errors="replace")
        lines = text.strip().splitlines()
        return lines[-1] if lines else ""

    def release(self) -> None:
        """Give its memory and descriptors back, after `reap`. Idempotent."""
        self._reader = None
        if self._errors_fd >= 0:
            os.close(self._errors_fd)
            self._errors_fd = -1


def stage_lanes(opens: Sequence[Open], wanted: Sequence[int]) -> list[tuple[int, ...]]:
    """Which of the connections of each worker take part in a stage with `wanted[e]` connections to endpoint e: as
    evenly as the workers' own allow. Raises ValueError where they have not so many."""
    left = [list(each.connections) for each in opens]
    dealt = [[0] * len(wanted) for _ in opens]
    turn = 0
    for endpoint, count in enumerate(wanted):
        if count > sum(each[endpoint] for each in left):
            raise ValueError(f"there are no {count} connections to endpoint {endpoint}")
        for _ in range(count):
            while not left[turn % len(left)][endpoint]:
                turn += 1
            left[turn % len(left)][endpoint] -= 1
            dealt[turn % len(left)][endpoint] += 1
            turn += 1
    return [tuple(each) for each in dealt]


def shares(setup: WorkerSetup, workers: int) -> list[Open]:
    """Deal the connections to every endpoint over at most `workers` workers, evenly both ways; none is left without.

    Raises ValueError if there is no connection at all.
    """
    total = sum(setup.connections)
    if total < 1 or len(setup.connections) != len(setup.endpoints):
        raise ValueError("there must be a connection, and a number of them for each endpoint")
    count = max(1, min(workers, total))
    dealt = [[0] * len(setup.connections) for _ in range(count)]
    turn = 0
    for endpoint, connections in enumerate(setup.connections):
        for _ in range(connections):
            dealt[turn % count][endpoint] += 1
            turn += 1
    firsts = [0, *accumulate(sum(part) for part in dealt)]
    return [Open(setup, number, tuple(part), firsts[number], count) for number, part in enumerate(dealt)]
