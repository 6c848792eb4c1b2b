"""Driving any storage engine in tests: one call an operation, every wait bounded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop

from sai3tui.config.ops import Op
from sai3tui.config.storage_options import FileOptions, S3Options
from sai3tui.errors import ErrorKind, Failure
from sai3tui.storage.engine import OK, PIECE_BYTES, Connection, Endpoint, Engine, EngineOptions, Request
from sai3tui.storage.open import make_engine
from tests.fault_server import CREDENTIALS, FaultServer, Step

T = TypeVar("T")
WAIT_S = 15.0

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def run_on(loop: str, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on a loop of the named kind."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(work)


class Bytes:
    """A body of given bytes. Counts the pieces it was asked for and refuses pieces that are too long."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.size = len(data)
        self.pieces = 0

    def piece(self, offset: int, length: int) -> memoryview:
        assert 0 < length <= PIECE_BYTES
        self.pieces += 1
        return self.data[offset : offset + length]


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


class Collected:
    """A sink that keeps what it is shown, and notices what is shown in disorder."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = -1

    def begin(self) -> None:
        self.data.clear()
        self.ended = -1

    def take(self, offset: int, data: memoryview) -> None:
        assert offset == len(self.data)
        assert self.ended == -1
        self.data += data

    def end(self, size: int) -> None:
        assert size == len(self.data)
        self.ended = size


def put(key: str, data: bytes) -> Request:
    return Request(op=Op.PUT, key=key, size=len(data), body=Bytes(data) if data else None)


@dataclass(frozen=True)
class Outcome:
    """What `on_done` and the connection said about one operation."""

    status: int
    moved: int
    t0: int
    t_first: int
    t_last: int
    failure: Failure | None

    @property
    def ok(self) -> bool:
        return self.status == OK and self.failure is None

    @property
    def kind(self) -> ErrorKind | None:
        return None if self.failure is None else self.failure.kind

    @property
    def subclass(self) -> str:
        return "" if self.failure is None else self.failure.context.subclass


class Harness:
    """An open engine. `await harness(request)` runs it on the first connection."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.outcomes: list[Outcome] = []
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._inside_issue = False

    @classmethod
    async def open(
        cls,
        endpoints: Sequence[Endpoint],
        environ: Mapping[str, str],
        *,
        name: str = "wire",
        connections: Sequence[int] = (1,),
        op_timeout: float = 30.0,
        connect_timeout: float = 5.0,
        s3: S3Options | None = None,
        files: FileOptions | None = None,
    ) -> Harness:
        options = EngineOptions(
            asyncio.get_running_loop(),
            connect_timeout=connect_timeout,
            op_timeout=op_timeout,
            s3=s3 or S3Options(),
            files=files or FileOptions(),
        )
        harness = cls(make_engine(endpoints[0].scheme, name, options, environ))
        await harness.engine.open(endpoints, connections, harness.on_done)
        return harness

    def on_done(self, connection: Connection, status: int, moved: int, t0: int, t_first: int, t_last: int) -> None:
        assert not self._inside_issue, "on_done was called before issue() returned"
        assert (status == OK) == (connection.failure is None)
        assert connection.failure is None or status == 1 + connection.failure.kind
        outcome = Outcome(status, moved, t0, t_first, t_last, connection.failure)
        self.outcomes.append(outcome)
        waiting = self._waiting.pop(id(connection), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(outcome)

    def start(self, request: Request, connection: int = 0) -> asyncio.Future[Outcome]:
        """Issue `request`; the future is done when the engine says so."""
        slot = self.engine.connections[connection]
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._inside_issue = True
        try:
            slot.issue(request)
        finally:
            self._inside_issue = False
        self._waiting[id(slot)] = future
        return future

    async def __call__(self, request: Request, connection: int = 0) -> Outcome:
        return await asyncio.wait_for(self.start(request, connection), WAIT_S)

    async def __aenter__(self) -> Harness:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self.engine.close(), WAIT_S)


@asynccontextmanager
async def against(
    steps: Sequence[Step], name: str = "wire", **options: Any
) -> AsyncIterator[tuple[Harness, FaultServer]]:
    """An engine open to a fault server that follows `steps`."""
    async with (
        FaultServer(steps) as server,
        await Harness.open([server.endpoint], CREDENTIALS, name=name, **options) as harness,
    ):
        yield harness, server
