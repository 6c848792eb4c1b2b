"""Operations on files, blocking, in pieces through one buffer. No threads in here, and no event loop."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from time import monotonic_ns

from sai3tui.config.ops import Op
from sai3tui.errors import ConfigError
from sai3tui.storage.bodies import take_piece
from sai3tui.storage.engine import PIECE_BYTES, Request

_DIRECTORY_MODE = 0o777
_FILE_MODE = 0o666


class ShortFileError(OSError):
    """A file ended before the size it had when it was opened."""


class StoppedError(Exception):
    """The operation was cancelled between two pieces."""


def path_below(root: str, key: str) -> str:
    """The path of `key` under directory `root` (absolute, ending in `/`).

    Raises ConfigError for a key that could lead out of `root`: absolute, with `.` or `..`, empty parts or NUL.
    """
    if key.startswith("/") or "\0" in key or "//" in key:
        raise _escape(key)
    if "." in key and any(part in (".", "..") for part in key.split("/")):
        raise _escape(key)
    return root + key


class FileWork:
    """One thread's means to do operations: a buffer, and the times of the last operation in ns."""

    __slots__ = ("_buffer", "t0", "t_first")

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self.t0 = 0
        self.t_first = 0

    def run(self, root: str, request: Request, stopped: Callable[[], bool]) -> int:
        """Do `request` under `root`; returns the body bytes moved.

        `stopped` is asked between pieces. Raises OSError, ConfigError (a key that leads out), StoppedError, or what
        the body raises.
        """
        self.t_first = 0
        self.t0 = monotonic_ns()
        path = path_below(root, request.key)
        match request.op:
            case Op.GET:
                return self._get(path, stopped)
            case Op.PUT:
                return self._put(path, request, stopped)
            case Op.STAT:
                os.stat(path)
            case Op.DELETE:
                os.unlink(path)
            case Op.LIST:
                list_page(path, request.limit, recursive=request.recursive)
            case Op.MKDIR:
                os.makedirs(path, _DIRECTORY_MODE, exist_ok=True)
            case Op.RMDIR:
                _remove_directory(root, path, recursive=request.recursive)
        self.t_first = monotonic_ns()
        return 0

    def _get(self, path: str, stopped: Callable[[], bool]) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            buffers = [self._buffer]
            offset = 0
            while offset < size:
                got = os.preadv(descriptor, buffers, offset)
                if not self.t_first:
                    self.t_first = monotonic_ns()
                if got == 0:
                    raise ShortFileError(None, f"the file ended at {offset} of {size} bytes")
                offset += got
                if offset < size and stopped():
                    raise StoppedError
            self.t_first = self.t_first or monotonic_ns()
            return offset
        finally:
            os.close(descriptor)

    def _put(self, path: str, request: Request, stopped: Callable[[], bool]) -> int:
        size = request.size
        piece = take_piece(request, 0) if size else memoryview(b"")
        # The clock runs from where the kernel is asked, not from where the bytes are made.
        self.t0 = monotonic_ns()
        descriptor = _create(path)
        try:
            offset = 0
            while offset < size:
                written = 0
                while written < len(piece):
                    written += os.pwrite(descriptor, piece[written:], offset + written)
                offset += len(piece)
                if offset < size:
                    if stopped():
                        raise StoppedError
                    piece = take_piece(request, offset)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.close(descriptor)
                if isinstance(error, OSError):
                    os.unlink(path)
            raise
        # Network file systems report a failed write here.
        os.close(descriptor)
        self.t_first = monotonic_ns()
        return size


def list_page(path: str, limit: int, *, recursive: bool) -> list[tuple[str, int]]:
    """Up to `limit` files below directory `path`, as (name relative to it, size in bytes)."""
    found: list[tuple[str, int]] = []
    for entry in walk_files(path, recursive=recursive):
        if len(found) >= limit:
            break
        found.append(entry)
    return found


def walk_files(path: str, *, recursive: bool) -> Iterator[tuple[str, int]]:
    """Files below directory `path`: (name relative to it, size in bytes). Does not follow symbolic links."""
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(os.path.join(path, below)) as entries:
            for entry in entries:
                name = below + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if recursive:
                        pending.append(name + "/")
                elif not entry.is_symlink():
                    try:
                        size = entry.stat(follow_symlinks=False).st_size
                    except FileNotFoundError:
                        continue  # deleted since the directory was read
                    yield name, size


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, _FILE_MODE)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), _DIRECTORY_MODE, exist_ok=True)
        return os.open(path, flags, _FILE_MODE)


def _remove_directory(root: str, path: str, *, recursive: bool) -> None:
    if path.rstrip("/") == root.rstrip("/"):
        raise ConfigError("the directory under test itself is never removed")
    if recursive:
        shutil.rmtree(path)
    else:
        os.rmdir(path)


def _escape(key: str) -> ConfigError:
    return ConfigError(f"the key {key!r} would lead out of the directory under test", hint="write it without '..'")
