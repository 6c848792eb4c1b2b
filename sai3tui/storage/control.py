"""Single, careful calls to the storage: preflight, HEAD samples, listings, checkpoints. Not for load.

`open_control` gives the plane for an endpoint; keys are relative to the endpoint's prefix. Every call is bounded in
time, asks once, and raises StorageError with the whole chain of causes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import islice
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from sai3tui.config.ops import Op
from sai3tui.config.storage_options import S3Options
from sai3tui.errors import ConfigError, ErrorContext, ErrorKind, Failure, StorageError
from sai3tui.storage.engine import PIECE_BYTES, Endpoint
from sai3tui.storage.failures import file_failure, lost_failure, storage_error, timeout_failure
from sai3tui.storage.fileops import StoppedError, path_below, walk_files
from sai3tui.storage.stoppable import Stopped, stoppable

T = TypeVar("T")

CALL_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
_PAGE = 1000


class Control(Protocol):
    """What both planes offer. Use as an async context manager."""

    endpoint: Endpoint

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def head_bucket(self) -> None:
        """Return if the bucket (or directory) is there and these credentials reach it."""
        ...

    async def put(self, key: str, data: bytes) -> None: ...

    async def get(self, key: str) -> bytes | None:
        """The whole object, None if there is none."""
        ...

    async def head(self, key: str) -> int | None:
        """The object's size in bytes, None if there is none."""
        ...

    async def delete(self, key: str) -> None:
        """Delete the object; one that is not there is no error."""
        ...

    def list(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        """All objects whose key begins with `prefix`: (key, size in bytes), page by page."""
        ...


def open_control(
    endpoint: Endpoint,
    environ: Mapping[str, str],
    *,
    timeout: float = CALL_TIMEOUT_S,
    options: S3Options | None = None,
) -> Control:
    """The control plane for `endpoint`; `timeout` in seconds bounds every call. Raises ConfigError for a scheme that
    has none."""
    if endpoint.scheme == "s3":
        return ControlPlane(endpoint, environ, timeout=timeout, options=options)
    if endpoint.scheme in ("file", "direct"):
        return FileControlPlane(endpoint, timeout=timeout)
    raise ConfigError(f"there is no control plane for {endpoint.scheme}://", context=ErrorContext(uri=endpoint.uri))


class ControlPlane:
    """Control calls to S3 through aioboto3."""

    def __init__(
        self,
        endpoint: Endpoint,
        environ: Mapping[str, str] | None = None,
        *,
        timeout: float = CALL_TIMEOUT_S,
        options: S3Options | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._options = options
        self._environ = os.environ if environ is None else environ
        self._timeout = timeout
        self._manager: AbstractAsyncContextManager[Any] | None = None
        self._client: Any = None

    async def __aenter__(self) -> Self:
        """Raises StorageError of kind AUTH if there are no credentials."""
        # Only here: a plane for files must not pay for loading botocore.
        from sai3tui.storage.botos import boto_client

        manager = await asyncio.to_thread(
            boto_client,
            self.endpoint,
            self._environ,
            connect_timeout=min(CONNECT_TIMEOUT_S, self._timeout),
            read_timeout=self._timeout,
            connections=10,
            options=self._options,
        )
        self._client = await manager.__aenter__()
        self._manager = manager
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            await manager.__aexit__(kind, value, trace)

    async def head_bucket(self) -> None:
        """Raises StorageError, of kind NOT_FOUND if the bucket does not exist."""
        bucket = self.endpoint.bucket
        context = self._context(Op.STAT, "")
        try:
            await self._call(self._client.head_bucket, context, Bucket=bucket)
        except StorageError as error:
            status = error.context.http_status
            if status == 404:
                hint = "create the bucket, or correct its name in the configuration"
                raise StorageError(
                    f"the bucket {bucket!r} does not exist at {self.endpoint.uri}",
                    hint=hint,
                    context=error.context,
                    kind=ErrorKind.NOT_FOUND,
                ) from error
            if not 300 <= status < 500:
                raise
            # The answer to a HEAD has no body: a LIST that is refused as well says why.
            await self._call(self._client.list_objects_v2, context, Bucket=bucket, MaxKeys=1)

    async def put(self, key: str, data: bytes) -> None:
        await self._call(self._client.put_object, self._context(Op.PUT, key), **self._where(key), Body=data)

    async def get(self, key: str) -> bytes | None:
        context = self._context(Op.GET, key)

        async def whole() -> bytes:
            answer = await self._client.get_object(**self._where(key))
            async with answer["Body"] as stream:
                data: bytes = await stream.read()
            expected = answer.get("ContentLength")
            if expected is not None and len(data) != expected:
                what = f"brought {len(data)} of {expected} bytes"
                raise storage_error(lost_failure(context, what, "truncated"))
            return data

        found: bytes | None = await self._unless_missing(self._call(whole, context))
        return found

    async def head(self, key: str) -> int | None:
        call = self._call(self._client.head_object, self._context(Op.STAT, key), **self._where(key))
        answer = await self._unless_missing(call)
        return None if answer is None else int(answer["ContentLength"])

    async def delete(self, key: str) -> None:
        await self._unless_missing(
            self._call(self._client.delete_object, self._context(Op.DELETE, key), **self._where(key))
        )

    async def list(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        """Raises StorageError at the page that fails: what was listed until then is not all there is."""
        context = self._context(Op.LIST, prefix)
        base = self.endpoint.prefix
        wanted: dict[str, Any] = {"Bucket": self.endpoint.bucket, "Prefix": base + prefix, "MaxKeys": _PAGE}
        while True:
            page = await self._call(self._client.list_objects_v2, context, **wanted)
            for entry in page.get("Contents", ()):
                yield entry["Key"][len(base) :], int(entry["Size"])
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated"):
                return
            if not token or token == wanted.get("ContinuationToken"):
                raise StorageError(f"LIST of {context.uri} says that there is more, but not where", context=context)
            wanted["ContinuationToken"] = token

    async def ask(self, name: str, op: Op, key: str, **arguments: Any) -> Any:
        """One call of S3 by its boto name about the bucket; `op` and `key` say in errors what it was about."""
        return await self._call(
            getattr(self._client, name), self._context(op, key), Bucket=self.endpoint.bucket, **arguments
        )

    async def _call(self, call: Callable[..., Any], context: ErrorContext, **arguments: Any) -> Any:
        from sai3tui.storage.botos import BOTO_ERRORS, boto_failure

        try:
            async with asyncio.timeout(self._timeout):
                return await call(**arguments)
        except BOTO_ERRORS as error:
            if type(error) is TimeoutError and not str(error):
                raise _timed_out(context, self._timeout) from error
            raise _raisable(boto_failure(error, context)) from error

    async def _unless_missing(self, call: Any) -> Any:
        try:
            return await call
        except StorageError as error:
            # A HEAD answers both with a bare 404; everything else names the bucket if that is what is missing.
            if error.context.http_status == 404 and "NoSuchBucket" not in error.message:
                return None
            raise

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self.endpoint.bucket, "Key": self.endpoint.prefix + key}

    def _context(self, op: Op, key: str) -> ErrorContext:
        return _context(self.endpoint, op, key)


class FileControlPlane:
    """The same on a directory, in threads. A call that hangs in the kernel is left behind at its timeout; a file that
    it was to write is not put in place any more."""

    def __init__(self, endpoint: Endpoint, *, timeout: float = CALL_TIMEOUT_S) -> None:
        self.endpoint = endpoint
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def head_bucket(self) -> None:
        """A directory that does not exist yet is no error if it can be made: PUT makes it."""
        await self._call(Op.STAT, "", lambda path, _: _reachable(path))

    async def put(self, key: str, data: bytes) -> None:
        """If it is cancelled, the file is not there, or as it was before."""
        await self._call(Op.PUT, key, lambda path, stopped: write_file(path, data, stopped))

    async def get(self, key: str) -> bytes | None:
        return await self._unless_missing(Op.GET, key, lambda path, _: _read_file(path))

    async def head(self, key: str) -> int | None:
        return await self._unless_missing(Op.STAT, key, lambda path, _: os.stat(path).st_size)

    async def delete(self, key: str) -> None:
        await self._unless_missing(Op.DELETE, key, lambda path, _: os.unlink(path))

    async def list(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        """As a bucket would be listed: everything below the directory of `prefix` whose name begins with it."""
        directory = prefix.rpartition("/")[0]
        directory += "/" if directory else ""
        files: Iterator[tuple[str, int]] = iter(())

        def begin(path: str, _: Stopped) -> None:
            nonlocal files
            files = walk_files(path, recursive=True)

        def page(path: str, _: Stopped) -> list[tuple[str, int]]:
            try:
                return list(islice(files, _PAGE))
            except FileNotFoundError:
                if path.rstrip("/") and not os.path.isdir(path):
                    return []
                raise

        await self._call(Op.LIST, directory, begin)
        while entries := await self._call(Op.LIST, directory, page):
            for name, size in entries:
                key = directory + name
                if key.startswith(prefix):
                    yield key, size

    async def _call(self, op: Op, key: str, work: Callable[[str, Stopped], T]) -> T:
        context = _context(self.endpoint, op, key)
        try:
            path = path_below(self.endpoint.prefix, key)
            async with asyncio.timeout(self._timeout):
                return await stoppable(lambda stopped: work(path, stopped))
        except TimeoutError as error:
            raise _timed_out(context, self._timeout) from error
        except OSError as error:
            raise _raisable(file_failure(error, context)) from error

    async def _unless_missing(self, op: Op, key: str, work: Callable[[str, Stopped], T]) -> T | None:
        try:
            return await self._call(op, key, work)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise


def _context(endpoint: Endpoint, op: Op, key: str) -> ErrorContext:
    return ErrorContext(uri=endpoint.uri + key, endpoint=endpoint.uri, op=op.word)


def _raisable(failure: Failure) -> StorageError:
    """`failure` as an exception to raise `from` the original, which becomes its cause."""
    return StorageError(failure.message, hint=failure.hint, context=failure.context, kind=failure.kind)


def _timed_out(context: ErrorContext, seconds: float) -> StorageError:
    hint = "the storage does not answer in time: is it overloaded, or cut off?"
    return _raisable(timeout_failure(context, f"took longer than {seconds:g} s", "op", hint=hint))


def _reachable(path: str) -> None:
    current = path.rstrip("/") or "/"
    while not os.path.lexists(current):
        current = os.path.dirname(current)
    if not os.path.isdir(current):
        raise NotADirectoryError(20, "a file stands where a directory was expected", current)
    if not os.access(current, os.W_OK | os.X_OK):
        raise PermissionError(13, "no permission to write there", current)


def write_file(path: str, data: bytes, stopped: Stopped) -> None:
    """Put `data` in place of what is at `path`, at once or not at all. Raises OSError, or StoppedError when `stopped`
    says so."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb", buffering=0) as file:
            left = memoryview(data)
            while left:
                left = left[file.write(left[:PIECE_BYTES]) :]
                if stopped():
                    raise StoppedError(path)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
