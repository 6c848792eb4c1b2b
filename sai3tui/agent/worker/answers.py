"""How long answers wait for a worker, by the kernel's own stamps of when their bytes arrived.

An answer under uvloop shows no stamp to whoever reads it, so a second descriptor of the same socket is watched for one
answer now and then: it becomes readable at the same moment, and a look at one byte (nothing is taken away) brings the
stamp. Which answer is watched has nothing to do with how it fares, and nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import Callable, Sequence

from sai3tui.storage.engine import Connection, SocketConnection

_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("qq")
_SPACE = socket.CMSG_SPACE(_STAMP.size)
LONGEST_NS = 60_000_000_000
"""Beyond this it is the clock that was set, not an answer that waited."""


class AnswerWatch:
    """Watches one connection at a time, of those that have a socket; `record(nanoseconds)` is called per answer seen.

    `turn` is to be called some ten times a second: it lets go of what did not answer and watches the next one. While a
    connection is watched its socket stays open; `turn` lets go of one that the engine has closed.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connections: Sequence[Connection], record: Callable[[int], None]
    ) -> None:
        self._loop = loop
        self._connections = [each for each in connections if isinstance(each, SocketConnection)]
        self._record = record
        self._random = random.Random()
        self._watched: SocketConnection | None = None
        self._of: asyncio.BaseTransport | None = None
        self._copy: socket.socket | None = None

    def turn(self) -> None:
        """Keep what is being watched if it is still open, else watch another."""
        if not self._connections:
            return
        if self._watched is not None and self._watched.transport is self._of:
            return
        self._let_go()
        connection = self._random.choice(self._connections)
        transport = connection.transport
        found = transport.get_extra_info("socket") if transport is not None else None
        if found is None:
            return
        try:
            copy = socket.socket(fileno=socket.dup(found.fileno()))
        except OSError:
            # It is being closed, or there are no descriptors left: another time.
            return
        try:
            copy.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._loop.add_reader(copy.fileno(), self._readable)
        except OSError:
            copy.close()
            return
        self._watched, self._of, self._copy = connection, transport, copy

    def _readable(self) -> None:
        now = time.time_ns()
        assert self._copy is not None
        try:
            _, ancillary, _, _ = self._copy.recvmsg(1, _SPACE, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            # Whoever it is for has read it already, or the connection is gone.
            ancillary = []
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _STAMP.size:
                seconds, nanoseconds = _STAMP.unpack_from(data)
                waited = now - seconds * 1_000_000_000 - nanoseconds
                if 0 <= waited < LONGEST_NS:
                    self._record(waited)
        self._let_go()

    def _let_go(self) -> None:
        copy, self._copy = self._copy, None
        self._watched = self._of = None
        if copy is not None:
            self._loop.remove_reader(copy.fileno())
            copy.close()

    def close(self) -> None:
        """Idempotent."""
        self._connections = []
        self._let_go()
