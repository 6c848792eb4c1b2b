"""An S3 server that stores nothing: the other end of engine benchmarks. A process of its own, one uvloop loop.

GET is answered with as many bytes as the key says (`.../<bytes>`), PUT is read and dropped. Signatures are not read.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import cast

import uvloop

_EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_BUFFER = 256 * 1024


class NullS3(asyncio.BufferedProtocol):
    """One connection of the server."""

    buffer = bytearray(_BUFFER)
    view = memoryview(buffer)
    zeros = bytes(_BUFFER)

    def __init__(self) -> None:
        self.left = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no instances of asyncio's class.
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        if self.left:
            self.left -= nbytes
            if self.left <= 0:
                self.left = 0
                self.transport.write(_EMPTY)
            return
        # Requests of these benchmarks are sent in one write, so a head is never cut.
        end = self.buffer.find(b"\r\n\r\n", 0, nbytes)
        if self.buffer.startswith(b"GET"):
            path = bytes(self.buffer[4 : self.buffer.find(b" ", 4)])
            size = int(path.rpartition(b"/")[2] or b"0")
            self.transport.write(b"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: %d\r\n\r\n" % size)
            self.transport.writelines(
                [memoryview(self.zeros)[: min(_BUFFER, size - at)] for at in range(0, size, _BUFFER)]
            )
            return
        at = self.buffer.find(b"\r\nContent-Length: ", 0, end) + 18
        length = int(self.buffer[at : self.buffer.find(b"\r", at)]) if at >= 18 else 0
        expects = self.buffer.find(b"100-continue", 0, end) >= 0
        self.left = max(0, length - (nbytes - end - 4))
        if expects and self.left:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif not self.left:
            self.transport.write(_EMPTY)


async def _serve(listening: socket.socket) -> None:
    server = await asyncio.get_running_loop().create_server(NullS3, sock=listening)
    await server.serve_forever()


def _main(ready: Connection) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    ready.send(listening.getsockname()[1])
    uvloop.run(_serve(listening))


@contextmanager
def null_s3() -> Iterator[int]:
    """Port of a null server that lives as long as the block, on the first core."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs,), daemon=True)
    process.start()
    try:
        if not ours.poll(20):
            raise RuntimeError("the null server did not start")
        yield ours.recv()
    finally:
        process.kill()
        process.join(5)
