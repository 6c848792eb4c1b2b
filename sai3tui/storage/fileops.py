"""Operations on files, blocking, in pieces through one buffer. No threads in here, and no event loop."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from time import monotonic_ns

from sai3tui.config.ops import Op
from sai3tui.config.storage_options import FileOptions, Fsync, PageCacheMode
from sai3tui.errors import ConfigError
from sai3tui.storage.bodies import take_piece
from sai3tui.storage.engine import PIECE_BYTES, Request

_DIRECTORY_MODE = 0o777
_FILE_MODE = 0o666

ALIGNMENT = 4096
"""Of offsets, lengths and memory with O_DIRECT: right for every block size in use."""
SEQUENTIAL_BYTES = 64 * 1024 * 1024
"""Files from this size on are read ahead in mode `auto`."""
TEMPORARY = ".sai3tui-tmp"
"""How the names of files end that are being written, with `atomic`."""


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

    __slots__ = ("_buffer", "_options", "t0", "t_first")

    def __init__(self, options: FileOptions | None = None) -> None:
        self._options = options or FileOptions()
        # A mapping begins with a page, which is what O_DIRECT wants.
        self._buffer = memoryview(mmap.mmap(-1, PIECE_BYTES))
        self.t0 = 0
        self.t_first = 0

    def run(self, root: str, request: Request, stopped: Callable[[], bool], *, direct: bool = False) -> int:
        """Do `request` under `root`; returns the body bytes moved. `direct`: past the page cache.

        `stopped` is asked between pieces. Raises OSError, ConfigError (a key that leads out, a file system without
        O_DIRECT), StoppedError, or what the body or the request's reader raises.
        """
        self.t_first = 0
        self.t0 = monotonic_ns()
        path = path_below(root, request.key)
        match request.op:
            case Op.GET:
                return self._get(path, request, stopped, direct=direct)
            case Op.PUT:
                return self._put(path, request, stopped, direct=direct)
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

    def _get(self, path: str, request: Request, stopped: Callable[[], bool], *, direct: bool) -> int:
        descriptor = _open(path, os.O_RDONLY, direct=direct)
        mode = self._options.page_cache
        reader = request.sink
        try:
            size = os.fstat(descriptor).st_size
            start, end = 0, size
            if request.length >= 0:
                start, end = min(request.offset, size), min(size, request.offset + request.length)
            if not direct:
                _advise(descriptor, mode, size)
            if reader is not None:
                reader.begin()
            offset = start
            while offset < end:
                # O_DIRECT reads whole blocks; what stands before or behind the range is not looked at.
                skipped = offset % ALIGNMENT if direct else 0
                wanted = end - offset + skipped
                buffer = self._buffer[: min(PIECE_BYTES, _aligned(wanted) if direct else wanted)]
                got = min(os.preadv(descriptor, [buffer], offset - skipped) - skipped, end - offset)
                if not self.t_first:
                    self.t_first = monotonic_ns()
                if got <= 0:
                    raise ShortFileError(f"the file ended at {offset} of {size} bytes")
                if reader is not None:
                    reader.take(offset - start, buffer[skipped : skipped + got])
                offset += got
                if offset < end and stopped():
                    raise StoppedError
            self.t_first = self.t_first or monotonic_ns()
            if reader is not None:
                reader.end(offset - start)
            if mode is PageCacheMode.DONTNEED and not direct:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            return offset - start
        finally:
            os.close(descriptor)

    def _put(self, path: str, request: Request, stopped: Callable[[], bool], *, direct: bool) -> int:
        size = request.size
        options = self._options
        piece = take_piece(request, 0) if size else memoryview(b"")
        # The clock runs from where the kernel is asked, not from where the bytes are made.
        self.t0 = monotonic_ns()
        written_to = f"{path}.{os.getpid()}-{threading.get_ident():x}{TEMPORARY}" if options.atomic else path
        descriptor = _create(written_to, direct=direct)
        try:
            offset = 0
            while offset < size:
                self._write(descriptor, piece, offset, direct=direct)
                offset += len(piece)
                if offset < size:
                    if stopped():
                        raise StoppedError
                    piece = take_piece(request, offset)
            if direct and size % ALIGNMENT:
                os.ftruncate(descriptor, size)
            if options.fsync is Fsync.PER_OBJECT:
                os.fsync(descriptor)
            if options.page_cache is PageCacheMode.DONTNEED and not direct:
                # Drops what has been written back by now: all of it after an fsync.
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.close(descriptor)
                if options.atomic or isinstance(error, OSError):
                    os.unlink(written_to)
            raise
        # Network file systems report a failed write here.
        os.close(descriptor)
        if options.atomic:
            os.rename(written_to, path)
            if options.fsync is Fsync.PER_OBJECT:
                _sync_directory(os.path.dirname(path))
        self.t_first = monotonic_ns()
        return size

    def _write(self, descriptor: int, piece: memoryview, offset: int, *, direct: bool) -> None:
        length = len(piece)
        if direct:
            # The file's last block is written whole, and cut afterwards.
            self._buffer[:length] = piece
            piece = self._buffer[: _aligned(length)]
        written = 0
        while written < len(piece):
            written += os.pwrite(descriptor, piece[written:], offset + written)


def sync_filesystem(path: str) -> None:
    """Wait until all that was written to the file system of directory `path` is durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(descriptor)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _advise(descriptor: int, mode: PageCacheMode, size: int) -> None:
    if mode is PageCacheMode.SEQUENTIAL or (mode is PageCacheMode.AUTO and size >= SEQUENTIAL_BYTES):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    elif mode in (PageCacheMode.RANDOM, PageCacheMode.AUTO):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


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
                elif not (entry.is_symlink() or entry.name.endswith(TEMPORARY)):
                    try:
                        size = entry.stat(follow_symlinks=False).st_size
                    except FileNotFoundError:
                        continue  # deleted since the directory was read
                    yield name, size


def _open(path: str, flags: int, *, direct: bool) -> int:
    flags |= os.O_CLOEXEC
    if not direct:
        return os.open(path, flags, _FILE_MODE)
    try:
        return os.open(path, flags | os.O_DIRECT, _FILE_MODE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ConfigError(
            "the file system does not support O_DIRECT",
            hint="write file:// instead of direct://, or use another file system (tmpfs has no O_DIRECT)",
        ) from error


def _create(path: str, *, direct: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        return _open(path, flags, direct=direct)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), _DIRECTORY_MODE, exist_ok=True)
        return _open(path, flags, direct=direct)


def _remove_directory(root: str, path: str, *, recursive: bool) -> None:
    if path.rstrip("/") == root.rstrip("/"):
        raise ConfigError("the directory under test itself is never removed")
    if recursive:
        shutil.rmtree(path)
    else:
        os.rmdir(path)


def _escape(key: str) -> ConfigError:
    return ConfigError(f"the key {key!r} would lead out of the directory under test", hint="write it without '..'")
