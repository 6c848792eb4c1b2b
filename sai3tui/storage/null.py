"""The engine without storage: proves the callback contract and measures the load generator itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic_ns

from sai3tui.config.ops import Op
from sai3tui.errors import Failure
from sai3tui.storage.engine import OK, PIECE_BYTES, Connection, Endpoint, EngineOptions, OnDone, Request
from sai3tui.storage.failures import cancelled_failure, context_of
from sai3tui.storage.lanes import deal


class NullConnection:
    """Completes every operation after the engine's delay. A PUT asks for all pieces of its body and drops them;
    a GET moves `request.size` bytes."""

    __slots__ = ("_engine", "_handle", "_t0", "endpoint", "failure", "request")

    def __init__(self, engine: NullEngine, endpoint: int) -> None:
        self._engine = engine
        self.endpoint = endpoint
        self.request: Request | None = None
        self.failure: Failure | None = None
        self._handle: asyncio.Handle | None = None
        self._t0 = 0

    def issue(self, request: Request) -> None:
        if self._handle is not None:
            raise RuntimeError("an operation is in flight on this connection")
        engine = self._engine
        if engine.closed:
            raise RuntimeError("the engine is closed")
        self.request = request
        self.failure = None
        body = request.body
        if request.op is Op.PUT and body is not None:
            for offset in range(0, request.size, PIECE_BYTES):
                body.piece(offset, min(PIECE_BYTES, request.size - offset))
        self._t0 = monotonic_ns()
        loop = engine.options.loop
        delay = engine.options.null_delay
        self._handle = loop.call_later(delay, self._complete) if delay > 0 else loop.call_soon(self._complete)

    def cancel(self) -> None:
        request = self.request
        if self._handle is None or request is None:
            return
        self._handle.cancel()
        self._handle = None
        endpoint = self._engine.endpoints[self.endpoint]
        self.failure = failure = cancelled_failure(context_of(endpoint, request))
        self._engine.on_done(self, 1 + failure.kind, 0, self._t0, 0, monotonic_ns())

    def _complete(self) -> None:
        self._handle = None
        request = self.request
        assert request is not None
        now = monotonic_ns()
        self._engine.on_done(self, OK, request.size if request.op <= Op.PUT else 0, self._t0, now, now)


class NullEngine:
    """See `engine.Engine`."""

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.endpoints: tuple[Endpoint, ...] = ()
        self.closed = False
        self.on_done: OnDone = _nobody
        self._connections: list[NullConnection] = []

    async def open(self, endpoints: Sequence[Endpoint], connections: Sequence[int], on_done: OnDone) -> None:
        self.endpoints = tuple(endpoints)
        self.on_done = on_done
        self._connections = [NullConnection(self, endpoint) for endpoint in deal(connections)]

    @property
    def connections(self) -> Sequence[Connection]:
        return self._connections

    async def close(self) -> None:
        self.closed = True
        for connection in self._connections:
            connection.cancel()


def _nobody(connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
    """Nobody listens before `open`."""
