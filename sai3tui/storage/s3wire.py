"""The engine for `s3://`: HTTP/1.1 and SigV4 by hand, callbacks only. Why by hand: DESIGN decision 8.

A `WireConnection` is what the caller sees. It owns at most one `Link`, a socket with its state machine, and makes a new
one when an operation is issued and there is none. Timeouts are found by one sweep over all connections, which also
moves the signers on to the next second.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from time import monotonic_ns

from sai3tui.config.ops import Op
from sai3tui.config.storage_options import Addressing
from sai3tui.errors import ConfigError, ErrorContext, Failure, StorageError, failure_of
from sai3tui.storage.bodies import checked_piece
from sai3tui.storage.credentials import find_credentials, region_of
from sai3tui.storage.drain import CAN_DRAIN, Drain, Drains
from sai3tui.storage.engine import Body, CallAnswer, Connection, Endpoint, EngineOptions, OnDone, Request
from sai3tui.storage.failures import (
    cancelled_failure,
    context_of,
    lost_failure,
    os_failure,
    placed,
    storage_error,
    timeout_failure,
    unsupported_failure,
)
from sai3tui.storage.lanes import deal
from sai3tui.storage.s3link import Link
from sai3tui.storage.s3requests import METHOD, RequestMaker, put_head
from sai3tui.storage.sigv4 import RequestSigner
from sai3tui.storage.tls import ResumingContext, tls_context
from sai3tui.tasks import defect_of

RECEIVE_BYTES = 256 * 1024
"""Size of the one receive buffer: fits the second-level cache, measured best of 64 KiB to 4 MiB."""
STALE_NS = 1_000_000_000
"""A kept connection that was idle for this long and dies before an answer is replaced once, unseen."""
FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 1.0

_LAST_OBJECT_OP = Op.DELETE
"""Operations beyond this one are about directories."""


class WireConnection:
    """One connection to one endpoint. `place` is that endpoint; the rest is the contract of `engine.Connection`."""

    __slots__ = (
        "_engine",
        "_in_flight",
        "_last_done",
        "_link",
        "_on_done",
        "_refusals",
        "_t0",
        "_task",
        "_tls",
        "answer",
        "endpoint",
        "failure",
        "key_prefix",
        "loop",
        "maker",
        "place",
        "request",
        "signer",
    )

    def __init__(
        self,
        engine: WireEngine,
        endpoint: int,
        place: Endpoint,
        signer: RequestSigner,
        maker: RequestMaker,
        tls: ResumingContext | None,
    ) -> None:
        self.endpoint = endpoint
        self.answer: CallAnswer | None = None
        """What the last operation with a `Call` brought."""
        self.maker = maker
        self._tls = tls
        self.request: Request | None = None
        self.failure: Failure | None = None
        self.place = place
        self.key_prefix = place.prefix
        self.signer = signer
        self.loop = engine.options.loop
        self._engine = engine
        self._on_done = engine.on_done
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._in_flight = False
        self._t0 = 0
        self._last_done = 0
        self._refusals = 0

    # The contract

    def issue(self, request: Request) -> None:
        if self._in_flight:
            raise RuntimeError("an operation is in flight on this connection")
        self._in_flight = True
        self.request = request
        self.failure = None
        link = self._link
        if link is None or request.op > _LAST_OBJECT_OP:
            self._start_otherwise(request)
            return
        try:
            self._t0 = link.start(request)
        except Exception as error:
            # Raised by the body, which is the caller's; anything else here is a defect and must not be lost either.
            self._start_failed(link, error)

    def cancel(self) -> None:
        """See the contract; `on_done` is called before this returns."""
        if self._in_flight:
            self.end_with(cancelled_failure(self._context()))

    async def run(self, request: Request) -> int:
        """Do `request` and wait for it: for rare operations. Returns the body bytes moved; the engine's `on_done` is
        not called. Raises StorageError (or another Sai3Error of the failure's kind), RuntimeError as `issue` does.
        """
        ended: asyncio.Future[int] = self.loop.create_future()

        def done(connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
            self._on_done = told
            if not ended.done():
                ended.set_result(size)

        told, self.answer = self._on_done, None
        self.issue(request)
        self._on_done = done
        try:
            moved = await ended
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self.failure is not None:
            raise storage_error(self.failure)
        return moved

    def made_put(self, key: str, body: Body, size: int) -> bytes:
        """The PUT of at most `PIECE_BYTES` as it goes out, for `Request.made`; only if `maker.plain_put`. It is signed
        for now, and can be sent on every connection to the same endpoint. Raises ValueError if the body is not so
        long, and what the body raises."""
        piece = checked_piece(body, 0, size) if size else b""
        return b"".join((put_head(self.signer, key, size), piece))

    def made_head(self, op: Op, key: str) -> bytes:
        """A plain GET or STAT as it goes out, likewise."""
        return self.signer.object_head(METHOD[op], key)

    @property
    def transport(self) -> asyncio.BaseTransport | None:
        """Of the socket, None while there is none."""
        link = self._link
        return link.transport if link is not None else None

    # For the engine and the link

    def end_with(self, failure: Failure) -> None:
        """End the operation in flight with `failure`, and its socket with it."""
        self.disconnect()
        self.failed(failure, 0, monotonic_ns())

    def disconnect(self) -> None:
        """Drop the socket, or the attempt to get one."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.drop()

    def forget(self, link: Link) -> None:
        """`link` cannot be used again."""
        self.keep_session(link)
        if self._link is link:
            self._link = None

    def keep_session(self, link: Link | None = None) -> None:
        """Remember what the next TLS connection can resume."""
        tls, link = self._tls, link or self._link
        if tls is not None and link is not None:
            tls.remember(link.transport)

    def finished(self, status: int, moved: int, t_first: int, t_last: int) -> None:
        self._in_flight = False
        self._last_done = t_last
        if t_first:
            self._refusals = 0
        self._on_done(self, status, moved, self._t0, t_first, t_last)

    def failed(self, failure: Failure, t_first: int, t_last: int) -> None:
        if not self._in_flight:
            return
        self.failure = failure
        if self.request is not None:
            self.request.made = b""
        self.finished(1 + failure.kind, 0, t_first, t_last)

    def refused(self) -> None:
        """The socket ended before an answer: wait a little before the next one."""
        self._refusals += 1

    def make_drain(self, transport: asyncio.Transport, done: Callable[[int], None]) -> Drain | None:
        """What drops long bodies of the connection; None where that is not possible: with TLS, not under Linux, or
        without descriptors."""
        found = transport.get_extra_info("socket") if CAN_DRAIN and not self.place.tls else None
        if found is None:
            return None
        try:
            return Drain(self._engine.drains, found.fileno(), done)
        except OSError:
            return None

    def may_resend(self) -> bool:
        """Whether the socket had been idle so long that its end says nothing about this operation."""
        return 0 < self._last_done < self._t0 - STALE_NS

    def resend(self) -> None:
        """Start the operation in flight again, on a new socket, and tell so."""
        told = self._engine.options.on_resent
        if told is not None:
            what = "was cut off before an answer, on a connection that had been idle"
            told(self, lost_failure(self._context(), what, "stale"), self._t0)
        self._connect()

    def overdue(self, now: int, limit_ns: int) -> bool:
        return self._in_flight and now - self._t0 > limit_ns

    def time_out(self) -> None:
        """End the operation in flight because it took longer than the engine's `op_timeout`."""
        seconds = self._engine.options.op_timeout
        connecting = self._link is None
        what = f"did not get a connection within {seconds:g} s" if connecting else f"took longer than {seconds:g} s"
        hint = "the storage does not answer in time: is it overloaded, or cut off?"
        self.end_with(timeout_failure(self._context(), what, "connect" if connecting else "op", hint=hint))

    # Inside

    def _start_otherwise(self, request: Request) -> None:
        self._t0 = monotonic_ns()
        if self._engine.closed:
            self._in_flight = False
            raise RuntimeError("the engine is closed")
        if request.op > _LAST_OBJECT_OP:
            self._fail_soon(unsupported_failure(self._context(), "object storage has no directories"))
        else:
            self._connect()

    def _start_failed(self, link: Link, error: Exception) -> None:
        self._t0 = monotonic_ns()
        link.abandon()
        self._fail_soon(placed(failure_of(error), self._context()))

    def _fail_soon(self, failure: Failure) -> None:
        request = self.request

        def fail() -> None:
            # It may have been cancelled meanwhile, and the connection used again.
            if self._in_flight and self.request is request:
                self.failed(failure, 0, monotonic_ns())

        self.loop.call_soon(fail)

    def _connect(self) -> None:
        self._last_done = 0
        self._task = self.loop.create_task(self._connect_and_start())
        self._task.add_done_callback(defect_of)

    async def _connect_and_start(self) -> None:
        engine, place = self._engine, self.place
        failure: Failure | None = None
        link: Link | None = None
        try:
            if self._refusals:
                # Without this, a dead endpoint is called thousands of times a second.
                await asyncio.sleep(min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._refusals - 1, 10)))
            async with asyncio.timeout(engine.options.connect_timeout):
                _, link = await self.loop.create_connection(
                    self._make_link,
                    place.host,
                    place.port,
                    ssl=self._tls,
                    server_hostname=engine.server_name(place) if place.tls else None,
                )
        except TimeoutError as error:
            what = f"did not get a connection within {engine.options.connect_timeout:g} s"
            if str(error):
                failure = os_failure(error, self._context(), during="connect")
            else:
                hint = "check host, port, and firewalls between this host and the storage"
                failure = timeout_failure(self._context(), what, "connect", hint=hint)
        except OSError as error:
            failure = os_failure(error, self._context(), during="connect")
        except ValueError as error:
            # A host name that cannot be one (IDNA).
            failure = os_failure(socket.gaierror(str(error)), self._context(), during="connect")
        self._task = None
        request = self.request
        if failure is not None or link is None:
            self._refusals += 1
            self.failed(failure or failure_of(StorageError("no connection")), 0, monotonic_ns())
            return
        if request is None or not self._in_flight:
            link.drop()
            return
        if not link.alive:
            self._refusals += 1
            lost = ConnectionResetError("closed right after it was opened")
            self.failed(os_failure(lost, self._context(), during="connect"), 0, monotonic_ns())
            return
        self._link = link
        try:
            self._t0 = link.start(request)
        except Exception as error:
            self._start_failed(link, error)

    def _make_link(self) -> Link:
        return Link(self, self._engine.buffer, self._engine.view)

    def _context(self) -> ErrorContext:
        return context_of(self.place, self.request or Request())


