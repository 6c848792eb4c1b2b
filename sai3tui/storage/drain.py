"""Bodies that nobody looks at, dropped by the kernel: it counts them and copies nothing.

TCP under Linux drops what is received with MSG_TRUNC, which costs less than copying it (docs/performance.md). An event
loop's transport cannot be told to, so a second descriptor of the same socket is read while the transport pauses.
"""

from __future__ import annotations

import asyncio
import mmap
import select
import socket
import sys
from collections.abc import Callable

CAN_DRAIN = sys.platform == "linux"
"""MSG_TRUNC means something else elsewhere."""
DRAIN_BYTES = 512 * 1024
"""What is left of a body must be so much: turning the transport off and on costs some microseconds."""
AT_ONCE_BYTES = 16 * 1024 * 1024


class Drains:
    """Those of one engine. They are watched by an epoll of their own, because libuv tells nobody of a watched
    descriptor whose connection was reset."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: select.epoll | None = None
        self._active: dict[int, Drain] = {}
        self.scratch = mmap.mmap(-1, AT_ONCE_BYTES)
        """Never written to, so it takes no memory."""

    def watch(self, fileno: int, drain: Drain) -> None:
        """Raises OSError if there is no descriptor left."""
        epoll = self._epoll
        if epoll is None:
            epoll = self._epoll = select.epoll()
            self._loop.add_reader(epoll.fileno(), self._ready)
        epoll.register(fileno, select.EPOLLIN)
        self._active[fileno] = drain

    def forget(self, fileno: int) -> None:
        if self._active.pop(fileno, None) is not None and self._epoll is not None:
            self._epoll.unregister(fileno)

    def _ready(self) -> None:
        assert self._epoll is not None
        for fileno, _ in self._epoll.poll(0):
            drain = self._active.get(fileno)
            if drain is not None:
                drain.readable()

    def close(self) -> None:
        """Idempotent."""
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            self._loop.remove_reader(epoll.fileno())
            epoll.close()


class Drain:
    """One connection's. `done(left)` is called once per `start`: 0 is left if all came, else the connection ended."""

    __slots__ = ("_all", "_done", "_socket", "active", "left")

    def __init__(self, all_of_engine: Drains, fileno: int, done: Callable[[int], None]) -> None:
        """Raises OSError if there is no descriptor left."""
        self._all = all_of_engine
        self._socket = socket.socket(fileno=socket.dup(fileno))
        self._done = done
        self.left = 0
        """Bytes that have not come yet."""
        self.active = False

    def start(self, left: int) -> bool:
        """Drop the next `left` bytes, from the loop's next turn on. The transport must not read meanwhile. False if
        there is no descriptor left."""
        try:
            self._all.watch(self._socket.fileno(), self)
        except OSError:
            return False
        self.left = left
        self.active = True
        return True

    def readable(self) -> None:
        """There may be something to drop, or the connection may have ended."""
        try:
            got = self._socket.recv_into(self._all.scratch, min(self.left, AT_ONCE_BYTES), socket.MSG_TRUNC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            got = 0
        self.left -= got
        if got == 0 or self.left == 0:
            self._stop()
            self._done(self.left)

    def _stop(self) -> None:
        if self.active:
            self.active = False
            self._all.forget(self._socket.fileno())

    def close(self) -> None:
        """The socket stays open until this has been called as well. Idempotent."""
        self._stop()
        self._socket.close()
