"""Files of binary records: a magic line and sized records (lengths are base-128 varints), as zstd frames.

Whenever a file is made readable, a seal follows the records: a length of zero, the CRC-32 of all bytes since the last
seal, and a number from the writer. Records count once their seal is there: so the frame that a killed writer left open
is checked too, and what is lost with it is what came after its last seal. Where a frame ends, reading may begin.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import zstandard

from sai3tui.metrics.varints import varint
from sai3tui.results.files import OnError, OutputFile, write_whole

LEVEL = 1
CHUNK = 128 * 1024
LONGEST = 64 * 1024 * 1024
CRC_BYTES = 4
SEALED_AT_ONCE = 1024
"""Records, where a whole file is written: a reader holds so many. Even, as some stand in pairs."""


@dataclass(slots=True)
class Condition:
    """In what condition a file was found, as far as it was read. `number` is the highest of its seals."""

    number: int = 0
    damage: list[str] = field(default_factory=list)
    """What is not as it was written, beside that it breaks off."""


class RecordFile:
    """Grows. `flush` makes all so far readable; `end_frame` also ends the zstd frame."""

    def __init__(self, path: Path, on_error: OnError, magic: bytes, kept: Iterator[bytes] | None = None) -> None:
        """A file that exists is gone on with, after it was written anew with the records `kept`, if they are given."""
        self._compressor = _compressor().compressobj()
        self._pending: list[bytes] = []
        if kept is not None:
            write_whole(path, packed(magic, kept), on_error)
        elif not path.is_file():
            self._pending.append(magic)
        self.size = path.stat().st_size if path.is_file() else 0
        self._file = OutputFile(path, on_error)
        self._closed = False

    def add(self, *parts: bytes) -> None:
        """One record after the other."""
        for part in parts:
            self._pending += [varint(len(part)), part]

    def flush(self, number: int = 0) -> None:
        """`number` goes into the seal of what is flushed; it is 0 or more."""
        if self._pending:
            data = self._compressor.compress(sealed(self._pending, number))
            self._pending.clear()
            self._write(data + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        self._file.flush()

    def end_frame(self, number: int = 0) -> int:
        """Until the disk has it; returns where the next frame begins."""
        self.flush(number)
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
    pieces: list[bytes] = []
    parts = [magic]
    for number, record in enumerate(records, 1):
        parts += [varint(len(record)), record]
        if number % SEALED_AT_ONCE == 0:
            pieces.append(sealed(parts, 0))
            parts = []
    return compressed(b"".join([*pieces, sealed(parts, 0)]))


def sealed(parts: list[bytes], number: int) -> bytes:
    """Parts of a file with the seal that makes them count."""
    data = b"".join(parts)
    return b"".join((data, varint(0), zlib.crc32(data).to_bytes(CRC_BYTES, "little"), varint(number)))


def compressed(data: bytes) -> bytes:
    """As one frame, with a checksum."""
    return _compressor().compress(data)


def _compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)


def read_records(
    path: Path, magic: bytes, start: int = 0, end: int | None = None, condition: Condition | None = None
) -> Iterator[bytes]:
    """Records in the order written, up to the last seal before the file breaks off; of the frames between two places
    in it.

    `condition` gets how the file was found. Raises OSError if it cannot be read, ValueError if it is another kind of
    file.
    """
    found = condition if condition is not None else Condition()
    with path.open("rb") as file:
        stream = _Stream(file, end)
        crc = 0
        if start == 0:
            head = stream.read(len(magic))
            if not magic.startswith(head) or (stream.damaged and len(head) < len(magic)):
                raise ValueError(f"{path} is no {magic.decode().split('-')[1]} file")
            crc = zlib.crc32(head)
        else:
            file.seek(start)
        records: list[bytes] = []
        whole = True
        while (prefix := stream.varint()) is not None:
            length, head = prefix
            if length == 0:
                sealed = stream.read(CRC_BYTES)
                number = stream.varint()
                if len(sealed) < CRC_BYTES or number is None:
                    break
                whole = int.from_bytes(sealed, "little") == crc
                if not whole:
                    break
                yield from records
                records, crc, found.number = [], 0, max(found.number, number[0])
                continue
            whole = length <= LONGEST
            data = stream.read(length) if whole else b""
            if len(data) < length:
                break
            crc = zlib.crc32(data, zlib.crc32(head, crc))
            records.append(data)
        if stream.damaged or not whole:
            found.damage.append(f"{path.name} is damaged: what follows byte {stream.frame_at} is not to be relied on")


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

    def varint(self) -> tuple[int, bytes] | None:
        """A number, and how it stands there; None at the end, `LONGEST` and more where it is none."""
        number = shift = 0
        raw = bytearray()
        while byte := self.read(1):
            raw += byte
            number |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80 or shift > 63:
                return number, bytes(raw)
            shift += 7
        return None

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
