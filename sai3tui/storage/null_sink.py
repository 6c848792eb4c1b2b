"""An S3 server that keeps nothing and checks nothing: the other end when a client is what is measured.

`.../<bytes>` as the end of a key says how many bytes a GET brings; PUT bodies are dropped unread where the kernel can.
One process, one thread, epoll: event loops cost more than all that it does. Loopback only.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_BUFFER = 256 * 1024
_LAST = b"Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
_EMPTY = b'HTTP/1.1 200 OK\r\nETag: "d41d8cd98f00b204e9800998ecf8427e"\r\n%bContent-Length: 0\r\n\r\n' % _LAST
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LISTING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
_GONE = b"HTTP/1.1 204 No Content\r\n\r\n"
_AWAKE_NS = 2_000_000
"""So long it asks again and again before it sleeps: to wake it up would cost the client, which is on the same host,
half as much as its request does. A storage on a network is not woken up by the client's processor."""
START_S = 20.0


class _Client:
    """One connection: what of a body is still to come, and what of an answer is still to go."""

    __slots__ = ("answer", "head", "left", "pending", "socket")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.head = b""
        self.left = 0
        self.answer: bytes = _EMPTY
        self.pending: memoryview | None = None


class NullSink:
    """Serves `listening`. `delay_s`: how long every answer waits, counted from the whole request. `size`: bytes of a
    GET whose key does not end in a number."""

    def __init__(self, listening: socket.socket, delay_s: float = 0.0, size: int = 0) -> None:
        self._listening = listening
        self._delay_ns = int(delay_s * 1e9)
        self._size = size
        self._epoll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._buffer = bytearray(_BUFFER)
        self._answers: dict[int, bytes] = {}
        self._due: list[tuple[int, int]] = []

    def serve(self, until: int) -> None:
        """Until descriptor `until`, a pipe, is closed at its other end."""
        listening, epoll = self._listening.fileno(), self._epoll
        self._listening.setblocking(False)
        epoll.register(listening, select.EPOLLIN)
        epoll.register(until, select.EPOLLHUP)
        clients = self._clients
        busy_until = 0
        while True:
            awake = time.monotonic_ns() < busy_until
            found = epoll.poll(0.0 if awake else self._wait_s())
            if found:
                busy_until = time.monotonic_ns() + _AWAKE_NS
            elif awake:
                os.sched_yield()
            for number, events in found:
                if number == listening:
                    self._accept()
                    continue
                client = clients.get(number)
                if client is None:
                    if number == until:
                        return
                    continue
                try:
                    if client.pending is not None and events & select.EPOLLOUT:
                        self._send(client, client.pending)
                    elif events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                        self._receive(client)
                except OSError:
                    self._forget(client)
            if self._due:
                self._answer_due()

    def _wait_s(self) -> float:
        # epoll counts milliseconds: what is due in less than one is waited for by asking again and again.
        if not self._due:
            return -1.0
        return max(0, (self._due[0][0] - time.monotonic_ns()) // 1_000_000) / 1000.0

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connected, _ = self._listening.accept()
                connected.setblocking(False)
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._clients[connected.fileno()] = _Client(connected)
                self._epoll.register(connected.fileno(), select.EPOLLIN)

    def _forget(self, client: _Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        client.socket.close()

    def _receive(self, client: _Client) -> None:
        buffer = self._buffer
        if client.left:
            # TCP drops what is truncated, without copying it.
            got = client.socket.recv_into(buffer, min(client.left, _BUFFER), socket.MSG_TRUNC)
            if got == 0:
                raise ConnectionResetError
            client.left -= got
            if client.left == 0:
                self._reply(client)
            return
        got = client.socket.recv_into(buffer)
        if got == 0:
            raise ConnectionResetError
        if client.head:
            data: bytes | bytearray = client.head + buffer[:got]
            got = len(data)
            client.head = b""
        else:
            data = buffer
        end = data.find(b"\r\n\r\n", 0, got)
        if end < 0:
            client.head = bytes(data[:got])
            return
        at = data.find(b"ontent-", 0, end)
        length = 0
        while at >= 0:
            if data[at + 7 : at + 14].lower() == b"length:":
                length = int(data[at + 14 : data.find(b"\r", at)])
                break
            at = data.find(b"ontent-", at + 7, end)
        client.answer = self._answer_to(data, end)
        client.left = max(0, length - (got - end - 4))
        if client.left == 0:
            self._reply(client)
        elif data.find(b"100-continue", 0, end) >= 0:
            client.socket.sendall(_CONTINUE)

    def _answer_to(self, data: bytes | bytearray, end: int) -> bytes:
        if not data.startswith(b"GET"):
            return _GONE if data.startswith(b"DELETE") else _EMPTY
        stop = data.find(b" ", 4, end)
        mark = data.find(b"?", 4, stop)
        if mark >= 0:
            if data.find(b"list-type=", mark, stop) >= 0:
                return self._made(_LISTING)
            stop = mark
        digits = bytes(data[data.rfind(b"/", 4, stop) + 1 : stop])
        size = int(digits) if digits.isdigit() else self._size
        answer = self._answers.get(size)
        if answer is None:
            answer = self._answers[size] = self._made(bytes(size))
        return answer

    @staticmethod
    def _made(body: bytes) -> bytes:
        return b'HTTP/1.1 200 OK\r\nETag: "x"\r\n%bContent-Length: %d\r\n\r\n%b' % (_LAST, len(body), body)

    def _reply(self, client: _Client) -> None:
        if self._delay_ns:
            heapq.heappush(self._due, (time.monotonic_ns() + self._delay_ns, client.socket.fileno()))
        else:
            self._send(client, client.answer)

    def _answer_due(self) -> None:
        due, now = self._due, time.monotonic_ns()
        while due and due[0][0] <= now:
            client = self._clients.get(heapq.heappop(due)[1])
            if client is not None:
                try:
                    self._send(client, client.answer)
                except OSError:
                    self._forget(client)

    def _send(self, client: _Client, data: bytes | memoryview) -> None:
        try:
            sent = client.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            if client.pending is None:
                self._epoll.modify(client.socket.fileno(), select.EPOLLOUT)
            client.pending = memoryview(data)[sent:]
        elif client.pending is not None:
            client.pending = None
            self._epoll.modify(client.socket.fileno(), select.EPOLLIN)


def main(arguments: list[str]) -> int:
    """`arguments`: delay in seconds, the core to run on (-1: any), bytes of a GET. Says its port; ends when its input
    does."""
    delay_s, core, size = float(arguments[0]), int(arguments[1]), int(arguments[2])
    if core >= 0:
        os.sched_setaffinity(0, {core})
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    NullSink(listening, delay_s, size).serve(until=sys.stdin.fileno())
    return 0


@contextmanager
def null_sink(delay_s: float = 0.0, core: int = -1, size: int = 0) -> Iterator[int]:
    """The port of a sink in a process of its own that lives as long as the block, on `core` if one is named.

    Raises RuntimeError if it does not start.
    """
    environ = dict(os.environ)
    environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "sai3tui.storage.null_sink", str(delay_s), str(core), str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
    )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        said = process.stdout.readline() if ready else b""
        if not said:
            raise RuntimeError("the null sink did not start")
        yield int(said)
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
