"""An HTTP server that answers as scripted: cut, split, slow, wrong. Raw TCP, one script step a request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from sai3tui.storage.engine import Endpoint

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testaccesskey", "AWS_SECRET_ACCESS_KEY": "testsecretkey0123"}
OK_EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Step:
    """What happens with one request. `then` is keep, close, reset or hang; `read_body` False answers at the head."""

    answer: bytes = OK_EMPTY
    then: str = "keep"
    read_body: bool = True
    cut_at: int = -1
    """Send the answer in two parts, split here, with a turn of the loop between them."""


class FaultServer:
    """Serves `steps` in the order of requests, whatever connection they come on, then hangs. Async context manager."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = deque(steps)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def endpoint(self) -> Endpoint:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return Endpoint(f"s3://{host}:{port}/bucket/pre/", "s3", host, port, "bucket", "pre/")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve_requests(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            step = self.steps.popleft() if self.steps else Step(b"", "hang")
            if step.read_body:
                if b"100-continue" in head.lower():
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.bodies.append(await reader.readexactly(_length(head)))
            cut = step.cut_at if step.cut_at >= 0 else len(step.answer)
            for part in (step.answer[:cut], step.answer[cut:]):
                if part:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.002 if step.cut_at >= 0 else 0)
            if step.then == "close":
                return
            if step.then == "reset":
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return
            if step.then == "hang":
                await asyncio.Event().wait()


def answer(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(body: bytes, *sizes: int) -> bytes:
    """`body` in chunked coding, in chunks of `sizes` and the rest."""
    out, at = b"", 0
    for size in (*sizes, len(body)):
        part = body[at : at + size]
        at += len(part)
        if part:
            out += f"{len(part):x};x=y\r\n".encode() + part + b"\r\n"
    return out + b"0\r\nx-trailer: 1\r\n\r\n"


def error_document(code: str, message: str = "because", extra: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message>'
        f"<RequestId>req-1</RequestId>{extra}</Error>"
    ).encode()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
