"""A proxy before a real S3 server that lies where a test says so: it answers itself, or changes the server's answer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fault_server import answer


@dataclass(frozen=True, slots=True)
class Seen:
    """One request. `path` is without the query."""

    method: str
    path: str
    query: str
    head: bytes

    @property
    def is_object(self) -> bool:
        return self.path.count("/") > 1 and not self.path.endswith("/")


Before = Callable[[Seen], bytes | None]
After = Callable[[Seen, bytes], bytes]


@dataclass(slots=True)
class Fault:
    """`wait` keeps a request for a while, `before` answers instead of the server, `after` changes its answer; `closes`
    ends the connection after each."""

    before: Before = lambda _seen: None
    after: After = lambda _seen, raw: raw
    closes: bool = False
    context: ssl.SSLContext | None = None
    wait: Callable[[Seen], Awaitable[None]] | None = None
    seen: list[Seen] = field(default_factory=list)


@asynccontextmanager
async def fault_proxy(upstream: str, fault: Fault) -> AsyncIterator[str]:
    """HOST:PORT of a proxy before the server at `upstream` (HOST:PORT)."""
    host, _, port = upstream.rpartition(":")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await _one(reader, writer, host, int(port), fault)
                    if fault.closes:
                        return
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=fault.context)
    place = server.sockets[0].getsockname()
    try:
        yield f"{place[0]}:{place[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, fault: Fault) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    method, target, _ = lines[0].decode().split(" ")
    path, _, query = target.partition("?")
    seen = Seen(method, path, query, head)
    fault.seen.append(seen)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    if b"100-continue" in headers.get(b"expect", b""):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
    if fault.wait is not None:
        await fault.wait(seen)
    raw = fault.before(seen)
    if raw is None:
        raw = await _ask(host, port, [line for line in lines if not line.lower().startswith(b"expect:")], body)
    raw = fault.after(seen, raw)
    if fault.closes:
        raw = raw.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    writer.write(raw)
    await writer.drain()


async def _ask(host: str, port: int, lines: list[bytes], body: bytes) -> bytes:
    """The whole answer, framed as if the connection stayed open."""
    reader, writer = await asyncio.open_connection(host, port)
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    try:
        writer.write(b"\r\n".join([kept[0], b"Connection: close", *kept[1:]]) + body)
        raw = await reader.read()
    finally:
        writer.close()
    head, _, rest = raw.partition(b"\r\n\r\n")
    told = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join(told) + b"\r\n\r\n" + rest


def says(code: str, status: str, when: Callable[[Seen], bool]) -> Before:
    """Answers with an S3 error where `when` says so."""
    document = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    return lambda seen: answer(b"" if seen.method == "HEAD" else document, status) if when(seen) else None


def tells(text: str, when: Callable[[Seen], bool]) -> Before:
    """Answers with this document where `when` says so."""
    return lambda seen: answer(text.encode(), "200 OK", "Content-Type: application/xml") if when(seen) else None
