"""Files of binary records: a magic line and sized records (lengths are base-128 varints), as zstd frames.

A file that breaks off is good up to there. Where a frame ends, reading may begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import zstandard

from sai3tui.results.files import OnError, OutputFile, write_whole

LEVEL = 1
CHUNK = 128 * 1024
LONGEST = 64 * 1024 * 1024


class RecordFile:
    """Grows. `flush` makes all so far readable; `end_frame` also ends the zstd frame."""

    def __init__(self, path: Path, on_error: OnError, magic: bytes, kept: Iterator[bytes] | None = None) -> None:
        """A file that exists is gone on with, after it was written anew with the records `kept`, if they are given."""
        self._compressor = _compressor().compressobj()
        self._pending: list[bytes] = []
        fresh = kept is not None or not path.is_file()
        if kept is not None:
            write_whole(path, packed(magic, kept), on_error)
        elif fresh:
            self._pending.append(magic)
        self.size = path.stat().st_size if path.is_file() else 0
        self._file = OutputFile(path, on_error)
        self._closed = False

    def add(self, *parts: bytes) -> None:
        """One record after the other."""
        for part in parts:
            self._pending += [varint(len(part)), part]

    def flush(self) -> None:
        if self._pending:
            data = self._compressor.compress(b"".join(self._pending))
            self._pending.clear()
            self._write(data + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        self._file.flush()

    def end_frame(self) -> int:
        """Until the disk has it; returns where the next frame begins."""
        self.flush()
        self._write(self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH))
        self._compressor = _compressor().compressobj()
        self._file.sync()
        return self.size

    def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.end_frame()
        self._file.close()

    def _write(self, data: bytes) -> None:
        self.size += len(data)
        self._file.write(data)


def packed(magic: bytes, records: Iterator[bytes]) -> bytes:
    """A whole file."""
    parts = [magic]
    for record in records:
        parts += [varint(len(record)), record]
    return compressed(b"".join(parts))


def compressed(data: bytes) -> bytes:
    """As one frame, with a checksum."""
    return _compressor().compress(data)


def _compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)


def read_records(
    path: Path, magic: bytes, start: int = 0, end: int | None = None, damage: list[str] | None = None
) -> Iterator[bytes]:
    """Records in the order written, up to where the file is whole; of the frames between two places in it.

    `damage` gets a sentence if it is not only cut off there. Raises OSError if it cannot be read, ValueError if it is
    another kind of file.
    """
    with path.open("rb") as file:
        stream = _Stream(file, end)
        if start == 0:
            if stream.read(len(magic)) != magic:
                raise ValueError(f"{path} is no {magic.decode().split('-')[1]} file")
        else:
            file.seek(start)
        while (record := _sized(stream)) is not None:
            yield record
        if stream.damaged and damage is not None:
            damage.append(f"{path.name} is damaged: what follows byte {stream.frame_at} is not to be relied on")


def whole_frames(path: Path, end: int) -> bool:
    """Whether the frames up to `end` are there and as they were written, by their checksums. Raises OSError."""
    with path.open("rb") as file:
        stream = _Stream(file, end)
        while stream.read(CHUNK):
            pass
        return stream.complete and file.tell() == end


class _Stream:
    """The bytes of all frames, one after the other, as far as they can be had."""

    def __init__(self, file: IO[bytes], end: int | None) -> None:
        self._file = file
        self._end = end
        self._buffer = bytearray()
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self.damaged = False
        self.frame_at = 0
        """Where the frame begins that is read."""

    @property
    def complete(self) -> bool:
        """All that was read was whole frames."""
        return not self.damaged and (self._frame.eof or not self._begun)

    def read(self, size: int) -> bytes:
        """`size` bytes; fewer at the end or where the file is broken."""
        while len(self._buffer) < size and self._fill():
            pass
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _fill(self) -> bool:
        if self.damaged:
            return False
        data = self._frame.unused_data if self._frame.eof else b""
        left = CHUNK if self._end is None else min(CHUNK, self._end - self._file.tell())
        data = data or self._file.read(max(0, left))
        if not data:
            return False
        if self._frame.eof or not self._begun:
            self.frame_at = self._file.tell() - len(data)
            self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._begun = True
        try:
            self._buffer += self._frame.decompress(data)
        except zstandard.ZstdError:
            self.damaged = True
            return False
        return True


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


def varint(number: int) -> bytes:
    """Base 128, the lowest seven bits first."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
