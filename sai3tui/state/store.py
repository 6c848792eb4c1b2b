"""LMDB with one writer thread: rows are handed over in memory and committed in groups."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Protocol

import lmdb

from sai3tui.errors import ErrorContext, ResourceError

Rows = Mapping[bytes, bytes | None]
"""Key to value; None deletes."""

MAP_SLACK = 512 * 1024 * 1024

WRITER = "state-cache"
"""The name of the writer thread."""

CLOSER = "state-cache-close"
"""That of one that waits for the end of others."""

CLOSE_S = 30.0
"""So long `close` waits for what was handed over to be on disk: one that is busy takes its time."""

COPY_GRACE_S = 5.0
"""So long it waits then for a copy, which by now has been told to stop."""

COPY_ROWS = 256
"""So many rows are copied between two questions whether to stop."""


class Store(Protocol):
    """Rows by key. Writing methods raise ResourceError when the store has failed."""

    directory: Path

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]: ...

    @property
    def failed(self) -> bool: ...

    def put(self, rows: Rows) -> None: ...

    async def commit(self, rows: Rows) -> None: ...

    def copy_to(self, directory: Path, stopped: Callable[[], bool]) -> None: ...

    async def close(self) -> str: ...


class MemoryStore:
    """A `Store` that keeps records of generations and names, and neither states nor failures: those are in the
    memory of who works with them. Nothing outlives the process."""

    failed = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(row for row in self._rows.items() if row[0].startswith(prefix)))

    def put(self, rows: Rows) -> None:
        for key, value in rows.items():
            if value is None:
                self._rows.pop(key, None)
            elif not key.startswith((b"st/", b"fl/")):
                self._rows[key] = value

    async def commit(self, rows: Rows) -> None:
        self.put(rows)

    def copy_to(self, directory: Path, stopped: Callable[[], bool]) -> None:
        """There is nothing to copy."""
        raise ResourceError(f"there is no state cache in {self.directory} to copy to {directory}")

    async def close(self) -> str:
        self._rows.clear()
        return ""


class StateStore:
    """One LMDB environment. Reads see what is committed; `commit` returns when its rows are on disk.

    Use it on one event loop. All methods that write raise ResourceError, naming the directory, once a commit failed.
    """

    def __init__(self, directory: Path, environment: lmdb.Environment) -> None:
        self.directory = directory
        self._environment = environment
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._rows: dict[bytes, bytes | None] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._closing = False
        self._in_use = threading.Lock()
        """By a copy, which a closed environment would crash."""
        self._error: ResourceError | None = None
        self._thread = threading.Thread(target=self._write, name=WRITER, daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, directory: Path, objects: int) -> StateStore:
        """The store in `directory`, made if it is not there, with room for the states of `objects` objects."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            # Copy-on-write needs old and new pages at once, and generations overlap. The file is sparse.
            environment = lmdb.open(
                os.fspath(directory), map_size=MAP_SLACK + 2 * objects, metasync=False, max_readers=16, subdir=True
            )
        except (OSError, lmdb.Error) as error:
            raise _unusable(directory, "cannot be opened") from error
        return cls(directory, environment)

    def get(self, key: bytes) -> bytes | None:
        with self._environment.begin() as transaction:
            value = transaction.get(key)
        return None if value is None else bytes(value)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All committed rows whose key starts with `prefix`, in order."""
        with self._environment.begin() as transaction, transaction.cursor() as cursor:
            found = cursor.set_range(prefix)
            while found and bytes(cursor.key()).startswith(prefix):
                yield bytes(cursor.key()), bytes(cursor.value())
                found = cursor.next()

    @property
    def failed(self) -> bool:
        """Whether a commit failed: nothing can be written any more."""
        return self._error is not None

    def put(self, rows: Rows) -> None:
        """Hand `rows` over; they are committed soon."""
        self._hand_over(rows, None)

    async def commit(self, rows: Rows) -> None:
        """Hand `rows` over and wait until they, and all handed over before, are on disk."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._hand_over(rows, done)
        await done

    def copy_to(self, directory: Path, stopped: Callable[[], bool]) -> None:
        """A compact copy of what is committed, into an existing empty directory, from any thread. It ends early, and is
        no copy then, when `stopped` says so; `close` waits for it. Raises ResourceError."""
        try:
            with self._in_use:
                if self._closing:
                    return
                size = self._environment.info()["map_size"]
                with lmdb.open(os.fspath(directory), map_size=size, sync=False, subdir=True) as copy:
                    self._copy(copy, stopped)
        except lmdb.Error as error:
            raise _unusable(directory, "cannot take a copy of the state cache") from error

    def _copy(self, copy: lmdb.Environment, stopped: Callable[[], bool]) -> None:
        # One view of what is committed; what has been copied is written out now and then, to take no memory.
        with self._environment.begin() as transaction, transaction.cursor() as cursor:
            rows = cursor.iternext()
            while not stopped() and (some := list(islice(rows, COPY_ROWS))):
                with copy.begin(write=True) as target:
                    for key, value in some:
                        target.put(key, value, append=True)

    async def close(self) -> str:
        """Commit what was handed over and close. Idempotent. Raises ResourceError if the last commit failed, or does
        not end within `CLOSE_S`.

        Returns what had to be left behind, empty if nothing: a copy in which the kernel hangs keeps the environment
        open, and with it the directory for this process.
        """
        if self._closing:
            return ""
        with self._wake:
            self._closing = True
            self._wake.notify()
        written, closed = asyncio.Event(), asyncio.Event()
        threading.Thread(target=self._end, args=(written, closed), name=CLOSER, daemon=True).start()
        if not await _within(CLOSE_S, written):
            raise ResourceError(
                f"the state cache in {self.directory} was not written within {CLOSE_S:g} s: its disk does not answer",
                hint="see the kernel's log about that disk, and restart the agent before its next run",
                context=ErrorContext(uri=str(self.directory)),
            )
        left = ""
        if not await _within(COPY_GRACE_S, closed):
            left = (
                f"a copy of the state cache in {self.directory} has not ended within {COPY_GRACE_S:g} s: all is "
                "recorded, but until it ends a next run on these objects needs another process"
            )
        if self._error is not None and self._rows:
            raise self._error
        return left

    def _end(self, written: asyncio.Event, closed: asyncio.Event) -> None:
        # Whoever hangs in the kernel is left behind together with this thread.
        with suppress(RuntimeError):  # nobody waits any more, and the loop is closed
            self._thread.join()
            self._loop.call_soon_threadsafe(written.set)
            with self._in_use:
                self._environment.close()
            self._loop.call_soon_threadsafe(closed.set)

    def _hand_over(self, rows: Rows, done: asyncio.Future[None] | None) -> None:
        with self._wake:
            if self._closing:
                raise ResourceError(f"the state cache in {self.directory} is closed")
            if self._error is not None:
                raise self._error
            self._rows.update(rows)
            if done is not None:
                self._waiting.append(done)
            self._wake.notify()

    def _write(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._rows or self._waiting or self._closing)
                if not (self._rows or self._waiting):
                    return
                rows, self._rows = self._rows, {}
                waiting, self._waiting = self._waiting, []
            error: ResourceError | None = None
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in rows.items():
                        if value is None:
                            transaction.delete(key)
                        else:
                            transaction.put(key, value)
            except (lmdb.Error, OSError) as cause:
                error = _unusable(self.directory, "cannot be written")
                error.__cause__ = cause
            if error is not None:
                with self._wake:
                    self._error = error
                    waiting += self._waiting
                    self._waiting = []
                    self._rows = {**rows, **self._rows}
            self._loop.call_soon_threadsafe(_settle, waiting, error)
            if error is not None:
                return


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Whether it happens within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _settle(waiting: list[asyncio.Future[None]], error: ResourceError | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _unusable(directory: Path, what: str) -> ResourceError:
    return ResourceError(
        f"the state cache in {directory} {what}",
        hint="make room there or choose another place with --data-dir",
        context=ErrorContext(uri=str(directory)),
    )
