"""A worker's op-log: a row for each request, in a file of its own, nothing dropped.

Rows are made as requests end and compressed in pieces, so that what is held in memory is bounded; a disk that is too
slow slows the worker down, which shows in its lag. Twice a second all so far goes to the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import zstandard

from sai3tui.agent.controller_clock import ClockReading
from sai3tui.errors import Failure, ResourceError
from sai3tui.metrics.oplog_lines import FRAME_BYTES, HEADER, OplogLines
from sai3tui.storage.engine import Endpoint, Request

LEVEL = 1
ROWS = 128
"""So many are compressed at once: some 20 KiB, a tenth of a millisecond."""
FLUSH_TICKS = 2
MOST_NAMES = 10_000


class WorkerOplog:
    """Writes `<stem>-worker-<number>.tsv.zst`; one that is there is not overwritten. `clock` is what is known of the
    controller's, by which rows have their times, so that logs of several agents fit together. Raises ResourceError."""

    def __init__(self, stem: Path, number: int, agent: str, endpoints: Sequence[Endpoint], clock: ClockReading) -> None:
        self.path, self._file = _new_file(stem, number)
        self._agent = agent
        self._thread = str(number)
        self._endpoints = [endpoint.uri for endpoint in endpoints]
        self.hear(clock)
        self._frames = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._compressor = self._frames.compressobj()
        self._in_frame = 0
        self._rows = [HEADER]
        self._lines = OplogLines()
        self._count = 0
        self._ticks = 0

    def hear(self, clock: ClockReading) -> None:
        """The controller's clock is known better."""
        self._clock = clock
        self._offset_ns = clock.offset_ns(time.monotonic_ns())

    def add(
        self, request: Request, endpoint: int, size: int, failure: Failure | None, t0: int, t_first: int, t_last: int
    ) -> None:
        """A request that ended; times are monotonic, `t_first` 0 where there was no first byte."""
        offset = self._offset_ns
        self._rows.append(
            self._lines.row(
                self._count,
                self._thread,
                request.op.name,
                self._agent,
                1,
                size,
                self._endpoints[endpoint],
                request.key,
                failure.sentence() if failure is not None else "",
                t0 + offset,
                t_first + offset if t_first else 0,
                t_last + offset,
            )
        )
        self._count += 1
        if len(self._rows) >= ROWS:
            self._compress()

    def tick(self) -> None:
        """Called a few times a second."""
        self._offset_ns = self._clock.offset_ns(time.monotonic_ns())
        self._ticks += 1
        if self._ticks % FLUSH_TICKS == 0:
            self._compress()
            self._write(self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), now=True)

    def close(self) -> None:
        """The file is whole. Idempotent."""
        if self._file.closed:
            return
        try:
            self._compress()
            self._write(self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH), now=True)
        finally:
            self._file.close()

    def _compress(self) -> None:
        rows = "".join(self._rows).encode()
        self._rows.clear()
        data = self._compressor.compress(rows)
        self._in_frame += len(rows)
        if self._in_frame >= FRAME_BYTES:
            data += self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)
            self._compressor = self._frames.compressobj()
            self._in_frame = 0
        if data:
            self._write(data)

    def _write(self, data: bytes, *, now: bool = False) -> None:
        try:
            self._file.write(data)
            if now:
                self._file.flush()
        except OSError as error:
            raise _error(self.path, error) from error


def _new_file(stem: Path, number: int) -> tuple[Path, IO[bytes]]:
    """A worker that takes the place of one that died, and a later run, have files of their own."""
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for again in range(1, MOST_NAMES):
            suffix = f"-{again}" if again > 1 else ""
            path = stem.with_name(f"{stem.name}-worker-{number}{suffix}.tsv.zst")
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                continue
            return path, os.fdopen(descriptor, "wb")
    except OSError as error:
        raise _error(stem, error) from error
    raise ResourceError(f"there are {MOST_NAMES} op-logs of {stem} already", hint="remove the old ones")


def _error(path: Path, error: OSError) -> ResourceError:
    return ResourceError(f"cannot write the op-log {path}: {error.strerror}", hint="check permissions and free space")
