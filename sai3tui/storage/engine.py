"""The contract between the load generator and whatever moves bytes.

A worker opens an engine once per run and gets connections from it. A connection is bound to one endpoint and has at
most one operation in flight. `issue` starts it and returns; when it ends, the engine calls `on_done` from the same
event loop. Nothing on this path is a coroutine: a task per operation costs more than the operation (benchmarks/).

Times are `time.monotonic_ns()` values: `t0` right before the request is handed to the kernel (after signing and body
preparation of the first piece), `t_first` at the first byte of the answer (0 if none came), `t_last` when the
operation is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from sai3tui.config.ops import Op
from sai3tui.config.storage_options import FileOptions, S3Options
from sai3tui.errors import Failure

OK = 0
"""Status of an operation that succeeded; any other status is 1 + the `ErrorKind` of its failure."""

PIECE_BYTES = 256 * 1024
"""Bodies are produced and sent in pieces of at most this many bytes."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place that operations go to. `uri` is as the user wrote it and is what results show.

    For `s3://`: `host:port`, `bucket`, and `prefix` (no leading slash; empty or ending in `/`), which every key is
    under. For `file://`: `prefix` is the absolute directory, ending in `/`, and the rest is empty.
    """

    uri: str
    scheme: str
    host: str = ""
    port: int = 0
    bucket: str = ""
    prefix: str = ""
    tls: bool = False


class Body(Protocol):
    """The content of an object to PUT, made piece by piece."""

    size: int

    def piece(self, offset: int, length: int) -> memoryview:
        """Bytes [offset, offset + length); length is at most `PIECE_BYTES`. Valid until the connection's next
        operation is issued, so an engine may hand it to the kernel without copying. Called from the loop's thread, or
        (files) from an I/O thread, never twice at a time for one connection."""
        ...


class Sink(Protocol):
    """Who looks at the bytes of a GET. Without one they never become Python objects."""

    def begin(self) -> None:
        """A body begins; also when an operation is sent again."""
        ...

    def take(self, offset: int, data: memoryview) -> None:
        """The next bytes of the body, which are gone when this returns. `offset` counts from the body's beginning.

        Whatever this raises ends the operation with that as its failure. May be called from an I/O thread.
        """
        ...

    def end(self, size: int) -> None:
        """The body was whole and had `size` bytes. May raise as `take` may."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A request to S3 other than the plain one of its operation: a part of an upload, a batch, one page of a listing.

    `query` is canonical: encoded and sorted. `headers` (names in lower case) are signed. The body is that of the
    `Request`. `of_bucket`: it is about the bucket, and the key is not part of the path. `moves_bytes`: the body counts
    as bytes moved.
    """

    method: bytes
    query: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    of_bucket: bool = False
    moves_bytes: bool = False


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """What came back for a `Call`: `head` as it was sent, `body` up to the engine's limit for such answers."""

    status: int
    head: bytes
    body: bytes


@dataclass(slots=True)
class Request:
    """One operation. Mutable and owned by the caller, who reuses one per connection.

    `key` is relative to the endpoint's prefix; for LIST it is the prefix to list (`limit` keys at most, one page).
    `size` is the number of body bytes of a PUT. `index` and `tag` are the caller's own; engines only pass them on
    into failures (`index` is the object index, -1 if there is none). A GET reads `length` bytes from `offset`, or the
    whole object if `length` is -1; `sink` sees them. For the wire engine only: `call` makes it something else; `made`
    is the whole of it as `made_put` or `made_head` has it, which is forgotten with the first attempt: others are made
    from the rest.
    """

    op: Op = Op.GET
    key: str = ""
    size: int = 0
    body: Body | None = None
    index: int = -1
    tag: int = 0
    limit: int = 1000
    recursive: bool = False
    context: dict[str, str] = field(default_factory=dict)
    offset: int = 0
    length: int = -1
    sink: Sink | None = None
    call: Call | None = None
    made: bytes = b""


class Connection(Protocol):
    """A slot for one operation at a time, bound to one endpoint."""

    endpoint: int
    """Index into the endpoints that the engine was opened with."""

    request: Request | None
    """The operation in flight, or the last one."""

    failure: Failure | None
    """Why the last operation did not succeed; None after one that did."""

    def issue(self, request: Request) -> None:
        """Start `request`. Raises RuntimeError if one is in flight. Never calls `on_done` before it returns."""
        ...

    def cancel(self) -> None:
        """End the operation in flight, if any, without waiting for the storage; `on_done` is called with a failure
        of kind TIMEOUT (subclass `cancelled`) before this returns. The connection can be used again afterwards."""
        ...


@runtime_checkable
class SocketConnection(Protocol):
    """A connection that can show what it is connected with."""

    @property
    def transport(self) -> asyncio.BaseTransport | None:
        """None while there is no socket."""
        ...


OnDone = Callable[[Connection, int, int, int, int, int], None]
"""`on_done(connection, status, bytes, t0, t_first, t_last)`; `bytes` are body bytes moved (GET, PUT)."""


class Engine(Protocol):
    """One implementation by URI scheme. Lives in one worker process, on one event loop."""

    async def open(self, endpoints: Sequence[Endpoint], connections: Sequence[int], on_done: OnDone) -> None:
        """Make `connections[e]` connections to each `endpoints[e]`. Sockets are connected lazily or at once, but a
        storage that is down is a failed operation, not an error here. Raises StorageError for what can never work
        (missing credentials, unusable CA file)."""
        ...

    @property
    def connections(self) -> Sequence[Connection]:
        """All connections, endpoints interleaved."""
        ...

    async def close(self) -> None:
        """Cancel what is in flight (`on_done` is called for it) and free everything; `issue` raises RuntimeError
        afterwards. Idempotent."""
        ...


OnResent = Callable[[Connection, Failure, int], None]
"""`on_resent(connection, failure, t0)`: the attempt that was handed to the kernel at `t0` came to nothing because its
connection had been closed while it was idle, and the engine makes another one by itself."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine needs besides endpoints. `on_resent` is told of attempts that the engine makes again by itself.

    Times in seconds: `connect_timeout` for TCP and TLS together, `op_timeout` from issue to completion.
    Credentials come from the environment of the process that runs the engine and are never part of this.
    """

    loop: asyncio.AbstractEventLoop
    connect_timeout: float = 5.0
    op_timeout: float = 120.0
    region: str = "us-east-1"
    null_delay: float = 0.0
    s3: S3Options = field(default_factory=S3Options)
    files: FileOptions = field(default_factory=FileOptions)
    on_resent: OnResent | None = None
