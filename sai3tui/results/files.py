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
    """A file that grows. After its first error it takes nothing more; the error goes to `on_error`, once. One that
    exists is gone on with, unless `anew`."""

    def __init__(self, path: Path, on_error: OnError, *, anew: bool = False) -> None:
        self.path = path
        self._on_error = on_error
        self._file: IO[bytes] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb" if anew else "ab")
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
    """A table, begun anew: whoever goes on with a run has all that it is made of replayed."""

    def __init__(self, path: Path, on_error: OnError, header: str) -> None:
        super().__init__(path, on_error, anew=True)
        self.write(header.encode())

    def row(self, line: str) -> None:
        """One line, with its end."""
        self.write(line.encode())


def cut_half_line(path: Path) -> int:
    """Take away what a writer that was killed has left of a line at the end of a file; returns how many whole ones
    there are. Raises OSError."""
    lines = end = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                lines += 1
                end += len(line)
    os.truncate(path, end)
    return lines


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
