"""Op-logs: one row for each operation, as TSV, mostly compressed with zstd. Read and written as streams.

The 13 columns are those of metrics/oplog_lines.py; warp and sai3-bench write the same. What is read may also be CSV
or JSON lines, may name the operation `operation` and the start `t_start`, and may have comments (`#`). Times are
RFC 3339 with nanoseconds. A line that is no row, and the place where a compressed file breaks off, are problems that
are told; they never become figures.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import zstandard

from sai3tui.metrics.oplog_lines import FRAME_BYTES, HEADER, OplogLines

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LEVEL = 1
LONGEST_LINE = 1 << 20
MOST_HELD = 4 * FRAME_BYTES
"""Of a frame, unpacked. Others may write one frame for a whole run."""
_ALIASES = {"operation": "op", "t_start": "start", "size": "bytes"}
_NEEDED = ("op", "start")
_QUOTED = ("endpoint", "error")


@dataclass(frozen=True, slots=True)
class OpRow:
    """One operation. Times are nanoseconds since the Unix epoch; `first_byte_ns` 0: there was none. `error` is empty
    for one that succeeded."""

    op: str
    start_ns: int
    end_ns: int
    first_byte_ns: int = 0
    thread: str = ""
    client_id: str = ""
    n_objects: int = 1
    bytes: int = 0
    endpoint: str = ""
    file: str = ""
    error: str = ""

    @property
    def duration_ns(self) -> int:
        return max(0, self.end_ns - self.start_ns)


@dataclass(frozen=True, slots=True)
class OplogProblem:
    """Something in a file that could not be read. `line` 0: the file as a whole."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


OnProblem = Callable[[OplogProblem], None]


def read_oplog(path: Path, on_problem: OnProblem) -> Generator[OpRow, None, None]:
    """The rows of a file in its order. Raises OSError if it cannot be opened; all else is told to `on_problem`."""
    with path.open("rb") as file:
        compressed = file.read(4) == ZSTD_MAGIC
        file.seek(0)
        lines = _lines(path, _unpacked(path, file, on_problem) if compressed else _chunks(file), on_problem)
        parse: Callable[[str], OpRow] | None = None
        for number, line in lines:
            if not line or line.startswith("#"):
                continue
            try:
                if parse is None:
                    if line.startswith("{"):
                        parse = _from_json
                    else:
                        parse = _from_table(line)
                        continue
                yield parse(line)
            except (ValueError, KeyError, TypeError) as error:
                on_problem(OplogProblem(path, number, f"this is no row: {error}"))
                if parse is None:
                    return


