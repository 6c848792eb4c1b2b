"""What an agent has said in a run, numbered and bounded, for those who come later or lost their connection."""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from sai3tui.proto import sai3tui_pb2 as pb

COURSE = frozenset({"state", "arrived", "stage_started", "released", "began", "surveyed", "assigned"})
"""Messages that say how far the run is, and who has to do what: as many as it has stages and losses."""
REPORT_BYTES = 32 * 1024 * 1024
OTHER_BYTES = 16 * 1024 * 1024
SHARED_BYTES = 64 * 1024 * 1024


class _Shelf:
    """Messages in order, the oldest dropped beyond a number of bytes; without one, none."""

    __slots__ = ("_bytes", "_limit", "dropped", "messages")

    def __init__(self, limit: int | None = None) -> None:
        self.messages: deque[tuple[int, pb.AgentMessage, int]] = deque()
        self.dropped = 0
        self._limit = limit
        self._bytes = 0

    def put(self, message: pb.AgentMessage) -> None:
        size = message.ByteSize()
        self.messages.append((message.sequence, message, size))
        self._bytes += size
        while self._limit is not None and self._bytes > self._limit and len(self.messages) > 1:
            self._bytes -= self.messages.popleft()[2]
            self.dropped += 1

    def since(self, cursor: int) -> Iterator[tuple[int, pb.AgentMessage]]:
        # Readers are nearly always at the end: looking from there costs what is new, not what is kept.
        late: list[tuple[int, pb.AgentMessage]] = []
        for sequence, message, _ in reversed(self.messages):
            if sequence < cursor:
                break
            late.append((sequence, message))
        return reversed(late)


class Spool:
    """The numbered messages of one run, appended on one thread and read on any. Interval reports are bounded apart, so
    that they push nothing else out; without those about the course of the run nobody could go on with it, so that
    nothing pushes these out."""

    def __init__(self, run_id: str, *, report_bytes: int = REPORT_BYTES, other_bytes: int = OTHER_BYTES) -> None:
        self.run_id = run_id
        self.last_sequence = 0
        self._reports = _Shelf(report_bytes)
        self._others = _Shelf(other_bytes)
        self._course = _Shelf()
        self._shared = _Shelf(SHARED_BYTES)
        self._lock = threading.Lock()
        self._followers: set[Callable[[], object]] = set()
        """To be called when there is something new."""
        self._closed = False

    @property
    def dropped(self) -> int:
        """How many of the oldest reports, notes and failures are not kept any more."""
        return self._reports.dropped + self._others.dropped

    def append(self, message: pb.AgentMessage) -> None:
        """Number `message` and keep it; whoever follows is woken."""
        body = message.WhichOneof("body") or ""
        shelves = {"report": self._reports, "shared": self._shared, **dict.fromkeys(COURSE, self._course)}
        with self._lock:
            message.run_id = self.run_id
            message.sequence = self.last_sequence + 1
            shelves.get(body, self._others).put(message)
            self.last_sequence += 1
            self._wake()

    def close(self) -> None:
        """Nothing will be appended any more: those who follow come to an end."""
        with self._lock:
            self._closed = True
            self._wake()

    def since(self, cursor: int) -> list[pb.AgentMessage]:
        """What is kept from sequence number `cursor` on, in order."""
        with self._lock:
            kept = [list(shelf.since(cursor)) for shelf in (self._reports, self._others, self._shared, self._course)]
        return [message for _, message in heapq.merge(*kept, key=lambda entry: entry[0])]

    async def follow(self, cursor: int) -> AsyncIterator[pb.AgentMessage]:
        """What is kept from `cursor` on, then everything new, until the spool is closed."""
        news = asyncio.Event()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, news.set)
        with self._lock:
            self._followers.add(wake)
        try:
            while True:
                news.clear()
                # In this order: nothing is appended after it is closed.
                closed = self._closed
                for message in self.since(cursor):
                    yield message
                    cursor = message.sequence + 1
                if closed:
                    return
                await news.wait()
        finally:
            with self._lock:
                self._followers.discard(wake)

    def _wake(self) -> None:
        for wake in self._followers:
            wake()