class WireEngine:
    """See `engine.Engine`. Credentials, region and the CA file (AWS_CA_BUNDLE) come from `environ`."""

    def __init__(self, options: EngineOptions, environ: Mapping[str, str]) -> None:
        self.options = options
        self.closed = False
        self.on_done: OnDone = _nobody
        self.buffer = bytearray(RECEIVE_BYTES)
        self.view = memoryview(self.buffer)
        self.drains = Drains(options.loop)
        self._environ = environ
        self._connections: list[WireConnection] = []
        self._secure: list[WireConnection] = []
        self._signers: list[RequestSigner] = []
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._limit_ns = int(options.op_timeout * 1e9)
        self._sweep_every = min(1.0, max(0.05, options.op_timeout / 4))

    async def open(self, endpoints: Sequence[Endpoint], connections: Sequence[int], on_done: OnDone) -> None:
        """Sockets are connected when they are first needed. Raises StorageError (no credentials, bad CA file)."""
        if len(endpoints) != len(connections):
            raise ConfigError(f"{len(connections)} connection counts for {len(endpoints)} endpoints")
        # The chain may read files and ask a metadata service.
        credentials = await asyncio.to_thread(find_credentials, self._environ)
        options = self.options.s3
        # A context each, because a session can be resumed with the server that it was made with only.
        contexts = [tls_context(self._environ, options) if endpoint.tls else None for endpoint in endpoints]
        region = region_of(self._environ, self.options.region)
        if options.addressing is Addressing.VIRTUAL:
            for endpoint in endpoints:
                _check_virtual(endpoint)
        self.on_done = on_done
        self._signers = [RequestSigner(each, credentials, region, options=options) for each in endpoints]
        makers = [RequestMaker(signer, options) for signer in self._signers]
        self._connections = [
            WireConnection(self, e, endpoints[e], self._signers[e], makers[e], contexts[e]) for e in deal(connections)
        ]
        self._secure = [connection for connection in self._connections if connection.place.tls]
        self._sweep_timer = self.options.loop.call_later(self._sweep_every, self._sweep)

    @property
    def connections(self) -> Sequence[Connection]:
        return self._connections

    def server_name(self, place: Endpoint) -> str:
        """The name that the server's certificate has to be for."""
        virtual = self.options.s3.addressing is Addressing.VIRTUAL
        return f"{place.bucket}.{place.host}" if virtual else place.host

    async def close(self) -> None:
        """Operations in flight end as cancelled, through `on_done`. Idempotent."""
        self.closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        tasks = [c._task for c in self._connections if c._task is not None]
        for connection in self._connections:
            connection.cancel()
            connection.disconnect()
        self.drains.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Aborted transports free their sockets on the loop's next turn.
        await asyncio.sleep(0)

    def _sweep(self) -> None:
        self._sweep_timer = self.options.loop.call_later(self._sweep_every, self._sweep)
        seconds = time.time()
        for signer in self._signers:
            signer.refresh(seconds)
        now = monotonic_ns()
        for connection in self._connections:
            if connection.overdue(now, self._limit_ns):
                connection.time_out()
        for connection in self._secure:
            connection.keep_session()


def _check_virtual(endpoint: Endpoint) -> None:
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        return
    raise ConfigError(
        f"{endpoint.uri} has an address where a bucket cannot be put in front of a name",
        hint="name the endpoint by its host name, or use addressing: path",
    )


def _nobody(connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
    """Nobody listens before `open`."""
