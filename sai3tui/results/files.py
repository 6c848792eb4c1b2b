"""Files of a results directory: written as the run goes, and never the reason why a run is lost."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sai3tui.errors import ResourceError

OnError = Callable[[ResourceError], None]


def write_error(path: Path, error: OSError) -> ResourceError:
    """`error` with the file's name and what to do."""
    made = ResourceError(
        f"cannot write {path}: {error.strerror or error}",
        hint="make room or choose another place with --results DIR; what was written before is kept",
    )
    made.__cause__ = error
    return made


class OutputFile:
    """A file that grows. After its first error it takes nothing more; the error goes to `on_error`, once."""

    def __init__(self, path: Path, on_error: OnError) -> None:
        self.path = path
        self._on_error = on_error
        self._file: IO[bytes] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
        except OSError as error:
            self._fail(error)

    def write(self, data: bytes) -> None:
        self._do(lambda file: file.write(data))

    def lock(self) -> bool:
        """Keep other writers out for as long as it is open; False if there is one already."""
        if self._file is None:
            return True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def flush(self) -> None:
        self._do(lambda file: file.flush())

    def sync(self) -> None:
        """Until the disk has it."""

        def sync(file: IO[bytes]) -> None:
            file.flush()
            os.fsync(file.fileno())

        self._do(sync)

    def close(self) -> None:
        """Sync and close. Idempotent."""
        self.sync()
        if self._file is not None:
            self._do(lambda file: file.close())
            self._file = None

    def _do(self, action: Callable[[IO[bytes]], object]) -> None:
        if self._file is None:
            return
        try:
            action(self._file)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as second:
                # Closing writes what is buffered, which fails as the write before did.
                error.add_note(f"and on closing: {second}")
        self._on_error(write_error(self.path, error))


class RowFile(OutputFile):
    """A file of lines. One that exists is gone on with: half a line at its end goes, and what `key` says is a row that
    it has already is not written again."""

    def __init__(self, path: Path, on_error: OnError, header: str = "", key: Callable[[bytes], bytes] = bytes) -> None:
        self._key = key
        self._known: set[bytes] = set()
        try:
            self._known = _whole_lines(path, key)
        except OSError as error:
            on_error(write_error(path, error))
        super().__init__(path, on_error)
        if header and not self._known:
            self.write(header.encode())

    def cut(self, keep: Callable[[list[bytes]], bool], separator: bytes = b"\t") -> None:
        """Take away the rows from the first one on whose fields `keep` does not want. To be called before `row`."""
        if not self._known:
            return
        end, cutting = 0, False
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                cutting = cutting or (number > 0 and not line.startswith(b"#") and not keep(line.split(separator)))
                if cutting:
                    self._known.discard(self._key(line))
                else:
                    end += len(line)
        os.truncate(self.path, end)

    def row(self, line: str) -> None:
        """One line, with its end."""
        data = line.encode()
        if not self._known or self._key(data) not in self._known:
            self.write(data)


def first_fields(number: int, separator: bytes, after: int = 0) -> Callable[[bytes], bytes]:
    """Rows are the same if so many of their first fields are, those before field `after` left out."""
    return lambda line: separator.join(line.split(separator, number)[after:number])


def _whole_lines(path: Path, key: Callable[[bytes], bytes]) -> set[bytes]:
    """Keys of the lines of a file, which is cut where its last whole line ends."""
    if not path.is_file():
        return set()
    known = set()
    end = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                known.add(key(line))
                end += len(line)
    os.truncate(path, end)
    return known


def write_whole(path: Path, data: bytes, on_error: OnError) -> bool:
    """Replace a file at once, so that nobody reads half of it. Returns whether that worked."""
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        try:
            draft.unlink(missing_ok=True)
        except OSError as second:
            error.add_note(f"and on removing the draft: {second}")
        on_error(write_error(path, error))
        return False
    return True


def safe_name(text: str) -> str:
    """`text` as one path component: other characters than letters, digits, `.`, `_` and `-` become `_`."""
    name = re.sub(r"[^\w.-]", "_", text, flags=re.ASCII).lstrip(".")
    return name[:100] or "_"


def utc_text(time_ns: int) -> str:
    """RFC 3339, UTC, milliseconds."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
