"""Messages between the agent's main process and a worker: pickles of our own frozen dataclasses, with a length.

Both ends are parts of one program on one host, connected by a socket pair that nobody else can open.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from collections.abc import Callable
from typing import cast

_LENGTH = struct.Struct("<I")


class Channel(asyncio.Protocol):
    """One end. `on_message` is called for each message, `on_closed` once, when the other end is gone.

    Writing never blocks: what the other end has not taken yet waits in memory.
    """

    def __init__(self, on_message: Callable[[object], None], on_closed: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, not the base class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, at)
            end = at + _LENGTH.size + length
            if len(buffer) < end:
                break
            message = pickle.loads(memoryview(buffer)[at + _LENGTH.size : end])
            at = end
            self._on_message(message)
        del buffer[:at]

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_closed()

    @property
    def closed(self) -> bool:
        return self._transport is None

    def send(self, message: object) -> None:
        """Queue a message; nothing happens if the other end is gone."""
        if self._transport is not None:
            data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
            self._transport.write(_LENGTH.pack(len(data)) + data)

    def close(self) -> None:
        """Send what is queued and close. Idempotent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once. Idempotent."""
        if self._transport is not None:
            self._transport.abort()
