"""The reference engine: aioboto3 behind the same contract. For cross-checks; it costs some seventy times the CPU.

`t0` is taken before botocore builds and signs the request, so its latencies include that work. aiohttp, below botocore,
sends a GET again by itself where the connection ended before an answer; the wire engine reports that instead.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from time import monotonic_ns
from typing import Any

from sai3tui.config.ops import Op
from sai3tui.config.storage_options import Checksum
from sai3tui.errors import ErrorContext, Failure, failure_of
from sai3tui.storage.bodies import take_piece
from sai3tui.storage.botos import BOTO_ERRORS, boto_client, boto_failure
from sai3tui.storage.engine import OK, PIECE_BYTES, Connection, Endpoint, EngineOptions, OnDone, Request, Sink
from sai3tui.storage.failures import (
    cancelled_failure,
    context_of,
    lost_failure,
    placed,
    storage_error,
    timeout_failure,
    unsupported_failure,
)
from sai3tui.storage.lanes import deal
from sai3tui.tasks import defect_of


class BodyReader(io.RawIOBase):
    """A request's body as the seekable file that botocore wants, made piece by piece."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._at = 0
        self._piece = memoryview(b"")
        self._piece_at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._request.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._request.size:
            return 0
        within = self._at - self._piece_at
        if not 0 <= within < len(self._piece):
            self._piece_at = self._at // PIECE_BYTES * PIECE_BYTES
            self._piece = take_piece(self._request, self._piece_at)
            within = self._at - self._piece_at
        part = self._piece[within : within + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)


class BotoConnection:
    """See `engine.Connection`. Every operation is a task, which the connection owns."""

    __slots__ = ("_engine", "_t0", "_t_first", "_task", "endpoint", "failure", "place", "request")

    def __init__(self, engine: BotoEngine, endpoint: int, place: Endpoint) -> None:
        self.endpoint = endpoint
        self.place = place
        self.request: Request | None = None
        self.failure: Failure | None = None
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        self._t0 = self._t_first = 0

    def issue(self, request: Request) -> None:
        if self._task is not None:
            raise RuntimeError("an operation is in flight on this connection")
        if self._engine.closed:
            raise RuntimeError("the engine is closed")
        self.request = request
        self.failure = None
        self._t0 = monotonic_ns()
        self._t_first = 0
        self._task = self._engine.own(self._run(request))

    def cancel(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        self._end(cancelled_failure(self._context()), 0)

    async def _run(self, request: Request) -> None:
        engine = self._engine
        failure: Failure | None = None
        moved = 0
        try:
            async with asyncio.timeout(engine.options.op_timeout):
                moved = await self._operate(engine.clients[self.endpoint], request)
        except TimeoutError as error:
            limit = engine.options.op_timeout
            failure = boto_failure(error, self._context())
            if not str(error):
                failure = timeout_failure(self._context(), f"took longer than {limit:g} s", "op")
        except BOTO_ERRORS as error:
            failure = boto_failure(error, self._context())
        except _CutShortError as error:
            failure = lost_failure(self._context(), str(error), "truncated")
        except Exception as error:
            # The body is the caller's code: what it raises ends this operation only.
            failure = placed(failure_of(error), self._context())
        if self._task is asyncio.current_task():
            self._task = None
            self._end(failure, moved)

    async def _operate(self, client: Any, request: Request) -> int:
        place = self.place
        where = {"Bucket": place.bucket, "Key": place.prefix + request.key}
        match request.op:
            case _ if request.call is not None:
                raise storage_error(unsupported_failure(self._context(), "calls are for the wire engine"))
            case Op.GET:
                if request.length >= 0:
                    where["Range"] = f"bytes={request.offset}-{request.offset + request.length - 1}"
                return await self._get(client, where, request.sink)
            case Op.PUT:
                body: Any = BodyReader(request) if request.size else b""
                checksum = self._engine.options.s3.checksum
                if checksum is not Checksum.NONE:
                    where["ChecksumAlgorithm"] = checksum.name
                await client.put_object(**where, Body=body, ContentLength=request.size)
                moved = request.size
            case Op.STAT:
                await client.head_object(**where)
                moved = 0
            case Op.DELETE:
                await client.delete_object(**where)
                moved = 0
            case Op.LIST:
                await client.list_objects_v2(Bucket=place.bucket, Prefix=where["Key"], MaxKeys=request.limit)
                moved = 0
            case _:
                raise storage_error(unsupported_failure(self._context(), "object storage has no directories"))
        self._t_first = monotonic_ns()
        return moved

    async def _get(self, client: Any, where: Mapping[str, str], reader: Sink | None) -> int:
        if reader is not None:
            reader.begin()
        answer = await client.get_object(**where)
        self._t_first = monotonic_ns()
        moved = 0
        stream = answer["Body"]
        async with stream:
            while chunk := await stream.read(PIECE_BYTES):
                if reader is not None:
                    reader.take(moved, memoryview(chunk))
                moved += len(chunk)
        expected = answer.get("ContentLength")
        if expected is not None and moved != expected:
            raise _CutShortError(f"brought {moved} of {expected} bytes")
        if reader is not None:
            reader.end(moved)
        return moved

    def _end(self, failure: Failure | None, moved: int) -> None:
        self.failure = failure
        status = OK if failure is None else 1 + failure.kind
        moved = moved if failure is None else 0
        self._engine.on_done(self, status, moved, self._t0, self._t_first, monotonic_ns())

    def _context(self) -> ErrorContext:
        return context_of(self.place, self.request or Request())


class BotoEngine:
    """See `engine.Engine`. One client an endpoint, with as many sockets as it has connections."""

    def __init__(self, options: EngineOptions, environ: Mapping[str, str]) -> None:
        self.options = options
        self.closed = False
        self.on_done: OnDone = _nobody
        self.clients: list[Any] = []
        self._environ = environ
        self._connections: list[BotoConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    async def open(self, endpoints: Sequence[Endpoint], connections: Sequence[int], on_done: OnDone) -> None:
        self.on_done = on_done
        for endpoint, count in zip(endpoints, connections, strict=True):
            manager = boto_client(
                endpoint,
                self._environ,
                connect_timeout=self.options.connect_timeout,
                read_timeout=self.options.op_timeout,
                connections=count,
                region=self.options.region,
                options=self.options.s3,
            )
            self.clients.append(await self._stack.enter_async_context(manager))
        self._connections = [BotoConnection(self, e, endpoints[e]) for e in deal(connections)]

    @property
    def connections(self) -> Sequence[Connection]:
        return self._connections

    def own(self, operation: Any) -> asyncio.Task[None]:
        """Run `operation` as a task that `close` waits for."""
        task: asyncio.Task[None] = self.options.loop.create_task(operation)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(defect_of)
        return task

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()


class _CutShortError(Exception):
    """Fewer bytes than the answer's head promised."""


def _nobody(connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
    """Nobody listens before `open`."""
