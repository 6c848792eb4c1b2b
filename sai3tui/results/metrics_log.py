"""`metrics.zst`: every report of every agent, so that a finished run can be opened again with all its histograms.

A zstd stream of records: length and name of the agent, length and bytes of a `Report` message; lengths are base-128
varints. Times are on the controller's clock. A stream that breaks off is good up to there. Counts are those of each
report; histograms of a run older than ten minutes are rolled up (results/rollup.py) and stand in records that span no
time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import zstandard
from google.protobuf.message import DecodeError

from sai3tui.event_codec import report_from_proto, report_to_proto
from sai3tui.events import Report
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.files import OnError, OutputFile, write_whole
from sai3tui.results.rollup import RollUp

MAGIC = b"sai3tui-metrics-1\n"
LEVEL = 3
CHUNK = 128 * 1024
LONGEST = 64 * 1024 * 1024


class MetricsLog:
    """Writes it. `flush` makes all so far readable; `end_frame` also ends the zstd frame.

    A file that exists is gone on with: it is first written anew with what `kept` says of it.
    """

    def __init__(self, path: Path, on_error: OnError, kept: Sequence[Report] = ()) -> None:
        self._compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        self._pending = [MAGIC]
        self._rollup = RollUp(kept[0].start_ns if kept else 0)
        if path.is_file():
            for report in kept:
                self._record(report)
            write_whole(path, self._compressor.compress(b"".join(self._pending)) + self._compressor.flush(), on_error)
            self._pending.clear()
            self._compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        self._file = OutputFile(path, on_error)
        self._closed = False

    def write(self, report: Report) -> None:
        for stored in self._rollup.add(report):
            self._record(stored)

    def _record(self, report: Report) -> None:
        name = report.agent.encode()
        body = _stored_bytes(report)
        self._pending += [_varint(len(name)), name, _varint(len(body)), body]

    def flush(self) -> None:
        if self._pending:
            data = self._compressor.compress(b"".join(self._pending))
            data += self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
            self._pending.clear()
            self._file.write(data)
        self._file.flush()

    def end_frame(self) -> None:
        for stored in self._rollup.flush():
            self._record(stored)
        self.flush()
        self._file.write(self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH))
        self._compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        self._file.sync()

    def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        for stored in self._rollup.flush():
            self._record(stored)
        self.flush()
        self._file.write(self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH))
        self._file.close()


def read_reports(path: Path) -> Iterator[Report]:
    """Reports in the order written, up to where the file is whole.

    Raises OSError if it cannot be read, ValueError if it is another kind of file.
    """
    with path.open("rb") as file:
        stream = _Stream(file)
        if stream.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path} is no metrics file")
        while True:
            report = _record(stream)
            if report is None:
                return
            yield report


class _Stream:
    """The bytes of all frames, one after the other, as far as they can be had."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._buffer = bytearray()
        self._frame = zstandard.ZstdDecompressor().decompressobj()

    def read(self, size: int) -> bytes:
        """`size` bytes; fewer at the end or where the file is broken."""
        while len(self._buffer) < size and self._fill():
            pass
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _fill(self) -> bool:
        data = self._frame.unused_data if self._frame.eof else b""
        data = data or self._file.read(CHUNK)
        if not data:
            return False
        if self._frame.eof:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            self._buffer += self._frame.decompress(data)
        except zstandard.ZstdError:
            self._file.seek(0, 2)
            return False
        return True


def _stored_bytes(report: Report) -> bytes:
    """The message as it came, on our clock: making it anew out of histograms costs ten times as much."""
    if report.wire is None:
        return report_to_proto(report).SerializeToString()
    stored = pb.Report()
    stored.CopyFrom(report.wire)
    stored.sequence = report.sequence
    offset_ns = report.start_ns - stored.start_ns
    if offset_ns:
        stored.start_ns += offset_ns
        stored.end_ns += offset_ns
        for attempts in stored.failed_attempts:
            if attempts.first_ns:
                attempts.first_ns += offset_ns
            if attempts.last_ns:
                attempts.last_ns += offset_ns
    return stored.SerializeToString()


def _record(stream: _Stream) -> Report | None:
    name = _sized(stream)
    body = _sized(stream) if name is not None else None
    if name is None or body is None:
        return None
    try:
        return report_from_proto(pb.Report.FromString(body), name.decode())
    except (DecodeError, ValueError, OverflowError):
        return None


def _sized(stream: _Stream) -> bytes | None:
    length = shift = 0
    while True:
        byte = stream.read(1)
        if not byte or shift > 35:
            return None
        length |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            break
        shift += 7
    if length > LONGEST:
        return None
    data = stream.read(length)
    return data if len(data) == length else None


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
