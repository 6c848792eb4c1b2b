"""The engine for `file://`: a bounded set of I/O threads, one operation of a connection at a time in one of them.

Threads are daemons of our own and not an executor's: a server of network files that hangs must not keep the process
from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from time import monotonic_ns

from sai3tui.errors import ConfigError, ErrorContext, Failure, failure_of
from sai3tui.storage.engine import OK, Connection, Endpoint, EngineOptions, OnDone, Request
from sai3tui.storage.failures import cancelled_failure, context_of, file_failure, placed, timeout_failure
from sai3tui.storage.fileops import FileWork, StoppedError
from sai3tui.storage.lanes import deal

MAX_THREADS = 256
CLOSE_WAIT_S = 2.0
"""How long `close` waits for threads that are inside the kernel."""


class _Ticket:
    """One operation on its way through a thread and back. `stop` is set from the loop, all else by the thread."""

    __slots__ = ("connection", "failure", "moved", "request", "stop", "t0", "t_first", "t_last")

    def __init__(self, connection: FileConnection, request: Request) -> None:
        self.connection = connection
        self.request = request
        self.stop = False
        self.failure: Failure | None = None
        self.moved = 0
        self.t0 = self.t_first = self.t_last = 0

    def stopped(self) -> bool:
        return self.stop

    def run(self, work: FileWork, place: Endpoint) -> None:
        request = self.request
        if self.stop:
            return
        try:
            self.moved = work.run(place.prefix, request, self.stopped, direct=is_direct(place))
        except StoppedError:
            self.failure = cancelled_failure(context_of(place, request))
        except OSError as error:
            self.failure = file_failure(error, context_of(place, request))
        except Exception as error:
            # A key that leads out, or whatever the caller's body raises: this operation's failure, not the thread's.
            self.failure = placed(failure_of(error), context_of(place, request))
        self.t0, self.t_first, self.t_last = work.t0, work.t_first, monotonic_ns()


class FileConnection:
    """See `engine.Connection`."""

    __slots__ = ("_engine", "_issued", "_ticket", "_waiting", "endpoint", "failure", "place", "request")

    def __init__(self, engine: FileEngine, endpoint: int, place: Endpoint) -> None:
        self.endpoint = endpoint
        self.place = place
        self.request: Request | None = None
        self.failure: Failure | None = None
        self._engine = engine
        self._issued = 0
        self._ticket: _Ticket | None = None
        """The operation in flight."""
        self._waiting: _Ticket | None = None
        """A cancelled operation that a thread may still be working on: its body must not be touched meanwhile."""

    def issue(self, request: Request) -> None:
        if self._ticket is not None:
            raise RuntimeError("an operation is in flight on this connection")
        if self._engine.closed:
            raise RuntimeError("the engine is closed")
        self.request = request
        self.failure = None
        self._issued = monotonic_ns()
        self._ticket = ticket = _Ticket(self, request)
        if self._waiting is None:
            self._engine.submit(ticket)

    def cancel(self) -> None:
        if self._ticket is not None:
            self._end(cancelled_failure(self._context()))

    def check_time(self, now: int, limit_ns: int, limit_s: float) -> None:
        """End the operation in flight if it was issued more than `limit_ns` before `now`."""
        if self._ticket is not None and now - self._issued > limit_ns:
            hint = "the file system does not answer in time: is its server reachable?"
            self._end(timeout_failure(self._context(), f"took longer than {limit_s:g} s", "op", hint=hint))

    def returned(self, ticket: _Ticket) -> None:
        """`ticket` came back from its thread."""
        if ticket is self._waiting:
            self._waiting = None
            if self._ticket is not None:
                self._engine.submit(self._ticket)
            return
        if ticket is not self._ticket:
            return
        self._ticket = None
        self.failure = failure = ticket.failure
        status = OK if failure is None else 1 + failure.kind
        self._engine.on_done(self, status, ticket.moved, ticket.t0, ticket.t_first, ticket.t_last)

    def _end(self, failure: Failure) -> None:
        ticket, self._ticket = self._ticket, None
        assert ticket is not None
        ticket.stop = True
        if self._waiting is None:
            self._waiting = ticket
        self.failure = failure
        self._engine.on_done(self, 1 + failure.kind, 0, self._issued, 0, monotonic_ns())

    def _context(self) -> ErrorContext:
        return context_of(self.place, self.request or Request())


class FileEngine:
    """See `engine.Engine`."""

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.closed = False
        self.on_done: OnDone = _nobody
        self._connections: list[FileConnection] = []
        self._threads: list[threading.Thread] = []
        self._queue: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._back: deque[_Ticket] = deque()
        self._woken = False
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._limit_ns = int(options.op_timeout * 1e9)
        self._sweep_every = min(1.0, max(0.05, options.op_timeout / 4))

    async def open(self, endpoints: Sequence[Endpoint], connections: Sequence[int], on_done: OnDone) -> None:
        """Starts as many I/O threads as there are connections, 256 at most. Directories are made when needed."""
        for endpoint in endpoints:
            if not (endpoint.prefix.startswith("/") and endpoint.prefix.endswith("/")):
                raise ConfigError(f"{endpoint.uri!r} is not an absolute directory")
        self.on_done = on_done
        self._connections = [FileConnection(self, e, endpoints[e]) for e in deal(connections)]
        for number in range(min(len(self._connections), MAX_THREADS)):
            thread = threading.Thread(target=self._work, name=f"file-io-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._sweep_timer = self.options.loop.call_later(self._sweep_every, self._sweep)

    @property
    def connections(self) -> Sequence[Connection]:
        return self._connections

    def submit(self, ticket: _Ticket) -> None:
        self._queue.put(ticket)

    async def close(self) -> None:
        """Threads inside the kernel get 2 s to come back and are left behind then."""
        if self.closed:
            return
        self.closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for connection in self._connections:
            connection.cancel()
        for _ in self._threads:
            self._queue.put(None)
        deadline = monotonic_ns() + int(CLOSE_WAIT_S * 1e9)
        await asyncio.to_thread(_join, self._threads, deadline)

    def _work(self) -> None:
        work = FileWork(self.options.files)
        queue, back = self._queue, self._back
        call = self.options.loop.call_soon_threadsafe
        while (ticket := queue.get()) is not None:
            ticket.run(work, ticket.connection.place)
            back.append(ticket)
            # One wake-up serves all that came back before the loop gets to it. Two at once do no harm.
            if not self._woken:
                self._woken = True
                try:
                    call(self._deliver)
                except RuntimeError:
                    return  # the loop has ended; nobody waits for this any more

    def _deliver(self) -> None:
        # First this, then the queue: what is added later wakes the loop again.
        self._woken = False
        back = self._back
        for _ in range(len(back)):
            ticket = back.popleft()
            ticket.connection.returned(ticket)

    def _sweep(self) -> None:
        self._sweep_timer = self.options.loop.call_later(self._sweep_every, self._sweep)
        now = monotonic_ns()
        for connection in self._connections:
            connection.check_time(now, self._limit_ns, self.options.op_timeout)


def is_direct(place: Endpoint) -> bool:
    """Whether operations go past the page cache."""
    return place.uri.startswith("direct://")


def _join(threads: Sequence[threading.Thread], deadline: int) -> None:
    for thread in threads:
        thread.join(max(0.0, (deadline - monotonic_ns()) / 1e9))


def _nobody(connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
    """Nobody listens before `open`."""
