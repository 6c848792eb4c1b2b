"""Bodies that nobody looks at, dropped by the kernel: it counts them and copies nothing.

TCP under Linux drops what is received with MSG_TRUNC, which costs half of what copying does. An event loop's transport
cannot be told to, so a second descriptor of the same socket is read while the transport pauses.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
import sys
from collections.abc import Callable

CAN_DRAIN = sys.platform == "linux"
"""MSG_TRUNC means something else elsewhere."""
DRAIN_BYTES = 512 * 1024
"""What is left of a body must be so much: turning the transport off and on costs some microseconds."""
AT_ONCE_BYTES = 16 * 1024 * 1024


def scratch() -> mmap.mmap:
    """A buffer for `Drain`, which is never written to and so takes no memory."""
    return mmap.mmap(-1, AT_ONCE_BYTES)


class Drain:
    """One connection's. `done(left)` is called once per `start`: 0 is left if all came, else the connection ended."""

    __slots__ = ("_done", "_loop", "_scratch", "_socket", "active", "left")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fileno: int, scratch: mmap.mmap, done: Callable[[int], None]
    ) -> None:
        """Raises OSError if there is no descriptor left."""
        self._loop = loop
        self._socket = socket.socket(fileno=socket.dup(fileno))
        self._scratch = scratch
        self._done = done
        self.left = 0
        """Bytes that have not come yet."""
        self.active = False

    def start(self, left: int) -> None:
        """Drop the next `left` bytes. The transport must not read meanwhile."""
        self.left = left
        self.active = True
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            got = self._socket.recv_into(self._scratch, min(self.left, AT_ONCE_BYTES), socket.MSG_TRUNC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            got = 0
        self.left -= got
        if got == 0 or self.left == 0:
            self.active = False
            self._loop.remove_reader(self._socket.fileno())
            self._done(self.left)

    def close(self) -> None:
        """The socket stays open until this has been called as well. Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