class OplogWriter:
    """Writes rows as TSV compressed with zstd, numbered from 0. A context manager; raises OSError."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._frames = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._stream = self._frames.compressobj()
        self._in_frame = 0
        self._lines = OplogLines()
        self._pending = [HEADER]
        self.count = 0

    def write(self, row: OpRow) -> None:
        self._pending.append(
            self._lines.row(
                self.count,
                row.thread,
                row.op,
                row.client_id,
                row.n_objects,
                row.bytes,
                row.endpoint,
                row.file,
                row.error,
                row.start_ns,
                row.first_byte_ns,
                row.end_ns,
            )
        )
        self.count += 1
        if len(self._pending) >= 4096:
            self._flush()

    def _flush(self) -> None:
        rows = "".join(self._pending).encode()
        self._pending.clear()
        self._file.write(self._stream.compress(rows))
        self._in_frame += len(rows)
        if self._in_frame >= FRAME_BYTES:
            self._file.write(self._stream.flush())
            self._stream = self._frames.compressobj()
            self._in_frame = 0

    def __enter__(self) -> OplogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._flush()
            self._file.write(self._stream.flush())
        finally:
            self._file.close()


def parse_time(text: str) -> int:
    """RFC 3339 with up to nanoseconds, as nanoseconds since the epoch. Raises ValueError."""
    whole, dot, rest = text.partition(".")
    if not dot:
        return int(_moment(text).timestamp()) * 10**9
    digits = len(rest) - len(rest.lstrip("0123456789"))
    if not digits:
        raise ValueError(f"{text!r} is no time")
    seconds = int(_moment(whole + rest[digits:]).timestamp())
    return seconds * 10**9 + int(rest[: min(digits, 9)].ljust(9, "0"))


def _moment(text: str) -> datetime:
    made = datetime.fromisoformat(text)
    if made.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return made


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(1 << 18):
        yield chunk


def _unpacked(path: Path, file: BinaryIO, on_problem: OnProblem) -> Iterator[bytes]:
    """All frames, one after the other, each once its checksum is known to be right if it is not too large to be held;
    what is broken is told, and what was whole before it is given."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    held: list[bytes] = []
    size = 0
    for chunk in _chunks(file):
        data = chunk
        while data:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
                size = 0
            try:
                made = frame.decompress(data)
            except zstandard.ZstdError as error:
                doubt = ", and some of them may be wrong" if size > MOST_HELD else ""
                on_problem(OplogProblem(path, 0, f"broken from here on, rows before it are used{doubt}: {error}"))
                return
            held.append(made)
            size += len(made)
            if frame.eof or size > MOST_HELD:
                yield b"".join(held)
                held.clear()
            data = frame.unused_data if frame.eof else b""
    yield b"".join(held)
    if not frame.eof:
        on_problem(OplogProblem(path, 0, "it breaks off: rows up to there are used"))


def _lines(path: Path, chunks: Iterator[bytes], on_problem: OnProblem) -> Iterator[tuple[int, str]]:
    """Lines without their ends, numbered from 1. The last one counts only if it ends."""
    rest, number = b"", 0
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            yield number, line.rstrip(b"\r").decode(errors="replace")
        if len(rest) > LONGEST_LINE:
            on_problem(OplogProblem(path, number + 1, "a line is too long: this is no op-log"))
            return
    if rest:
        on_problem(OplogProblem(path, number + 1, "the last line breaks off and is left out"))


def _from_table(header: str) -> Callable[[str], OpRow]:
    delimiter = "\t" if "\t" in header else ","
    names = [_ALIASES.get(name.strip().lower(), name.strip().lower()) for name in header.split(delimiter)]
    missing = [name for name in _NEEDED if name not in names]
    if missing or not ("end" in names or "duration_ns" in names):
        raise ValueError("the first line is no header of an op-log: " + ", ".join(missing or ["end"]) + " is missing")

    def parse(line: str) -> OpRow:
        fields = line.split("\t") if delimiter == "\t" else next(csv.reader(io.StringIO(line)))
        if len(fields) != len(names):
            raise ValueError(f"{len(fields)} columns where there are {len(names)}")
        row = dict(zip(names, fields, strict=True))
        if delimiter == "\t" and '"' in line:
            row |= {name: _unquoted(row[name]) for name in _QUOTED if name in row}
        return _row(row)

    return parse


def _unquoted(text: str) -> str:
    """As warp quotes what holds commas or quotes."""
    return text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def _from_json(line: str) -> OpRow:
    document = json.loads(line)
    return _row({_ALIASES.get(name, name): "" if value is None else str(value) for name, value in document.items()})


def _row(fields: Mapping[str, str]) -> OpRow:
    start_ns = parse_time(fields["start"])
    end = fields.get("end", "")
    end_ns = parse_time(end) if end else start_ns + int(fields["duration_ns"])
    if end_ns < start_ns:
        raise ValueError("it ends before it starts")
    first = fields.get("first_byte", "")
    return OpRow(
        fields["op"],
        start_ns,
        end_ns,
        parse_time(first) if first else 0,
        fields.get("thread", ""),
        fields.get("client_id", ""),
        int(fields.get("n_objects") or 1),
        int(fields.get("bytes") or 0),
        fields.get("endpoint", ""),
        fields.get("file", ""),
        fields.get("error", ""),
    )
