"""A proxy before an S3 server that writes down every request: what the storage itself was asked for."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Access:
    """One request and its answer; `size` is the body of a PUT, or of the answer to a GET."""

    method: str
    path: str
    query: str
    status: int
    size: int


class AccessLog:
    """An async context manager; `address` is HOST:PORT to talk to, `accesses` all requests so far. HTTP/1.1 with
    Content-Length only, which is what the clients and servers under test speak; anything else raises."""

    def __init__(self, upstream: str) -> None:
        self._host, port = upstream.rsplit(":", 1)
        self._port = int(port)
        self.accesses: list[Access] = []
        self.errors: list[BaseException] = []
        self.address = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def done(self, method: str, prefix: str) -> list[Access]:
        """Requests on objects below `prefix` (with the bucket) that went well."""
        return [
            each
            for each in self.accesses
            if each.method == method and each.path.startswith(prefix) and not each.query and 200 <= each.status < 300
        ]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
            try:
                while await self._exchange(reader, writer, up_reader, up_writer):
                    pass
            finally:
                up_writer.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            # One side has closed between two requests, or gone away.
            pass
        except ValueError as error:
            self.errors.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> bool:
        head = await _head(reader)
        if not head:
            return False
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        if b"expect: 100-continue" in head.lower():
            # The server's own 100 would come between two answers.
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?i)expect: 100-continue\r\n", b"", head)
        sent = await _pass_on(head, reader, up_writer)
        answer = await _head(up_reader)
        status = int(answer.split(b" ", 2)[1])
        bodyless = method == "HEAD" or status in (204, 304)
        got = await _pass_on(answer, up_reader, writer, bodyless=bodyless)
        url = urlsplit(target)
        self.accesses.append(
            Access(method, unquote(url.path).lstrip("/"), url.query, status, sent if method == "PUT" else got)
        )
        return b"connection: close" not in answer.lower()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return b""


async def _pass_on(
    head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, bodyless: bool = False
) -> int:
    """The head and its body; returns the size of the body."""
    writer.write(head)
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower and not bodyless:
        size = await _pass_chunks(reader, writer)
    else:
        found = [line for line in lower.split(b"\r\n") if line.startswith(b"content-length:")]
        size = int(found[0].split(b":")[1]) if found and not bodyless else 0
        left = size
        while left:
            piece = await reader.read(min(left, 65536))
            if not piece:
                raise ConnectionError("the body breaks off")
            writer.write(piece)
            left -= len(piece)
    await writer.drain()
    return size


async def _pass_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    total = 0
    while True:
        line = await reader.readline()
        size = int(line.split(b";")[0], 16)
        writer.write(line + await reader.readexactly(size + 2))
        total += size
        if not size:
            return total
